-- Records activity of tenants: the later of what is recorded, of now, and of a time given.
--
-- KEYS[1]  activity          sorted set: tenant -> seconds
-- ARGV[1]  seconds since the epoch until which they count as active; '' for now
-- ARGV[2…] the tenants
--
-- Returns of how many tenants nothing was recorded before.

local time = redis.call('TIME')
local seconds = math.max(tonumber(time[1]) + tonumber(time[2]) / 1000000, tonumber(ARGV[1]) or 0)
local unknown = 0
for number = 2, #ARGV do
  unknown = unknown + redis.call('ZADD', KEYS[1], 'GT', seconds, ARGV[number])
end
return unknown
