-- Runs that ended so long ago ($1) and never published anything, behind another one. What is held waits for people.
-- Ids begin with the time at which they were made, so that those from $3 on are too young.
select run.id
from run
where
    run.id > $2
    and run.id < $3
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
limit $4
