-- Keeps where the objects are of a run that is forgotten and did not succeed. What others made and never published
-- was made for somebody, who may have the addresses.
insert into abandoned (name, n, run, media_store, keys, ended_at)
select generation.name, generation.n, generation.run, run.media_store, generation.keys, run.ended_at
from generation
join run on run.id = generation.run
where
    generation.run = $1
    and generation.keys is not null
    and run.status <> 'succeeded'
