-- KEYS[1]  the event
-- ARGV     token, retention in ms
local value = redis.call('GET', KEYS[1])
if not value or not string.match(ARGV[1], '^%d+$') then
  return 0
end
if string.match(value, '^%d+%.(%d+)$') == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1
end
return value == ARGV[1] and 1 or 0 -- sent again: the answer was lost
