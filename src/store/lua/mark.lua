-- Begins the next generation while the acceptor serves.
-- ARGV: 5 its tag.
redis.call('HINCRBY', KEYS[3], 'generation', 1)
redis.call('HSET', KEYS[3], 'tag', ARGV[5])
return with_enrolment({ 'marked' })
