-- Functions that the scripts of this folder share; this file is put in front of each of them.
--
-- GCRA, the generic cell rate algorithm: ITU-T Recommendation I.371 (annex A, virtual scheduling), written for
-- ATM networks. It needs one number for each limit, the theoretical arrival time (TAT) of the next start:
--
--   interval   emission interval T = period / count: what one start costs, in time
--   tolerance  how long before its TAT a start may come: (burst - 1) * T, and 0.05 * T more
--   admit      if now >= TAT - tolerance; then TAT = max(TAT, now) + T
--   refuse     otherwise; the first moment at which it would be admitted is TAT - tolerance
--
-- That twentieth of an interval is I.371's cell delay variation tolerance. Without it each start that comes late, and in
-- a worker all do, moves all later ones by its lateness, and the rate is never reached. With it the long-run rate
-- is exact while two starts of a smooth limit are still 0.95 * T apart.
--
-- What is stored for a limit: the string "written ahead T": at the time `written` TAT was `ahead` of it. The key
-- expires at TAT, since a TAT in the past and no key mean the same. TAT itself is not stored: as a double it would
-- be exact to a quarter of a microsecond only, and every start would round it the same way.
--
-- T is kept beside it so that `ahead` can be read as a level, in starts that are not yet paid off: ahead / T. The
-- level is what survives a change of the limit: after "1/1h" becomes "100/1s" the start of a moment ago is paid
-- off in 10 ms and not in an hour, and the other way round it is not forgotten.
--
-- All times are microseconds, and by Redis' own clock. Redis cuts numbers in an answer to integers, so every
-- answer is rounded here: waits upwards.

local LARGEST = 2 ^ 53

local function read_clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- A limit as it stands now; `ahead` is that of its TAT. interval and burst are strings from ARGV.
local function read_limit(key, interval, burst, now)
  local limit = { key = key, interval = tonumber(interval), ahead = 0, changed = false }
  limit.tolerance = (tonumber(burst) - 0.95) * limit.interval
  local written, ahead, paid_by = string.match(redis.call('GET', key) or '', '^(%S+) (%S+) (%S+)$')
  written, ahead, paid_by = tonumber(written), tonumber(ahead), tonumber(paid_by)
  if written and ahead and paid_by then
    limit.ahead = math.max(0, ahead - (now - written))
    if paid_by ~= limit.interval then
      limit.ahead = limit.ahead / paid_by * limit.interval
      limit.changed = true
    end
    -- More than a full burst can't be owed: the burst was made smaller, or the clock was set back.
    local most = limit.tolerance + limit.interval
    if limit.ahead > most then
      limit.ahead = most
      limit.changed = true
    end
  end
  return limit
end

-- The limits of KEYS from one index on; their intervals and bursts are in ARGV from another one on.
local function read_limits(first_key, first_argument, now)
  local limits = {}
  for index = first_key, #KEYS do
    local argument = first_argument + 2 * (index - first_key)
    limits[#limits + 1] = read_limit(KEYS[index], ARGV[argument], ARGV[argument + 1], now)
  end
  return limits
end

-- Microseconds until the limit would admit a start, if `others` come first; not above 0: it would now.
local function wait_of(limit, others)
  return limit.ahead + others * limit.interval - limit.tolerance
end

local function write_limit(limit, now)
  local expiry = math.min(LARGEST, math.max(1, math.ceil(limit.ahead / 1000)))
  redis.call('SET', limit.key, string.format('%.0f %.17g %.17g', now, limit.ahead, limit.interval),
    'PX', string.format('%.0f', expiry))
end

-- Leases and claims: a sorted set of members, each with the microsecond at which it ends.

-- How many there are beside this member, and the microseconds until the first of all ends (0 if there is none).
local function read_others(key, member, now)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local others = redis.call('ZCARD', key)
  if redis.call('ZSCORE', key, member) then
    others = others - 1
  end
  local first = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  return others, (tonumber(first[2]) or now) - now
end

-- Adds a member, or gives it a new end; the key ends with the last of its members.
local function write_member(key, member, lasts, now)
  redis.call('ZADD', key, now + lasts, member)
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil((tonumber(last[2]) - now) / 1000)))
end

-- An answer's number of microseconds.
local function answer(microseconds)
  return math.min(LARGEST, math.max(0, math.ceil(microseconds)))
end
