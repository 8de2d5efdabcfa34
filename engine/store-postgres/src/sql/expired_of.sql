-- Those of these runs ($3) that are expired, as expired.sql tells them.
select run.id
from run
where
    run.ended_at <= now() - make_interval(secs => $1)
    and run.id = any($3)
    and not exists (
        select
        from generation
        join publication on publication.name = generation.name
        where
            generation.run = run.id
            and (publication.generation = generation.n or publication.moved_at > now() - make_interval(secs => $2))
    )
order by run.id
for update of run
