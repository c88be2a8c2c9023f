-- Takes, keeps or gives up a role that only one may have.
--
-- KEYS[1]  the role          string: who has it; expires
-- ARGV[1]  who asks
-- ARGV[2]  milliseconds for which it wants the role from now on; 0 gives it up
--
-- Returns 1 if the one who asks has the role now, else 0.

local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then
  return 0
end
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
redis.call('DEL', KEYS[1])
return 0
