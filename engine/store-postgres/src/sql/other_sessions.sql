-- Sessions that have not been ended, oldest first, after how many microseconds the lease of each is over
-- (none if it is), and whether there is proof that its process is gone: it has missed a beat, which comes
-- at least every $2 microseconds, and the connection of its last one is closed. Connections that the
-- server or a network closed, all at once, prove nothing: that of the session that asks is still there, and
-- was before that beat.
select
    s.id, s.name, s.expires_at,
    greatest(extract(epoch from s.expires_at - clock_timestamp()) * 1000000, 0)::bigint as left_us,
    coalesce(
        s.renewed_at + $2::bigint * interval '1 microsecond' < clock_timestamp()
        and mine.backend_began < s.renewed_at
        and exists (
            select from pg_stat_get_activity(mine.backend) as a
            where a.backend_start = mine.backend_began
        )
        and not exists (
            select from pg_stat_get_activity(s.backend) as a
            -- Null to a role that may not look.
            where a.backend_start = s.backend_began or a.backend_start is null
        ),
        false
    ) as gone
from session as s
left join session as mine on mine.id = $1
where s.id <> $1
order by s.opened_at, s.id
