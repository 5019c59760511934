-- One that is not enrolled serves the founding epoch alone.
local FOUNDING = '00000000000000000001'

raise('epoch', ARGV[1])
if below(FOUNDING, ARGV[1]) and not redis.call('HGET', KEYS[3], 'enrolled') then
  return { 'not_enrolled' }
end
