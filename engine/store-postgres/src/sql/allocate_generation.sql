-- Gives a run its generation of a name, unless it has one: above every earlier one, those of forgotten runs
-- included, and above $3.
insert into generation (name, n, run)
select $1, next.n, $2
from (
    select max(taken.n) + 1 as n
    from (
        select $3::bigint as n
        union all
        select n from generation_mark where name = $1
        union all
        select max(n) from generation where name = $1
    ) as taken
) as next
on conflict (run, name) do nothing
