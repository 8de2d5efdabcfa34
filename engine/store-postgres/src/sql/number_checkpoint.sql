-- Gives a running attempt's checkpoint its number. It shows that the step gets somewhere: losses,
-- outages and failures are counted anew from here.
update step
set checkpoints = checkpoints + 1, losses = 0, outages = 0, checkpoint_failures = 0
where run = $1 and node = $2 and item = $3 and fence = $4 and status = 'running'
returning checkpoints, attempts
