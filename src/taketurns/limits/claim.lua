-- Elects who may fetch a throttled tenant's next message, so that the workers do not all fetch one for the same
-- token. Nothing is charged and no lease is taken. See gcra.lua.
--
-- A claim stands for one token: it is granted when, after a start for each claim of the others, one more would be
-- admitted. With a smooth rate that is one claim at a time; of a burst of five, five workers may fetch one each.
--
-- KEYS[1]  the tenant's rate                 string, see gcra.lua
-- KEYS[2]  the tenant's rate for this task   string, see gcra.lua
-- KEYS[3]  the tenant's running starts       sorted set: lease -> microseconds at which it ends
-- KEYS[4]  the tenant's claims               sorted set: owner -> microseconds at which it ends
-- ARGV[1]  interval of the tenant's rate in microseconds; '' for none
-- ARGV[2]  its burst
-- ARGV[3]  interval of the task's rate in microseconds; '' for none
-- ARGV[4]  its burst
-- ARGV[5]  how many may run at once; '' for any number
-- ARGV[6]  who asks; a claim that it has already is renewed and does not count against it
-- ARGV[7]  microseconds before the token's time at which the claim is granted
-- ARGV[8]  microseconds after which the claim ends, if no admission took it
-- ARGV[9]  microseconds after which to look again when too many run
--
-- Returns an integer: 0 if granted, else microseconds after which to ask again (a claim that it had is gone).

local now = read_clock()
local others, first_end = read_others(KEYS[4], ARGV[6], now)
local longest = 0

for index = 1, 2 do
  local rate = read_limit(KEYS[index], ARGV[2 * index - 1], ARGV[2 * index], now)
  if rate then
    longest = math.max(longest, wait_of(rate, others) - tonumber(ARGV[7]))
    if rate.changed then
      write_limit(rate, now)
    end
  end
end

local most = tonumber(ARGV[5])
if most then
  local running, lease_end = read_others(KEYS[3], '', now)
  if running + others >= most then
    local poll = tonumber(ARGV[9])
    longest = math.max(longest, running > 0 and math.min(poll, lease_end) or poll)
  end
end

if longest <= 0 then
  write_member(KEYS[4], ARGV[6], tonumber(ARGV[8]), now)
  return 0
end
redis.call('ZREM', KEYS[4], ARGV[6])
if others > 0 then
  longest = math.min(longest, first_end)  -- a claim that ends unused makes room
end
return answer(longest)
