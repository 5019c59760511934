-- The epoch rises only with a configuration that has it.
if below(epoch, ARGV[1]) then
  return { 'behind' }
end

-- Takes note of how far a ballot counts; the answer if that is too far.
local function count(ballot)
  local counter = string.sub(ballot, 1, #ZERO_DIGITS)
  if not is_near(counted, counter) then
    return { 'too_high' }
  end
  if tonumber(counter) > tonumber(counted) + MAX_LEAP / 2 then
    redis.call('HSET', KEYS[3], 'counted', counter)
  end
end
