-- Claims idempotency keys of one tenant: all of them, or none.
--
-- KEYS[1..]  hashes, one a key:
--              fingerprint  what its request asks for
--              id           the task's id
--              owner, till  while its submission is under way: whose it is, and until when it counts, in milliseconds
-- ARGV[1]    the claim's own name
-- ARGV[2]    milliseconds that a key is kept
-- ARGV[3]    milliseconds that the submission has
-- ARGV[4..]  two a key: fingerprint, id of its task if it is the first
--
-- Returns two a key: what it is, and the id of its task:
--   new       claimed
--   again     claimed, and whoever had claimed it before may have submitted it
--   known     submitted before
--   busy      under way elsewhere
--   conflict  it belongs to another request
-- With one that is busy or in conflict nothing is claimed.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers, blocked = {}, false

for i, key in ipairs(KEYS) do
  local fingerprint, id = ARGV[2 + 2 * i], ARGV[3 + 2 * i]
  local found = redis.call('HMGET', key, 'fingerprint', 'id', 'till')
  local is = 'new'
  if found[1] then
    id = found[2]
    if found[1] ~= fingerprint then
      is = 'conflict'
    elseif not found[3] then
      is = 'known'
    elseif tonumber(found[3]) > now then
      is = 'busy'
    else
      is = 'again'
    end
  end
  blocked = blocked or is == 'conflict' or is == 'busy'
  answers[2 * i - 1], answers[2 * i] = is, id
end

if not blocked then
  for i, key in ipairs(KEYS) do
    local is, id = answers[2 * i - 1], answers[2 * i]
    if is ~= 'known' then
      redis.call('HSET', key, 'fingerprint', ARGV[2 + 2 * i], 'id', id, 'owner', ARGV[1], 'till', now + ARGV[3])
    end
    if is == 'new' then
      redis.call('PEXPIRE', key, ARGV[2])
    end
  end
end
return answers
