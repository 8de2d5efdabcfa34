-- Gives a run its generation of a name, unless it has one.
insert into generation (name, n, run, keys)
select $1, next.n, $2, replace($4, '{n}', next.n::text)
from (
    select greatest(coalesce(max(n), 0), $3) + 1 as n
    from generation
    where name = $1
) as next
on conflict (run, name) do nothing
