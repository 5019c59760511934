-- Rule 1, as src/caspaxos/acceptor.rs has it: promises a ballot that is
-- above everything the register has met.
-- ARGV: 3 the ballot, 4 the key.

local promise, accepted = ballots()
if not below(promise, ARGV[3]) or not below(accepted, ARGV[3]) then
  return conflict(promise, accepted, false)
end
if promise == ZERO and accepted == ZERO then
  -- A bare promise.
  redis.call('ZADD', KEYS[4], 0, ARGV[4])
end
redis.call('HSET', KEYS[1], 'promise', ARGV[3])
return { 'prepared', accepted, redis.call('HGET', KEYS[1], 'value') }
