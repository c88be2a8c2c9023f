-- Tells how rates stand; changes nothing. See gcra.lua.
--
-- KEYS[i]          a rate   string, see gcra.lua
-- ARGV[2 * i - 1]  its interval in microseconds
-- ARGV[2 * i]      its burst
--
-- Returns an integer for each rate: how many microseconds its TAT is ahead of now, 0 if it is not.

local ahead = {}
for index, rate in ipairs(read_limits(1, 1, read_clock())) do
  ahead[index] = answer(rate.ahead)
end
return ahead
