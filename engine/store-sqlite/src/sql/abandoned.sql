-- Generations of forgotten runs whose objects are to go, behind another one.
select name, n, run, media_store, keys, ended_at, 0 as published
from abandoned
where (name, n) > ($1, $2)
order by name, n
limit $3
