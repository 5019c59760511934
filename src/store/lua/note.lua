-- Takes note of another acceptor's enrolment, unless it knows better
-- (Standing::note in src/caspaxos/standing.rs).
-- ARGV: 5 the other acceptor; 6 the epoch of its enrolment, 7 the generation and
-- 8 the tag of its store, 9 other tags of the generation, 10 whether these are
-- more than are kept.
local function is_member()
  local configuration = redis.call('HGET', KEYS[3], 'configuration')
  if not configuration then
    return false
  end
  for _, quorum in pairs(cjson.decode(configuration)) do
    if type(quorum) == 'table' and quorum.acceptors then
      for _, name in ipairs(quorum.acceptors) do
        if name == ARGV[5] then
          return true
        end
      end
    end
  end
  return false
end

if below(epoch, ARGV[1]) or not is_member() then
  return { 'behind' }
end
local field = 'known:' .. ARGV[5]
local known = redis.call('HGET', KEYS[3], field) or ZERO_DIGITS .. ZERO_DIGITS .. ZERO_DIGITS
local generation = string.sub(known, 21, 40)
if ARGV[10] ~= '' or below(ARGV[1], ARGV[6]) or not is_near(generation, ARGV[7]) then
  return { 'too_high' }
end
-- Epoch and generation, which sort alike as text.
local place, told = string.sub(known, 1, 40), ARGV[6] .. ARGV[7]
local is_tried = string.find(ARGV[9], string.sub(known, 41), 1, true)
if below(place, told) or (place == told and is_tried) then
  known = ARGV[6] .. ARGV[7] .. ARGV[8]
  redis.call('HSET', KEYS[3], field, known)
end
return { 'noted', string.sub(known, 1, 20), string.sub(known, 21, 40), string.sub(known, 41) }
