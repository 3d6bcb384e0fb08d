-- KEYS[1]  the event
-- ARGV     token, lease in ms, retention in ms
--
-- A key holds "<end of the lease, Unix time in ms>.<token>"; the token alone once it is done. It outlives the lease by the
-- retention, so that a late Complete still finds it.
local value = redis.call('GET', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if value then
  local ends, token = string.match(value, '^(%d+)%.(%d+)$')
  if not ends then
    if not string.match(value, '^%d+$') then
      return redis.error_reply('ERR the key holds something else: another program uses keys with this prefix')
    end
    return 'done'
  end
  if token == ARGV[1] then
    return 'claimed' -- sent again: the answer was lost
  end
  if tonumber(ends) > now then
    return 'held'
  end
end
redis.call('SET', KEYS[1], string.format('%.0f.%s', now + ARGV[2], ARGV[1]), 'PX', string.format('%.0f', ARGV[2] + ARGV[3]))
return 'claimed'
