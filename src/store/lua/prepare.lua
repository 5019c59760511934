-- Rule 1, as src/caspaxos/acceptor.rs has it: promises a ballot that is
-- above everything the register has met.
-- ARGV: 5 the ballot, 6 the key.

local too_high = count(ARGV[5])
if too_high then
  return too_high
end
local promise, accepted = ballots()
if not below(promise, ARGV[5]) or not below(accepted, ARGV[5]) then
  return conflict(promise, accepted, false)
end
if promise == ZERO and accepted == ZERO then
  -- A bare promise.
  redis.call('ZADD', KEYS[4], 0, ARGV[6])
end
redis.call('HSET', KEYS[1], 'promise', ARGV[5])
return { 'prepared', accepted, redis.call('HGET', KEYS[1], 'value') }
