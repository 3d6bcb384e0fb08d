-- KEYS[1]  the event
-- ARGV     token, retention in ms
local value = redis.call('GET', KEYS[1])
local nonce = string.match(ARGV[1], '^%d+%.(%d+)$')
if not value or not nonce then
  return 0
end
if value == ARGV[1] then
  redis.call('SET', KEYS[1], nonce, 'PX', ARGV[2])
  return 1
end
return value == nonce and 1 or 0 -- sent again: the answer was lost
