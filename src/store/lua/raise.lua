-- Raises the fence. One that is not confirmed does not count (Standing::raise in
-- src/caspaxos/standing.rs).
local raised = raise_fence()
if redis.call('HGET', KEYS[3], 'confirmed') ~= 'yes' then
  return with_claim({ 'unconfirmed' })
end
return raised
