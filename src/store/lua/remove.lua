-- Removes the register if it still holds the tombstone that is meant and has
-- promised nothing that counts above the floor.
-- ARGV: 5 the ballot of the tombstone, 6 the floor as 20 digits, 7 the key.

local promise, accepted = ballots()
local is_new = promise == ZERO and accepted == ZERO
local is_dead = redis.call('ZSCORE', KEYS[4], ARGV[7])
local is_that = not is_new and is_dead and accepted == ARGV[5]
if is_that and not below(ARGV[6], string.sub(promise, 1, 20)) then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[7])
  redis.call('ZREM', KEYS[4], ARGV[7])
  return { 'removed', 'gone' }
end
return { 'removed', is_new and 'gone' or '' }
