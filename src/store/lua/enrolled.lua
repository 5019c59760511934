-- One that belongs to no cluster serves nobody.
if not cluster then
  return { 'not_enrolled' }
end
