-- The running attempt of a step did not go on from a checkpoint after all.
update step
set resumed_from = null
where run = $1 and node = $2 and item = $3 and status = 'running' and resumed_from is not null
returning attempts
