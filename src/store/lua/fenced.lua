-- Lower epochs and ages are turned away.
if below(ARGV[1], epoch) or below(ARGV[2], age) then
  return with_fence({ 'fenced' })
end
