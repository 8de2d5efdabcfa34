-- Allocates the run's generation of a name, above every earlier one and above $3; if the run has one,
-- this changes nothing.
insert into generation (name, n, run, keys)
select $1, next.n, $2, replace($4, '{n}', next.n)
from (
    select max(coalesce(max(n), 0), $3) + 1 as n
    from generation
    where name = $1
) as next
where true
on conflict (run, name) do nothing
