-- Records activity of a tenant: the later of what is recorded, of now, and of a time given.
--
-- KEYS[1]  activity          sorted set: tenant -> seconds
-- ARGV[1]  the tenant
-- ARGV[2]  seconds since the epoch until which it counts as active; '' for now
--
-- Returns 1 if nothing was recorded of the tenant before, else 0.

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
return redis.call('ZADD', KEYS[1], 'GT', math.max(now, tonumber(ARGV[2]) or 0), ARGV[1])
