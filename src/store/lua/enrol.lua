-- Makes an empty acceptor one of the cluster's, and raises its fence.
-- ARGV: 13 how far the proposer has counted, 14 'founding' while the cluster is
-- founded.
local is_founder = cluster and ARGV[14] == 'founding'
if not is_founder and redis.call('EXISTS', KEYS[2], KEYS[4]) > 0 then
  return { 'not_empty' }
end
if not cluster then
  raise('counted', ARGV[13])
end
if not is_founder then
  redis.call('HSET', KEYS[3], 'enrolled', ARGV[5])
end
redis.call('HSET', KEYS[3], 'cluster', ARGV[3], 'acceptor', ARGV[4])
return raise_fence()
