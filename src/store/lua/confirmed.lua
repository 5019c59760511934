-- Until it is confirmed that it is no old copy, it serves nobody.
if redis.call('HGET', KEYS[3], 'confirmed') ~= 'yes' then
  return with_claim({ 'unconfirmed' })
end
