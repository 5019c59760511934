-- How the acceptor stands; one that is asked for another tells nothing else. A
-- server that was never asked draws its nonce.
-- ARGV: 5 a random number as 20 digits.
if redis.call('HEXISTS', KEYS[3], 'cluster') == 1 then
  local acceptor = redis.call('HGET', KEYS[3], 'acceptor')
  if acceptor ~= ARGV[4] then
    return { 'other_acceptor', acceptor }
  end
end
redis.call('HSETNX', KEYS[3], 'nonce', ARGV[5])
local answer = with_fence({ 'status' })
answer[#answer + 1] = redis.call('HGET', KEYS[3], 'cluster') or ''
answer[#answer + 1] = digits('nonce')
with_claim(answer)
answer[#answer + 1] = redis.call('HGET', KEYS[3], 'confirmed') or ''
local known = {}
local fields = redis.call('HGETALL', KEYS[3])
for at = 1, #fields, 2 do
  if string.sub(fields[at], 1, 6) == 'known:' then
    known[#known + 1] = string.sub(fields[at], 7)
    known[#known + 1] = fields[at + 1]
  end
end
answer[#answer + 1] = known
-- Every dead register that was accepted is in both sets; a bare promise is in
-- one only, and is not counted among all.
answer[#answer + 1] = redis.call('ZCARD', KEYS[2])
answer[#answer + 1] = redis.call('ZCARD', KEYS[4])
return answer
