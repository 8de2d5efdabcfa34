-- Those of these runs ($3) that are expired, as expired.sql tells them.
select run.id
from run
where
    run.ended_at <= $1
    and run.id in (select value from json_each($3))
    and not exists (
        select 1
        from generation
        join publication on publication.name = generation.name
        where
            generation.run = run.id
            and (publication.generation = generation.n or publication.moved_at > $2)
    )
order by run.id
