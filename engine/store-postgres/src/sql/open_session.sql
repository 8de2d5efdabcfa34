-- Registers a session whose lease ends after so many microseconds.
insert into session (id, name, opened_at, expires_at)
values (
    $1, $2, clock_timestamp(), clock_timestamp() + $3::bigint * interval '1 microsecond'
)
