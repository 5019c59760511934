-- One page of the accepted values, in key order: their keys, ballots and
-- values, until they reach the limit. KEYS[1] is what the names of registers
-- begin with.
-- ARGV: 2 and 3 the bounds, as of ZRANGEBYLEX, 4 the limit in bytes.

local CHUNK = 64 -- keys that are looked up at a time

local from, limit = ARGV[2], tonumber(ARGV[4])
local reply, bytes = { 'listed', '' }, 0
while true do
  local keys = redis.call('ZRANGEBYLEX', KEYS[2], from, ARGV[3], 'LIMIT', 0, CHUNK)
  for _, key in ipairs(keys) do
    local fields = redis.call('HMGET', KEYS[1] .. key, 'accepted', 'value')
    if not fields[1] or not fields[2] then
      error('damaged: the index names a key that holds no value: ' .. key)
    end
    reply[#reply + 1] = key
    reply[#reply + 1] = fields[1]
    reply[#reply + 1] = fields[2]
    bytes = bytes + 128 + #key + #fields[2] -- as ListEntry::OVERHEAD_BYTES
    if bytes >= limit then
      reply[2] = 'more'
      return reply
    end
  end
  if #keys < CHUNK then
    return reply
  end
  from = '(' .. keys[#keys]
end
