-- Writes steps of one tenant's tasks into their records, and tells those who listen.
--
-- KEYS[1]    sorted set: task id -> when it was submitted, in seconds since 1970
-- KEYS[2]    stream: the tenant's events; also the name of the channel on which they are told
-- KEYS[3..]  hashes: the records of the tasks that the steps are about
-- ARGV[1]    milliseconds that a record is kept after its last step
-- ARGV[2]    records of the tenant, at most
-- ARGV[3]    events of the stream, about, at most
-- ARGV[4]    the start of the key of a record; the task's id follows
-- ARGV[5]    JSON array of steps, in their order. Each is an object:
--              k  its task's record: KEYS[2 + k]
--              t  the task's id
--              o  its order: the state is that of the step with the highest. -1: a request, which overrules no end
--              s  the state that it leads to, or nothing
--              a  when it happened
--              e  the event as JSON
--              v  fields and values, alternating; what an earlier step tells late only fills gaps
--              f  1: it is the task's end
--              b  1: the task was started
--              p  1: progress; of this the record keeps the last event only
--              l  milliseconds that the record is kept in addition, for a task that is due later
--
-- A record's fields are those that TaskRecord.read names, `order`, and `e:<id>` for each event but progress.

local index, events = KEYS[1], KEYS[2]
local lifetime = tonumber(ARGV[1])
local known, told, new, longest = {}, {}, false, lifetime

for _, step in ipairs(cjson.decode(ARGV[5])) do
  local key = KEYS[2 + step.k]
  local record = known[key]
  if not record then
    local found = redis.call('HMGET', key, 'order', 'state', 'ended')
    record = { order = tonumber(found[1] or -1), state = found[2], ended = found[3] }
    known[key] = record
  end
  local exists = record.order >= 0
  local is_request = step.o < 0
  local in_vain = is_request and (not exists or record.ended)
  -- A task that nobody remembers is not begun anew by what it says of its progress, nor is its end told twice.
  local is_old = step.p and not exists or step.s == 'CANCELLED' and record.state == 'CANCELLED'

  if not in_vain and not is_old then
    local id = redis.call('XADD', events, 'MAXLEN', '~', ARGV[3], '*', 't', step.t, 'e', step.e)
    told[#told + 1] = { id, step.t, step.e }
    if step.p then
      redis.call('HSET', key, 'progress', id .. ' ' .. step.e)
    else
      redis.call('HSET', key, 'e:' .. id, step.e)
    end
    if not exists then
      redis.call('ZADD', index, step.a, step.t)
      redis.call('HSET', key, 'submitted', step.a)
      new = true
    end
    if step.s then
      if is_request or step.o >= record.order then
        if record.ended and not step.f then -- replayed, or it ran although somebody asked for its end
          redis.call('HDEL', key, 'ended', 'error')
        end
        record.ended = step.f
        record.order = math.max(record.order, step.o)
        record.state = step.s
        redis.call('HSET', key, 'state', step.s, 'order', record.order, unpack(step.v))
      else
        for i = 1, #step.v, 2 do
          redis.call('HSETNX', key, step.v[i], step.v[i + 1])
        end
      end
    end
    if step.b then
      redis.call('HINCRBY', key, 'attempts', 1)
    end
    if step.l then
      longest = math.max(longest, lifetime + step.l)
      redis.call('PEXPIRE', key, lifetime + step.l)
    elseif not exists or not step.p and not step.b then
      redis.call('PEXPIRE', key, lifetime)
    end
  end
end

if new then
  -- Records end by themselves; their ids leave the index here, as many as come at least.
  for _, id in ipairs(redis.call('ZRANGE', index, 0, 1)) do
    if redis.call('EXISTS', ARGV[4] .. id) == 0 then
      redis.call('ZREM', index, id)
    end
  end
  local too_many = redis.call('ZCARD', index) - tonumber(ARGV[2])
  if too_many > 0 then
    local popped = redis.call('ZPOPMIN', index, too_many)
    for i = 1, #popped, 2 do
      redis.call('DEL', ARGV[4] .. popped[i])
    end
  end
end
if #told > 0 then
  for _, key in ipairs({ index, events }) do
    if redis.call('PTTL', key) < longest then
      redis.call('PEXPIRE', key, longest)
    end
  end
  redis.call('PUBLISH', events, cjson.encode(told))
end
