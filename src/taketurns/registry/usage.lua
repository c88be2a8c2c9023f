-- Takes in what one worker tells of the tenants' usage, and answers what all workers together have told.
--
-- One call with few arguments, since the client's packing of a thousand commands kept the worker's loop waiting.
--
-- KEYS[1]  usage    hash: queue -> microseconds that its tasks have run
-- KEYS[2]  tasks    hash: queue -> how many of its tasks have started
-- KEYS[3]  waiting  sorted set: queue that waits for a turn somewhere -> second until which that holds
-- KEYS[4]  told     string: the number of the worker's latest report
-- ARGV[1]  JSON object: queue -> microseconds and tasks since the worker's last report; less than nothing corrects it.
--          One that was told before, by its number, is not added again
-- ARGV[2]  JSON array of the queues whose totals the worker wants to know
-- ARGV[3]  JSON array of the queues that wait there
-- ARGV[4]  seconds for which those count as waiting
-- ARGV[5]  how many waiting queues to name; 0 for a worker that is busy
-- ARGV[6]  seconds for which the totals are kept
-- ARGV[7]  the report's number
--
-- Returns the microseconds and the tasks, both in the order asked for, as one string each of numbers with a space
-- between, and the queues named.

local CHUNK = 1000 -- what fits on Lua's stack at once

local function totals(key, queues)
  local found = {}
  for first = 1, #queues, CHUNK do
    local some = redis.call('HMGET', key, unpack(queues, first, math.min(first + CHUNK - 1, #queues)))
    for _, total in ipairs(some) do
      found[#found + 1] = total or '0'
    end
  end
  return table.concat(found, ' ')
end

local now = tonumber(redis.call('TIME')[1])
if redis.call('GET', KEYS[4]) ~= ARGV[7] then
  for queue, used in pairs(cjson.decode(ARGV[1])) do
    redis.call('HINCRBY', KEYS[1], queue, used[1])
    redis.call('HINCRBY', KEYS[2], queue, used[2])
  end
end
redis.call('SET', KEYS[4], ARGV[7], 'EX', ARGV[6])
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[6])

for _, queue in ipairs(cjson.decode(ARGV[3])) do
  redis.call('ZADD', KEYS[3], now + tonumber(ARGV[4]), queue)
end
local named = {}
if tonumber(ARGV[5]) > 0 then
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', '(' .. now)
  named = redis.call('ZRANDMEMBER', KEYS[3], ARGV[5])
end

local watched = cjson.decode(ARGV[2])
return { totals(KEYS[1], watched), totals(KEYS[2], watched), named }
