-- Writes steps of one tenant's tasks into their records, and tells those who listen.
--
-- KEYS[1]    sorted set: task id -> when it was submitted, in seconds since 1970
-- KEYS[2]    stream: the tenant's events; also the name of the channel on which they are told
-- KEYS[3]    sorted set: task id -> when it is due, of tasks that are delayed or wait to be tried again; none but those
--            of KEYS[1]
-- KEYS[4]    hash: how long tasks waited and ran in this stretch of time: `w:<bucket>` from the moment at which a task
--            could have started to its start, `r:<bucket>` from there to its good end -> how many. The bucket is the
--            whole part of the logarithm to the base 1.1 of the milliseconds.
-- KEYS[5..]  hashes: the records of the tasks that the steps are about
-- ARGV[1]    milliseconds that a record is kept after its last step
-- ARGV[2]    records of the tenant, at most
-- ARGV[3]    events of the stream, about, at most
-- ARGV[4]    the start of the key of a record; the task's id follows
-- ARGV[5]    seconds that KEYS[4] is kept
-- ARGV[6]    JSON array of steps, in their order. Each is an object:
--              k  its task's record: KEYS[4 + k]
--              t  the task's id
--              o  its order: the state is that of the step with the highest. -1: a request, which overrules no end
--              s  the state that it leads to, or nothing
--              a  when it happened
--              e  the event as JSON
--              v  fields and values, alternating; what an earlier step tells late only fills gaps
--              f  1: it is the task's end
--              b  1: the task was started
--              p  1: progress; of this the record keeps the last event only
--              d  when it is due, if it waits until then
--              l  milliseconds that the record is kept in addition, for a task that is due later
--
-- A record's fields are those that TaskRecord.read names, `order`, and `e:<id>` for each event but progress. What all
-- steps of a call lead to is written at its end, once: most of what this costs is calls.

local index, events, delayed, durations = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local lifetime = tonumber(ARGV[1])
local known, told, new, put_off, longest, took = {}, {}, false, false, lifetime, {}

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
  }
end

for _, step in ipairs(cjson.decode(ARGV[6])) do
  local key = KEYS[4 + step.k]
  local record = known[key]
  if not record then
    record = read(key)
    known[key] = record
  end
  local fields = record.fields
  local exists = record.order >= 0
  local is_request = step.o < 0
  local in_vain = is_request and (not exists or record.ended)
  -- A task that nobody remembers is not begun anew by what it says of its progress, nor is its end told twice.
  local is_old = step.p and not exists or step.s == 'CANCELLED' and record.state == 'CANCELLED'

  if not in_vain and not is_old then
    local id = redis.call('XADD', events, 'MAXLEN', '~', ARGV[3], '*', 't', step.t, 'e', step.e)
    told[#told + 1] = { id, step.t, step.e }
    if step.p then
      fields.progress = id .. ' ' .. step.e
    else
      fields['e:' .. id] = step.e
    end
    if not exists then
      redis.call('ZADD', index, step.a, step.t)
      fields.submitted = step.a
      record.ready = tonumber(step.a)
      new = true
    end
    if step.s then
      if is_request or step.o >= record.order then
        if record.ended and not step.f then -- replayed, or it ran although somebody asked for its end
          redis.call('HDEL', key, 'ended', 'error')
          fields.ended, fields.error = nil, nil
        end
        record.ended = step.f
        record.order = math.max(record.order, step.o)
        record.state = step.s
        fields.state, fields.order = step.s, record.order
        for i = 1, #step.v, 2 do
          fields[step.v[i]] = step.v[i + 1]
        end
      else
        for i = 1, #step.v, 2 do
          redis.call('HSETNX', key, step.v[i], step.v[i + 1]) -- what `fields` has goes over it
        end
      end
    end
    local at = tonumber(step.a)
    if step.d then
      redis.call('ZADD', delayed, step.d, step.t)
      put_off = true
      record.due, record.ready = step.d, tonumber(step.d)
    elseif record.due and (step.b or step.f) then
      redis.call('ZREM', delayed, step.t)
      record.due = false
    end
    if step.b then
      record.attempts = record.attempts + 1
      fields.attempts = record.attempts
      count_duration('w', at - record.ready)
      record.started = at
    elseif step.s == 'SUCCESS' and record.started > 0 then
      count_duration('r', at - record.started)
    end
    if step.l then
      longest = math.max(longest, lifetime + step.l)
      record.expires = lifetime + step.l
    elseif not exists or not step.p and not step.b then
      record.expires = lifetime
    end
  end
end

for key, record in pairs(known) do
  local flat = {}
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
for bucket, count in pairs(took) do
  redis.call('HINCRBY', durations, bucket, count)
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
  for _, key in ipairs(longest > lifetime and { index, events, delayed } or { index, events }) do
    if redis.call('PTTL', key) < longest then
      redis.call('PEXPIRE', key, longest)
    end
  end
  redis.call('EXPIRE', durations, ARGV[5])
  redis.call('PUBLISH', events, cjson.encode(told))
end
