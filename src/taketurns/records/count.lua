-- Counts some of a tenant's records by state and priority.
--
-- KEYS[1]  sorted set: task id -> when it was submitted
-- ARGV[1]  the start of the key of a record; the task's id follows
-- ARGV[2]  the place of the first record to be counted, and
-- ARGV[3]  that of the last: few enough that others need not wait for long
-- ARGV[4]  the time, in seconds since 1970: what is queued for later is delayed
--
-- Returns an array of `<state> <priority>` and how many, alternating; the priority is missing where it is unknown.

local counts, found = {}, {}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], ARGV[2], ARGV[3])) do
  local record = redis.call('HMGET', ARGV[1] .. id, 'state', 'priority', 'due')
  local state = record[1]
  if state then
    if state == 'QUEUED' and tonumber(record[3] or 0) > tonumber(ARGV[4]) then
      state = 'DELAYED'
    end
    local kind = state .. ' ' .. (record[2] or '')
    counts[kind] = (counts[kind] or 0) + 1
  end
end
for kind, count in pairs(counts) do
  found[#found + 1] = kind
  found[#found + 1] = count
end
return found
