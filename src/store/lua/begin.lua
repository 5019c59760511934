-- A server that was started anew begins a generation, and must be confirmed
-- (Generations::open in src/generation.rs). Run at each connection.
-- KEYS: 1 the standing of the acceptor.
-- ARGV: 1 the random id that the server drew when it was started, 2 the tag of
-- the generation as 20 digits.
local MAX_TRIED = 256 -- Claim::MAX_TRIED

local fields = redis.call('HMGET', KEYS[1], 'run', 'generation', 'tag', 'confirmed', 'tried')
local run, generation, tag, confirmed, tried = unpack(fields)
if run == ARGV[1] then
  return
end
if confirmed == 'yes' or not generation then
  redis.call('HINCRBY', KEYS[1], 'generation', 1)
  tried = ''
else
  tried = (tried and tried ~= '') and tried .. ' ' .. tag or tag
  if #tried >= 21 * MAX_TRIED then
    tried = string.sub(tried, 22)
  end
end
redis.call('HSET', KEYS[1], 'run', ARGV[1], 'tag', ARGV[2], 'tried', tried)
redis.call('HDEL', KEYS[1], 'confirmed')
