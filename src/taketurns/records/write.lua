-- Writes steps of one tenant's tasks into their records, and tells those who listen.
--
-- KEYS[1]    sorted set: task id -> when it was submitted, in seconds since 1970
-- KEYS[2]    stream: the tenant's events; also the name of the channel on which they are told. An entry has all that one
--            call tells: `e`, a JSON array of tasks' ids and events, alternating, and `n`, how many events the stream
--            has had with it.
-- KEYS[3]    integer: how many events the stream has had
-- KEYS[4]    sorted set: task id -> when it is due, of tasks that are delayed or wait to be tried again; none but those
--            of KEYS[1]
-- KEYS[5]    hash: how long tasks waited and ran in this stretch of time: `w:<bucket>` from the moment at which a task
--            could have started to its start, `r:<bucket>` from there to its good end -> how many. The bucket is the
--            whole part of the logarithm to the base 1.1 of the milliseconds.
-- KEYS[6..]  hashes: the records of the tasks that the steps are about
-- ARGV[1]    milliseconds that a record is kept after its last step
-- ARGV[2]    records of the tenant, at most
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

local index, events, count, delayed, durations = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local lifetime, most_events = tonumber(ARGV[1]), tonumber(ARGV[3])
local known, told, new, put_off, longest, took = {}, {}, false, false, lifetime, {}
local in_entry = 1000 -- events of one entry, at most; taketurns.records.events has the same number

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
    told = {},
  }
end

-- Adds some of what is told to the stream, and tells it; returns what the ids of these events begin with, and the number
-- of the first of them.
local function tell(first, last)
  local text = cjson.encode({ unpack(told, 2 * first - 1, 2 * last) })
  local number = redis.call('INCRBY', count, last - first + 1)
  -- Entries are fewer than events, so this bounds the stream even if its count was lost.
  local entry = redis.call('XADD', events, 'MAXLEN', '~', most_events, '*', 'n', number, 'e', text)
  redis.call('PUBLISH', events, entry .. ' ' .. text)
  local milliseconds, sequence = string.match(entry, '(%d+)-(%d+)')
  return milliseconds .. '-', sequence * in_entry, number
end

-- Takes the oldest entries out of the stream, but those with the latest events.
local function trim(number)
  local from, kept = '-', nil
  repeat
    local oldest = redis.call('XRANGE', events, from, '+', 'COUNT', 20)
    for _, entry in ipairs(oldest) do
      from = '(' .. entry[1]
      if tonumber(entry[2][2]) > number - most_events then
        kept = entry[1]
        break
      end
    end
  until kept or #oldest == 0
  if kept then
    redis.call('XTRIM', events, 'MINID', kept)
  end
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
    told[#told + 1] = task
    told[#told + 1] = event
    if kind == 'p' then
      record.progress = #told / 2
    else
      record.told[#record.told + 1] = #told / 2
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

local ids, stretch = {}, math.max(1, math.floor(most_events / 10))
for first = 1, #told / 2, in_entry do
  local last = math.min(first + in_entry - 1, #told / 2)
  local start, place, number = tell(first, last)
  for index = first, last do
    ids[index] = start .. string.format('%.0f', place + index - first)
  end
  if math.floor(number / stretch) > math.floor((number - last + first - 1) / stretch) then
    trim(number)
  end
end

for key, record in pairs(known) do
  local flat = {}
  for _, index in ipairs(record.told) do
    flat[#flat + 1] = 'e:' .. ids[index]
    flat[#flat + 1] = told[2 * index]
  end
  if record.progress then
    flat[#flat + 1] = 'progress'
    flat[#flat + 1] = ids[record.progress] .. ' ' .. told[2 * record.progress]
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
if new then
  -- Records end by themselves; their ids leave the index here, as many as come at least.
  for _, id in ipairs(redis.call('ZRANGE', index, 0, 1)) do
    if redis.call('EXISTS', ARGV[4] .. id) == 0 then
      redis.call('ZREM', index, id)
      redis.call('ZREM', delayed, id)
    end
  end
  local too_many = redis.call('ZCARD', index) - tonumber(ARGV[2])
  if too_many > 0 then
    local popped = redis.call('ZPOPMIN', index, too_many)
    local any_delayed = redis.call('EXISTS', delayed) == 1
    for i = 1, #popped, 2 do
      redis.call('DEL', ARGV[4] .. popped[i])
      if any_delayed then
        redis.call('ZREM', delayed, popped[i])
      end
    end
  end
end
if put_off then
  -- What is due and whose start nobody has told, as of a task that was forgotten meanwhile, counts no more.
  redis.call('ZREMRANGEBYSCORE', delayed, '-inf', redis.call('TIME')[1])
end
if #told > 0 then
  -- A tenth longer than they have to be kept, so that not each call has to renew it.
  local function keep(key, with)
    if redis.call('PTTL', key) < longest then
      for _, each in ipairs(with) do
        redis.call('PEXPIRE', each, math.ceil(longest + lifetime / 10))
      end
    end
  end
  keep(index, { index })
  keep(events, { events, count })
  if longest > lifetime then
    keep(delayed, { delayed })
  end
end
