-- Tells how rates stand; changes nothing. See gcra.lua.
--
-- KEYS[i]          a rate   string, see gcra.lua
-- ARGV[2 * i - 1]  its interval in microseconds
-- ARGV[2 * i]      its burst
--
-- Returns an integer for each rate: how many microseconds its TAT is ahead of now, 0 if it is not.

local now = read_clock()
local ahead = {}
for index, key in ipairs(KEYS) do
  local rate = read_limit(key, ARGV[2 * index - 1], ARGV[2 * index], now)
  ahead[index] = answer(rate.ahead)
end
return ahead
