-- Lets the lease of a session that was not ended end so many microseconds from now, and notes on which
-- connection it was renewed. Answers whether somebody else seems to be gone: sweeping tells.
update session
set
    expires_at = clock_timestamp() + $2::bigint * interval '1 microsecond',
    renewed_at = clock_timestamp(),
    backend = pg_backend_pid(),
    backend_began = (select backend_start from pg_stat_get_activity(pg_backend_pid()))
where id = $1
returning exists (
    select from session as other
    where
        other.id <> $1
        and (
            other.expires_at <= clock_timestamp()
            or other.renewed_at + $3::bigint * interval '1 microsecond' < clock_timestamp()
            and not exists (
                select from pg_stat_get_activity(other.backend) as a
                where a.backend_start = other.backend_began or a.backend_start is null
            )
        )
)
