-- Whether the fence may be raised so (Standing::refuse_fence in
-- src/caspaxos/standing.rs). ARGV: 12 'valid' when the configuration is.
local newest = below(ARGV[5], ARGV[1]) and ARGV[1] or ARGV[5]
if below(epoch, newest) and below(ARGV[9], newest) then
  return { 'behind' }
end
if ARGV[12] ~= 'valid' or not is_near(epoch, ARGV[9]) or not is_near(age, ARGV[6])
  or not is_near(digits('index'), ARGV[8]) or not is_near(counted, ARGV[7]) then
  return { 'too_high' }
end
