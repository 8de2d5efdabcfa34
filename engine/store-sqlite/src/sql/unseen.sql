-- Generations of expired runs whose objects nobody sees.
select generation.name, generation.n, generation.run, generation.keys, run.media_store
from generation
join run on run.id = generation.run
where
    generation.run in (select value from json_each($1))
    and generation.keys is not null
    and (
        run.status <> 'succeeded'
        or exists (select 1 from publication where publication.name = generation.name)
    )
order by generation.run, generation.name
