-- Raises the fence.
return raise_fence()
