-- Allocates the run's generation of a name, above every earlier one and above $3; if the run has one,
-- this changes nothing.
insert into generation (name, n, run)
select $1, max(coalesce(max(n), 0), $3) + 1, $2
from generation
where name = $1
on conflict (run, name) do nothing
