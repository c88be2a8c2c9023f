-- Tells what came of submissions whose idempotency keys were claimed.
--
-- KEYS[1..]  the hashes of claim.lua
-- ARGV[1]    the claim's own name; a key that is somebody else's by now is left alone
-- ARGV[2..]  one a key:
--              done  it was submitted
--              open  it may have been: who claims the key next submits it again, by the same id
--              gone  it was not

for i, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'owner') == ARGV[1] then
    local outcome = ARGV[1 + i]
    if outcome == 'done' then
      redis.call('HDEL', key, 'owner', 'till')
    elseif outcome == 'open' then
      redis.call('HSET', key, 'till', 0)
    else
      redis.call('DEL', key)
    end
  end
end
