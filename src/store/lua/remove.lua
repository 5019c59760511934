-- Removes the register if it still holds the tombstone that is meant and has
-- promised nothing that counts above the floor.
-- ARGV: 3 the ballot of the tombstone, 4 the floor as 20 digits, 5 the key.

local promise, accepted = ballots()
local is_new = promise == ZERO and accepted == ZERO
local is_dead = redis.call('ZSCORE', KEYS[4], ARGV[5])
local is_that = not is_new and is_dead and accepted == ARGV[3]
if is_that and not below(ARGV[4], string.sub(promise, 1, 20)) then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[5])
  redis.call('ZREM', KEYS[4], ARGV[5])
  return { 'removed', 'gone' }
end
return { 'removed', is_new and 'gone' or '' }
