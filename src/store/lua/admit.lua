-- The fence, as src/caspaxos/fence.rs has it: lower epochs and ages are turned
-- away.
local epoch, age = digits('epoch'), digits('age')
if below(ARGV[1], epoch) or below(ARGV[2], age) then
  return with_fence({ 'fenced' })
end
