-- Tells for how long to put a refused task off that waits in no queue: until after those that were put off before it.
-- Nothing is charged. See gcra.lua.
--
-- Were all of them to ask again when the next start may be, each start would cost as many questions as tasks wait.
--
-- KEYS[1]  when the last one of them comes back   string, in microseconds
-- ARGV[1]  microseconds until one may be admitted
-- ARGV[2]  microseconds after the one before it
-- ARGV[3]  microseconds after which one comes back in any case, if it may: limits change
--
-- Returns an integer: microseconds.

local now = read_clock()
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
local wait = math.max(tonumber(ARGV[1]), math.min(last - now + tonumber(ARGV[2]), tonumber(ARGV[3])))
redis.call('SET', KEYS[1], string.format('%.0f', now + wait), 'PX', string.format('%.0f', math.ceil(wait / 1000) + 1))
return answer(wait)
