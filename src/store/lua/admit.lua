-- An acceptor serves its own cluster alone (Standing::admit in
-- src/caspaxos/standing.rs). Whoever is turned away changes nothing.
local standing = redis.call('HMGET', KEYS[3], 'cluster', 'acceptor', 'epoch', 'age', 'counted')
local cluster, epoch, age = standing[1], standing[3] or ZERO_DIGITS, standing[4] or ZERO_DIGITS
local counted = standing[5] or ZERO_DIGITS
if cluster and cluster ~= ARGV[3] then
  return { 'other_cluster', cluster }
end
if cluster and standing[2] ~= ARGV[4] then
  return { 'other_acceptor', standing[2] }
end
if not cluster and ARGV[3] == '' then
  return { 'not_enrolled' }
end
