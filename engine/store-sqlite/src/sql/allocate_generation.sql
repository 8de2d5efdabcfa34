-- Allocates the run's generation of a name, one above every earlier one; if the run has one, this
-- changes nothing.
insert into generation (name, n, run)
select $1, coalesce(max(n), 0) + 1, $2
from generation
where name = $1
on conflict (run, name) do nothing
