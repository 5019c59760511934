-- Stands in front of every step. A step is one script, so Redis runs nothing
-- else between its check, its write and its answer (rule 4).
--
-- A register is a hash: promise and accepted hold a ballot as fixed-width
-- text, value holds a version byte and postcard. A field that is missing
-- stands for the zero ballot, or for no value.
--
-- KEYS: 1 the register, 2 the sorted set of the keys with an accepted value,
--       3 the least epoch.
-- ARGV: 1 the epoch of the proposer as 20 digits, then those of the step.

local ZERO = '00000000000000000000|                |0000000000000000'

-- Whether a sorts below b, byte by byte. Lua's own < asks the locale, in which
-- the letters of a proposer's name may sort otherwise.
local function below(a, b)
  if #a ~= #b then
    error('damaged: cannot compare "' .. a .. '" with "' .. b .. '"')
  end
  if a == b then
    return false
  end
  for at = 1, #a do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then
      return x < y
    end
  end
end

-- The ballots of the register: promise, accepted.
local function ballots()
  local fields = redis.call('HMGET', KEYS[1], 'promise', 'accepted')
  return fields[1] or ZERO, fields[2] or ZERO
end

local function conflict(promise, accepted, alarm)
  local seen = below(promise, accepted) and accepted or promise
  return { 'conflict', seen, alarm and 'alarm' or '' }
end

-- The fence: older configurations are refused, a newer one becomes the least.
local least = redis.call('GET', KEYS[3]) or '00000000000000000000'
if below(ARGV[1], least) then
  return { 'fenced', least }
end
if below(least, ARGV[1]) then
  redis.call('SET', KEYS[3], ARGV[1])
end

