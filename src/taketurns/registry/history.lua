-- Adds to how many tasks of tenants have ended.
--
-- KEYS[1]  completed  hash: tenant -> how many ended well
-- KEYS[2]  failed     hash: tenant -> how many became dead letters
-- ARGV[1]  JSON object: tenant -> how many more of both

for tenant, ended in pairs(cjson.decode(ARGV[1])) do
  for index, more in ipairs(ended) do
    if more > 0 then
      redis.call('HINCRBY', KEYS[index], tenant, more)
    end
  end
end
