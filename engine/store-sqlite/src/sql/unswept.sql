-- Generations of runs that ended before a time and that nobody looked through since, behind another one. Of a
-- run that failed after it had published, or was mended, caches may lead to anything there.
select
    generation.name,
    generation.n,
    generation.run,
    generation.keys,
    run.media_store,
    run.ended_at,
    generation.node is not null as published
from generation
join run on run.id = generation.run
where
    generation.keys is not null
    and run.ended_at <= $1
    and (
        (run.status = 'succeeded' and run.round = 1)
        or not exists (
            select 1 from generation as own where own.run = run.id and own.node is not null
        )
    )
    and (generation.swept_at is null or generation.swept_at < run.ended_at)
    and (generation.name, generation.n) > ($2, $3)
order by generation.name, generation.n
limit $4
