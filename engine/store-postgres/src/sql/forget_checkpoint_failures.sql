-- Failures are counted from the latest checkpoint, which is forgotten.
update step
set checkpoint_failures = 0
where run = $1 and node = $2 and item = $3
