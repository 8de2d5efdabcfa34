-- Those of these runs ($2) that are expired, as expired.sql tells them.
select run.id
from run
where
    run.id in (select value from json_each($2))
    and run.status <> 'held'
    and run.ended_at <= $1
    and not exists (
        select 1
        from generation
        left join publication
            on publication.name = generation.name and publication.generation = generation.n
        where
            generation.run = run.id
            and (generation.node is not null or publication.name is not null)
    )
order by run.id
