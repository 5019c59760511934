-- The fence, as src/caspaxos/fence.rs has it: lower epochs and ages are turned
-- away.
local standing = redis.call('HMGET', KEYS[3], 'epoch', 'age', 'enrolled')
local epoch, age, is_enrolled = standing[1] or ZERO_DIGITS, standing[2] or ZERO_DIGITS, standing[3]
if below(ARGV[1], epoch) or below(ARGV[2], age) then
  return with_fence({ 'fenced' })
end
