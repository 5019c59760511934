-- Rule 1, as src/caspaxos/acceptor.rs has it: promises a ballot that is
-- above everything the register has met.
-- ARGV: 2 the ballot.

local promise, accepted = ballots()
if not below(promise, ARGV[2]) or not below(accepted, ARGV[2]) then
  return conflict(promise, accepted, false)
end
redis.call('HSET', KEYS[1], 'promise', ARGV[2])
return { 'prepared', accepted, redis.call('HGET', KEYS[1], 'value') }
