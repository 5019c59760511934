-- Raises the fence. In the founding epoch it enrols those that stay.
if not below(FOUNDING, ARGV[1]) then
  redis.call('HSET', KEYS[3], 'enrolled', '1')
end
return raise_fence()
