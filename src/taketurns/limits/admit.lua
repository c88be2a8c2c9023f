-- Admits one start of a task, or refuses it: all of its limits in one step, all or nothing. See gcra.lua.
--
-- KEYS[1]  the tenant's rate                 string, see gcra.lua
-- KEYS[2]  the tenant's rate for this task   string, see gcra.lua
-- KEYS[3]  the tenant's running starts       sorted set: lease -> microseconds at which it ends
-- KEYS[4]  the tenant's claims               sorted set: owner -> microseconds at which it ends; see claim.lua
-- ARGV[1]  interval of the tenant's rate in microseconds; '' for none
-- ARGV[2]  its burst
-- ARGV[3]  interval of the task's rate in microseconds; '' for none
-- ARGV[4]  its burst
-- ARGV[5]  how many may run at once; '' for any number
-- ARGV[6]  the lease of this start. One that runs already (the same message again) does not count against itself
-- ARGV[7]  microseconds after which the lease ends, if it is not renewed
-- ARGV[8]  the owner of the claim that led to this message; '' for none
-- ARGV[9]  microseconds after which to look again when too many run
--
-- Returns five integers:
--   1 if admitted, 0 if refused
--   microseconds until it may be admitted; 0 if it was
--   what it waits longest for: 0 nothing, 1 the tenant's rate, 2 the task's rate, 3 one that runs
--   if admitted, microseconds until the next one of its kind may be
--   the time of this decision, in microseconds
--
-- Admitted, it takes a token of each rate, its lease, and a claim: its owner's, or else the one that ends first,
-- since its token is gone. Refused, it takes none of them; all that may be written is a rate that was changed.

local now = read_clock()
local rates = {
  read_limit(KEYS[1], ARGV[1], ARGV[2], now) or false,
  read_limit(KEYS[2], ARGV[3], ARGV[4], now) or false,
}
local longest, reason = 0, 0

for index, rate in ipairs(rates) do
  if rate and wait_of(rate, 0) > longest then
    longest, reason = wait_of(rate, 0), index
  end
end

local most = tonumber(ARGV[5])
local poll = tonumber(ARGV[9])
local running, first_end = 0, 0
if most then
  running, first_end = read_others(KEYS[3], ARGV[6], now)
  local wait = math.min(poll, first_end)
  if running >= most and wait > longest then
    longest, reason = wait, 3
  end
end

if longest > 0 then
  for _, rate in ipairs(rates) do
    if rate and rate.changed then
      write_limit(rate, now)
    end
  end
  return { 0, answer(longest), reason, 0, now }
end

local next_wait = 0
for _, rate in ipairs(rates) do
  if rate then
    rate.ahead = rate.ahead + rate.interval
    write_limit(rate, now)
    next_wait = math.max(next_wait, wait_of(rate, 0))
  end
end
if most then
  write_member(KEYS[3], ARGV[6], tonumber(ARGV[7]), now)
  if running + 1 >= most then
    next_wait = math.max(next_wait, poll)
  end
end

redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now)
if redis.call('ZREM', KEYS[4], ARGV[8]) == 0 then
  redis.call('ZPOPMIN', KEYS[4])
end
return { 1, 0, 0, answer(next_wait), now }
