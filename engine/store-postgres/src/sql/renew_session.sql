-- Lets the lease of a session that was not ended end so many microseconds from now.
update session
set expires_at = clock_timestamp() + $2::bigint * interval '1 microsecond'
where id = $1
