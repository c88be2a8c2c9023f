-- Records activity of tenants: the later of what is recorded, of now, and of a time given.
--
-- KEYS[1]  activity          sorted set: tenant -> seconds
-- KEYS[2]  created           hash: tenant -> seconds at which it was first heard of
-- ARGV[1]  seconds since the epoch until which they count as active; '' for now
-- ARGV[2…] the tenants
--
-- Returns of how many tenants nothing was recorded before.

local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local seconds = math.max(now, tonumber(ARGV[1]) or 0)
local unknown = 0
for number = 2, #ARGV do
  if redis.call('ZADD', KEYS[1], 'GT', seconds, ARGV[number]) == 1 then
    unknown = unknown + 1
    redis.call('HSETNX', KEYS[2], ARGV[number], string.format('%.6f', now))
  end
end
return unknown
