-- Makes an empty acceptor one of the cluster's, and raises its fence.
raise('epoch', ARGV[1])
if redis.call('EXISTS', KEYS[2], KEYS[4]) > 0 then
  return { 'not_empty' }
end
redis.call('HSET', KEYS[3], 'enrolled', '1')
return raise_fence()
