-- A server that was started anew begins the next generation, and must be
-- confirmed (Standing::open in src/caspaxos/standing.rs). Run at each
-- connection.
-- KEYS: 1 the standing of the acceptor.
-- ARGV: 1 the random id that the server drew when it was started, 2 the tag of
-- the generation as 20 digits.
if redis.call('HGET', KEYS[1], 'run') ~= ARGV[1] then
  redis.call('HINCRBY', KEYS[1], 'generation', 1)
  redis.call('HSET', KEYS[1], 'run', ARGV[1], 'tag', ARGV[2])
  redis.call('HDEL', KEYS[1], 'confirmed')
end
