-- Admits one start of a task, or refuses it: all of its limits in one step, all or nothing. See gcra.lua.
--
-- KEYS[1]      the tenant's running starts   sorted set: lease -> microseconds at which it ends
-- KEYS[2]      the tenant's claims           sorted set: owner -> microseconds at which it ends; see claim.lua
-- KEYS[3 ...]  the rates that hold for it    strings, see gcra.lua
-- ARGV[1]      how many may run at once; '' for any number
-- ARGV[2]      microseconds after which to look again when too many run
-- ARGV[3]      the owner of the claim that led to this message; '' for none
-- ARGV[4]      the lease of this start. One that runs already (the same message again) does not count against itself
-- ARGV[5]      microseconds after which the lease ends, if it is not renewed
-- ARGV[6 ...]  for each rate its interval in microseconds, and its burst
--
-- Returns five integers:
--   1 if admitted, 0 if refused
--   microseconds until it may be admitted; 0 if it was
--   what it waits longest for, or if admitted the next one: 0 nothing, i the rate of KEYS[2 + i], -1 one that runs
--   if admitted, microseconds until the next one of its kind may be
--   the time of this decision, in microseconds
--
-- Admitted, it takes a token of each rate, its lease, and a claim: its owner's, or else the one that ends first,
-- since its token is gone. Refused, it takes none of them; all that may be written is a rate that was changed.

local now = read_clock()
local rates = read_limits(3, 6, now)
local longest, reason = 0, 0

for index, rate in ipairs(rates) do
  if wait_of(rate, 0) > longest then
    longest, reason = wait_of(rate, 0), index
  end
end

local most = tonumber(ARGV[1])
local poll = tonumber(ARGV[2])
local running, first_end = 0, 0
if most then
  running, first_end = read_others(KEYS[1], ARGV[4], now)
  local wait = math.min(poll, first_end)
  if running >= most and wait > longest then
    longest, reason = wait, -1
  end
end

if longest > 0 then
  for _, rate in ipairs(rates) do
    if rate.changed then
      write_limit(rate, now)
    end
  end
  return { 0, answer(longest), reason, 0, now }
end

local next_wait = 0
for index, rate in ipairs(rates) do
  rate.ahead = rate.ahead + rate.interval
  write_limit(rate, now)
  if wait_of(rate, 0) > next_wait then
    next_wait, reason = wait_of(rate, 0), index
  end
end
if most then
  write_member(KEYS[1], ARGV[4], tonumber(ARGV[5]), now)
  if running + 1 >= most and poll > next_wait then
    next_wait, reason = poll, -1
  end
end

redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if redis.call('ZREM', KEYS[2], ARGV[3]) == 0 then
  redis.call('ZPOPMIN', KEYS[2])
end
return { 1, 0, reason, answer(next_wait), now }
