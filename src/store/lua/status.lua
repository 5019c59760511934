-- How the acceptor stands.
local answer = with_fence({ 'status' })
answer[#answer + 1] = redis.call('HGET', KEYS[3], 'enrolled') or ''
-- Every dead register that was accepted is in both sets; a bare promise is in
-- one only, and is not counted among all.
answer[#answer + 1] = redis.call('ZCARD', KEYS[2])
answer[#answer + 1] = redis.call('ZCARD', KEYS[4])
return answer
