-- Makes the acceptor serve.
-- ARGV: 5 the epoch of its enrolment, 6 the generation and 7 the tag of its
-- store, as the others have taken note of them.
local own = enrolment()
local is_own = own[1] == ARGV[5] and own[2] == ARGV[6] and own[3] == ARGV[7]
if redis.call('HGET', KEYS[3], 'confirmed') ~= 'yes' and not is_own then
  return with_claim({ 'unconfirmed' })
end
redis.call('HSET', KEYS[3], 'confirmed', 'yes', 'tried', '')
return { 'confirmed' }
