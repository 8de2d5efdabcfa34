-- Whether the lease of a session is over, or it has missed a beat and the connection of its last one is
-- closed: whoever asks had proof of that a moment ago.
select
    expires_at <= clock_timestamp()
    or coalesce(
        renewed_at + $2::bigint * interval '1 microsecond' < clock_timestamp()
        and not exists (
            select from pg_stat_get_activity(backend) as a
            where a.backend_start = backend_began or a.backend_start is null
        ),
        false
    )
from session
where id = $1
for update
