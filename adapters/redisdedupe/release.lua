-- KEYS[1]  the event
-- ARGV     token
if string.find(ARGV[1], '.', 1, true) and redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
