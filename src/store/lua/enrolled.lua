-- One that is none of the cluster's acceptors serves nothing but the first call
-- of the founding epoch, which makes it one.
if not redis.call('HGET', KEYS[3], 'enrolled') then
  local is_new = epoch == ZERO_DIGITS and age == ZERO_DIGITS
  if not is_new or below('00000000000000000001', ARGV[1]) then
    return { 'not_enrolled' }
  end
  redis.call('HSET', KEYS[3], 'enrolled', '1')
end
raise('epoch', ARGV[1])
