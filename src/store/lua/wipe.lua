-- Takes the acceptor out of the cluster and removes some of its registers; to
-- be run again until it says that none is left. KEYS[1] is what the names of
-- registers begin with.
local CHUNK = 1000

-- One that belongs to no cluster cannot be told of an epoch.
if cluster and below(epoch, ARGV[1]) then
  return { 'behind' }
end

redis.call('HDEL', KEYS[3], 'cluster', 'acceptor')
for _, set in ipairs({ KEYS[2], KEYS[4] }) do
  local keys = redis.call('ZRANGE', set, 0, CHUNK - 1)
  if #keys > 0 then
    for _, key in ipairs(keys) do
      redis.call('DEL', KEYS[1] .. key)
    end
    redis.call('ZREM', set, unpack(keys))
    return { 'wiping' }
  end
end
return { 'wiped' }
