-- One that is not enrolled serves the founding epoch alone.
local FOUNDING = '00000000000000000001'

if below(epoch, ARGV[1]) then
  raise('epoch', ARGV[1])
end
if below(FOUNDING, ARGV[1]) and not is_enrolled then
  return { 'not_enrolled' }
end
