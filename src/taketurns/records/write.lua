-- Writes steps of one tenant's tasks into their records, and tells those who listen.
--
-- KEYS[1]    sorted set: task id -> when it was submitted, in seconds since 1970
-- KEYS[2]    stream: the tenant's events; also the name of the channel on which they are told. An entry has all that one
--            call tells, 250 events at most: `n`, how many events the stream has had with these, and `e`, a JSON
--            array of tasks' ids and events, alternating.
-- KEYS[3]    sorted set: task id -> when it is due, of tasks that are delayed or wait to be tried again; none but those
--            of KEYS[1]
-- KEYS[4]    list: ids of tasks that have come to their end, in this order; some again, some not any more
-- KEYS[5]    hash: how long tasks waited and ran in this stretch of time: `w:<bucket>` from the moment at which a task
--            could have started to its start, `r:<bucket>` from there to its good end -> how many. The bucket is the
--            whole part of the logarithm to the base 1.1 of the milliseconds.
-- KEYS[6..]  hashes: the records of the tasks that the steps are about
-- ARGV[1]    milliseconds that a record is kept after its last step
-- ARGV[2]    records of the tenant's tasks that have come to their end, at most; of those that have not there may be more,
--            until there are ten times as many in all
-- ARGV[3]    events of the stream, about, at most
-- ARGV[4]    the start of the key of a record; the task's id follows
-- ARGV[5]    seconds that KEYS[5] is kept
-- ARGV[6]    JSON array of steps, in their order. Each is an array, since names would cost as much as what they name:
--              1  its task's record: KEYS[5 + this]
--              2  the task's id
--              3  its order: the state is that of the step with the highest. -1: a request, which overrules no end
--              4  what it is: `b` the task was started, `f` it has come to its end, `p` progress, of which the record
--                 keeps the last event only, or nothing of these
--              5  the state that it leads to, or nothing
--              6  when it happened
--              7  the event
--              8  fields and values, alternating; what an earlier step tells late only fills gaps
--              9  when it is due, if it waits until then
--              10 milliseconds that the record is kept in addition, if so
--
-- A record's fields are those that TaskRecord.read names, `order`, and `e:<id>` for each event but progress. What all
-- steps of a call lead to is written at its end, once: most of what this costs is calls.

local index, events, delayed, ended, durations = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local lifetime, most_ended, most_events = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local known, told, ends, new, put_off, longest, took = {}, {}, {}, false, false, lifetime, {}
local in_entry = 250 -- events of one entry, at most; taketurns.records.events has the same number
local most_at_once = 2000 -- records that one call removes, after a change of what may be kept

-- Removes the records of these tasks, and their ids wherever they are.
local function forget(ids)
  if #ids == 0 then
    return
  end
  local keys = {}
  for place, id in ipairs(ids) do
    keys[place] = ARGV[4] .. id
  end
  redis.call('DEL', unpack(keys))
  redis.call('ZREM', index, unpack(ids))
  redis.call('ZREM', delayed, unpack(ids))
end

local function count_duration(kind, seconds)
  local bucket = kind .. ':' .. math.floor(math.log(math.max(seconds * 1000, 1)) / math.log(1.1))
  took[bucket] = (took[bucket] or 0) + 1
end

local function read(key)
  local found =
    redis.call('HMGET', key, 'order', 'state', 'ended', 'submitted', 'due', 'started', 'attempts')
  return {
    order = tonumber(found[1] or -1),
    state = found[2],
    ended = found[3],
    ready = math.max(tonumber(found[4] or 0), tonumber(found[5] or 0)),
    due = found[5],
    started = tonumber(found[6] or 0),
    attempts = tonumber(found[7] or 0),
    fields = {},
    places = {}, -- where `told` has its events: a task's id, and behind it the event
  }
end

-- Adds an entry to the stream, with what `told` has from one place to another, and tells it.
-- Returns what the ids of its events begin with, and the number with which that of the first one ends.
local function tell(from, to, count)
  local text = cjson.encode({ unpack(told, from, to) })
  local entry = redis.call('XADD', events, '*', 'n', count, 'e', text)
  redis.call('PUBLISH', events, entry .. ' ' .. text)
  local milliseconds, sequence = string.match(entry, '(%d+)-(%d+)')
  return milliseconds .. '-', sequence * in_entry
end

-- Takes the oldest entries out of a stream that has had so many events, but those with the latest ones.
local function trim(count)
  local after, kept = '-', nil
  repeat
    local oldest = redis.call('XRANGE', events, after, '+', 'COUNT', 5)
    for _, entry in ipairs(oldest) do
      after = '(' .. entry[1]
      if tonumber(entry[2][2]) > count - most_events then
        kept = entry[1]
        break
      end
    end
  until kept or #oldest == 0
  redis.call('XTRIM', events, 'MINID', kept)
end

for _, step in ipairs(cjson.decode(ARGV[6])) do
  local place, task, order, kind, state, moment, event, values, due, additional = unpack(step)
  local key = KEYS[5 + place]
  local record = known[key]
  if not record then
    record = read(key)
    known[key] = record
  end
  local fields = record.fields
  local exists = record.order >= 0
  local is_request = order < 0
  local in_vain = is_request and (not exists or record.ended)
  -- A task that nobody remembers is not begun anew by what it says of its progress, nor is its end told twice.
  local is_old = kind == 'p' and not exists or state == 'CANCELLED' and record.state == 'CANCELLED'

  if not in_vain and not is_old then
    local at_place = #told + 1
    told[at_place], told[at_place + 1] = task, event
    if kind == 'p' then
      record.progress = at_place
    else
      record.places[#record.places + 1] = at_place
    end
    if not exists then
      redis.call('ZADD', index, moment, task)
      fields.submitted = moment
      record.ready = tonumber(moment)
      new = true
    end
    if state ~= '' then
      if is_request or order >= record.order then
        if record.ended and kind ~= 'f' then -- replayed, or it ran although somebody asked for its end
          redis.call('HDEL', key, 'ended', 'error')
          fields.ended, fields.error = nil, nil
        end
        record.ended = kind == 'f'
        record.order = math.max(record.order, order)
        record.state = state
        fields.state, fields.order = state, record.order
        for i = 1, #values, 2 do
          fields[values[i]] = values[i + 1]
        end
      else
        for i = 1, #values, 2 do
          redis.call('HSETNX', key, values[i], values[i + 1]) -- what `fields` has goes over it
        end
      end
    end
    if kind == 'f' then
      ends[#ends + 1] = task
    end
    local at = tonumber(moment)
    if due then
      redis.call('ZADD', delayed, due, task)
      put_off = true
      record.due, record.ready = due, tonumber(due)
    elseif record.due and (kind == 'b' or kind == 'f') then
      redis.call('ZREM', delayed, task)
      record.due = false
    end
    if kind == 'b' then
      record.attempts = record.attempts + 1
      fields.attempts = record.attempts
      count_duration('w', at - record.ready)
      record.started = at
    elseif state == 'SUCCESS' and record.started > 0 then
      count_duration('r', at - record.started)
    end
    if additional then
      longest = math.max(longest, lifetime + additional)
      record.expires = lifetime + additional
    elseif not exists or kind ~= 'p' and kind ~= 'b' then
      record.expires = lifetime
    end
  end
end

local ids = {} -- by the places in `told`
if #told > 0 then
  local latest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  local before = latest and tonumber(latest[2][2]) or 0
  local count = before
  for from = 1, #told, 2 * in_entry do
    local to = math.min(from + 2 * in_entry, #told + 1) - 1
    count = count + (to - from + 1) / 2
    local start, number = tell(from, to, count)
    for place = from, to, 2 do
      ids[place] = start .. string.format('%.0f', number + (place - from) / 2)
    end
  end
  -- Not at each call: it would look at the oldest entries each time, mostly in vain.
  local stretch = math.max(1, math.floor(most_events / 10))
  if math.floor(count / stretch) > math.floor(before / stretch) then
    trim(count)
  end
end

for key, record in pairs(known) do
  local flat = {}
  for _, place in ipairs(record.places) do
    flat[#flat + 1] = 'e:' .. ids[place]
    flat[#flat + 1] = told[place + 1]
  end
  if record.progress then
    record.fields.progress_id = ids[record.progress]
    record.fields.progress = told[record.progress + 1]
  end
  for name, value in pairs(record.fields) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  if #flat > 0 then
    redis.call('HSET', key, unpack(flat))
  end
  if record.expires then
    redis.call('PEXPIRE', key, record.expires)
  end
end
for bucket, times in pairs(took) do
  redis.call('HINCRBY', durations, bucket, times)
end
if next(took) and redis.call('TTL', durations) < 0 then
  redis.call('EXPIRE', durations, ARGV[5])
end
if #ends > 0 then
  local too_many = redis.call('RPUSH', ended, unpack(ends)) - most_ended
  local over = {}
  for _, id in ipairs(too_many > 0 and redis.call('LPOP', ended, math.min(too_many, most_at_once)) or {}) do
    if redis.call('HEXISTS', ARGV[4] .. id, 'ended') == 1 then -- or it was replayed, and is not over
      over[#over + 1] = id
    end
  end
  forget(over)
end
if new then
  -- Records end by themselves; their ids leave the index here, as many as come at least.
  local gone = {}
  for _, id in ipairs(redis.call('ZRANGE', index, 0, 1)) do
    if redis.call('EXISTS', ARGV[4] .. id) == 0 then
      gone[#gone + 1] = id
    end
  end
  forget(gone)
  local too_many = redis.call('ZCARD', index) - 10 * most_ended
  if too_many > 0 then
    forget(redis.call('ZRANGE', index, 0, math.min(too_many, most_at_once) - 1))
  end
end
if put_off then
  -- What is due and whose start nobody has told, as of a task that was forgotten meanwhile, counts no more.
  redis.call('ZREMRANGEBYSCORE', delayed, '-inf', redis.call('TIME')[1])
end
if #told > 0 then
  -- A tenth longer than they have to be kept, so that not each call has to renew it.
  for _, key in ipairs({ index, events, #ends > 0 and ended, longest > lifetime and delayed }) do
    if key and redis.call('PTTL', key) < longest then
      redis.call('PEXPIRE', key, math.ceil(longest + lifetime / 10))
    end
  end
end
