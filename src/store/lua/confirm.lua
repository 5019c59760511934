-- Makes the acceptor serve, in the next generation of its store (Standing::confirm
-- in src/caspaxos/standing.rs).
-- ARGV: 5 the epoch of its enrolment, 6 the generation and 7 the tag of its
-- store, as the others have taken note of them, 8 the tag of the next.
if redis.call('HGET', KEYS[3], 'confirmed') ~= 'yes' then
  local own = enrolment()
  if own[1] ~= ARGV[5] or own[2] ~= ARGV[6] or own[3] ~= ARGV[7] then
    return with_claim({ 'unconfirmed' })
  end
  redis.call('HINCRBY', KEYS[3], 'generation', 1)
  redis.call('HSET', KEYS[3], 'confirmed', 'yes', 'tried', '', 'tag', ARGV[8])
end
return with_enrolment({ 'confirmed' })
