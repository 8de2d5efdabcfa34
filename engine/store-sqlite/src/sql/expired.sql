-- Runs that stopped so long ago ($1) and of which readers see nothing, nor have seen lately ($2), behind another
-- one.
select run.id
from run
where
    run.ended_at <= $1
    and run.id > $3
    and not exists (
        select 1
        from generation
        join publication on publication.name = generation.name
        where
            generation.run = run.id
            and (publication.generation = generation.n or publication.moved_at > $2)
    )
order by run.id
limit $4
