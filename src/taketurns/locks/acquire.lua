-- Takes a lock, as redis-py's Lock does it, and gives the holder its fencing token in the same step.
--
-- KEYS[1]  the lock                              string: the holder's token, expires with the hold
-- KEYS[2]  the fencing token that was given last  integer, of all locks of the tenant together
-- ARGV[1]  the holder's token
-- ARGV[2]  milliseconds until the hold expires
--
-- Returns an integer: the fencing token, or 0 if somebody has the lock.
--
-- One counter for all locks of a tenant grows for each of them too, and does not stay behind for each name that was
-- ever used. It starts at the time of day in milliseconds, so that it does not fall back when Redis loses its data.

if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 0
end
local time = redis.call('TIME')
redis.call('SET', KEYS[2], string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), 'NX')
return redis.call('INCR', KEYS[2])
