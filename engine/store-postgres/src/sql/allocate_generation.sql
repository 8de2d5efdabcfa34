-- Gives a run its generation of a name, unless it has one.
insert into generation (name, n, run)
select $1, greatest(coalesce(max(n), 0), $3) + 1, $2
from generation
where name = $1
on conflict (run, name) do nothing
