-- Elects who may fetch a throttled tenant's next message, so that the workers do not all fetch one for the same
-- token. Nothing is charged and no lease is taken. See gcra.lua.
--
-- A claim stands for one token: it is granted when, after a start for each claim of the others, one more would be
-- admitted. With a smooth rate that is one claim at a time; of a burst of five, five workers may fetch one each.
--
-- KEYS[1]      the tenant's running starts   sorted set: lease -> microseconds at which it ends
-- KEYS[2]      the tenant's claims           sorted set: owner -> microseconds at which it ends
-- KEYS[3 ...]  the rates that hold           strings, see gcra.lua
-- ARGV[1]      how many may run at once; '' for any number
-- ARGV[2]      microseconds after which to look again when too many run
-- ARGV[3]      who asks; a claim that it has already is renewed and does not count against it
-- ARGV[4]      microseconds before the token's time at which the claim is granted
-- ARGV[5]      microseconds after which the claim ends, if no admission took it
-- ARGV[6 ...]  for each rate its interval in microseconds, and its burst
--
-- Returns an integer: 0 if granted, else microseconds after which to ask again (a claim that it had is gone).

local now = read_clock()
local others, first_end = read_others(KEYS[2], ARGV[3], now)
local longest = 0

for _, rate in ipairs(read_limits(3, 6, now)) do
  longest = math.max(longest, wait_of(rate, others) - tonumber(ARGV[4]))
  if rate.changed then
    write_limit(rate, now)
  end
end

local most = tonumber(ARGV[1])
if most then
  local running, lease_end = read_others(KEYS[1], '', now)
  if running + others >= most then
    local poll = tonumber(ARGV[2])
    longest = math.max(longest, running > 0 and math.min(poll, lease_end) or poll)
  end
end

if longest <= 0 then
  write_member(KEYS[2], ARGV[3], tonumber(ARGV[5]), now)
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[3])
if others > 0 then
  longest = math.min(longest, first_end)  -- a claim that ends unused makes room
end
return answer(longest)
