-- Rule 2, as src/caspaxos/acceptor.rs has it: accepts a value unless a
-- higher ballot is promised or one at least as high is accepted. The same
-- value under the same ballot is a message that came twice; another value
-- under the same ballot is an alarm.
-- ARGV: 5 the ballot, 6 the ballot to promise, 7 the value, 8 the key, 9 whether
-- the record is live, 10 'consistent' when a proposer can have come to the value.

local ballot, next_ballot, value, key = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
if ARGV[10] ~= 'consistent' then
  return { 'too_high' }
end
local too_high = count(below(ballot, next_ballot) and next_ballot or ballot)
if too_high then
  return too_high
end
local promise, accepted = ballots()
if ballot == accepted and ballot ~= ZERO then
  if value == redis.call('HGET', KEYS[1], 'value') then
    return { 'accepted' }
  end
  return conflict(promise, accepted, true)
end
if below(ballot, promise) or not below(accepted, ballot) then
  return conflict(promise, accepted, false)
end
if below(promise, next_ballot) then
  promise = next_ballot
end
if below(promise, ballot) then
  promise = ballot
end
redis.call('HSET', KEYS[1], 'promise', promise, 'accepted', ballot, 'value', value)
if accepted == ZERO then
  redis.call('ZADD', KEYS[2], 0, key)
end
if ARGV[9] == 'live' then
  redis.call('ZREM', KEYS[4], key)
else
  redis.call('ZADD', KEYS[4], 0, key)
end
return { 'accepted' }
