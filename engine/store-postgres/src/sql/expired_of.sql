-- Those of these runs ($2) that are expired, as expired.sql tells them.
select run.id
from run
where
    run.id = any($2)
    and run.status <> 'held'
    and run.ended_at <= now() - make_interval(secs => $1)
    and not exists (
        select
        from generation
        left join publication
            on publication.name = generation.name and publication.generation = generation.n
        where
            generation.run = run.id
            and (generation.node is not null or publication.name is not null)
    )
order by run.id
for update of run
