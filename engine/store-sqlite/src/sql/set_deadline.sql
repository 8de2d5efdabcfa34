-- Sets when a running attempt must have ended.
update step
set deadline_at = $5
where run = $1 and node = $2 and item = $3 and fence = $4 and status = 'running'
