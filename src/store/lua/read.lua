-- Answers the accepted value and changes nothing.

local _, accepted = ballots()
return { 'was_read', accepted, redis.call('HGET', KEYS[1], 'value') }
