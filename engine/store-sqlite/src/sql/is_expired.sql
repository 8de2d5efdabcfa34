-- Whether a run ($2) is expired, as expired.sql tells it.
select 1
from run
where
    run.id = $2
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
