-- KEYS[1]  the event
-- ARGV     token
local value = redis.call('GET', KEYS[1])
if value and string.match(value, '^%d+%.(%d+)$') == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
