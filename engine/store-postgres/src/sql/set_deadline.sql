-- Sets when a running attempt must have ended, so many microseconds from now.
update step
set deadline_at = clock_timestamp() + $5::bigint * interval '1 microsecond'
where run = $1 and node = $2 and item = $3 and fence = $4 and status = 'running'
