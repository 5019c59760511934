-- One page of registers, in key order: their keys, ballots and values, until
-- they reach the limit. KEYS[1] is what the names of registers begin with.
-- ARGV: 5 and 6 the bounds, as of ZRANGEBYLEX, 7 the limit in bytes, 8 which
-- registers: accepted or dead.

local CHUNK = 64 -- keys that are looked up at a time

local from, limit = ARGV[5], tonumber(ARGV[7])
local set = ARGV[8] == 'dead' and KEYS[4] or KEYS[2]
local reply, bytes = { 'listed', '' }, 0
while true do
  local keys = redis.call('ZRANGEBYLEX', set, from, ARGV[6], 'LIMIT', 0, CHUNK)
  for _, key in ipairs(keys) do
    local fields = redis.call('HMGET', KEYS[1] .. key, 'accepted', 'value')
    local accepted, value = fields[1], fields[2]
    if set == KEYS[2] and not (accepted and value) then
      error('damaged: the index names a key that holds no value: ' .. key)
    end
    reply[#reply + 1] = key
    reply[#reply + 1] = accepted or ZERO
    reply[#reply + 1] = value
    bytes = bytes + 128 + #key + (value and #value or 0) -- as ListEntry::OVERHEAD_BYTES
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
