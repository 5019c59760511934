-- Stands in front of every step. A step is one script, so Redis runs nothing
-- else between its check, its write and its answer (rule 4).
--
-- A register is a hash: promise and accepted hold a ballot as fixed-width
-- text, value holds a version byte and postcard. A field that is missing
-- stands for the zero ballot, or for no value.
--
-- KEYS: 1 the register, 2 the sorted set of the keys with an accepted value,
--       3 the standing of the acceptor, a hash, 4 the sorted set of the keys
--       whose registers hold no live record.
-- ARGV: 1 the epoch of the proposer as 20 digits, 2 its age likewise, 3 the id of
--       its cluster or nothing, 4 the acceptor that it means, then those of the
--       step.

local ZERO = '00000000000000000000|                |0000000000000000'
local ZERO_DIGITS = '00000000000000000000'

-- True when a sorts below b, byte by byte. Lua's own < asks the locale, in which
-- the letters of a proposer's name may sort otherwise; the digits before them
-- sort alike in all, and mostly decide.
local function below(a, b)
  if #a ~= #b then
    error('damaged: cannot compare "' .. a .. '" with "' .. b .. '"')
  end
  if a == b then
    return false
  end
  local digits = #ZERO_DIGITS
  local x, y = string.sub(a, 1, digits), string.sub(b, 1, digits)
  if x ~= y then
    return x < y
  end
  for at = digits + 1, #a do
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

-- A field of the standing that holds digits.
local function digits(name)
  return redis.call('HGET', KEYS[3], name) or ZERO_DIGITS
end

-- Appends the fence to an answer.
local function with_fence(answer)
  for _, name in ipairs({ 'epoch', 'age', 'counter', 'index' }) do
    answer[#answer + 1] = digits(name)
  end
  answer[#answer + 1] = redis.call('HGET', KEYS[3], 'collected') or ''
  answer[#answer + 1] = redis.call('HGET', KEYS[3], 'configuration')
  return answer
end

-- When the acceptor was enrolled, and the generation and the tag of its store.
local function enrolment()
  local generation = redis.call('HGET', KEYS[3], 'generation') or '0'
  return { digits('enrolled'), string.rep('0', 20 - #generation) .. generation, digits('tag') }
end

local function with_enrolment(answer)
  for _, field in ipairs(enrolment()) do
    answer[#answer + 1] = field
  end
  return answer
end

-- With the other tags of the generation, under which it never served.
local function with_claim(answer)
  with_enrolment(answer)
  answer[#answer + 1] = redis.call('HGET', KEYS[3], 'tried') or ''
  return answer
end

-- Raises a field of the standing; true when it was lower.
local function raise(name, to)
  if below(digits(name), to) then
    redis.call('HSET', KEYS[3], name, to)
    return true
  end
  return false
end

-- Raises the fence, as ARGV from the fifth on has it: epoch, age, the floor's
-- counter and index, the epoch of the configuration and that, and the batch
-- that raised the age.
local function raise_fence()
  local aged = raise('age', ARGV[6])
  raise('epoch', ARGV[5])
  raise('counter', ARGV[7])
  raise('counted', ARGV[7])
  raise('index', ARGV[8])
  if raise('configuration_epoch', ARGV[9]) then
    redis.call('HSET', KEYS[3], 'configuration', ARGV[10])
  end
  if aged then
    redis.call('HSET', KEYS[3], 'collected', ARGV[11])
  end
  return with_fence({ 'raised', aged and 'aged' or '' })
end

-- MAX_LEAP of src/caspaxos/standing.rs. Doubles are exact up to 2^53, and above
-- that nearly so, which is enough here.
local MAX_LEAP = 2 ^ 40

-- Whether a number is no further above what is known than by counting.
local function is_near(known, number)
  return tonumber(number) <= tonumber(known) + MAX_LEAP
end
