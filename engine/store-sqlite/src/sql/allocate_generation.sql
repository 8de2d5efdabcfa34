-- Allocates the run's generation of a name, above every earlier one, those of forgotten runs included, and
-- above $3; if the run has one, this changes nothing.
insert into generation (name, n, run)
select $1, next.n, $2
from (
    select max(taken.n) + 1 as n
    from (
        select $3 as n
        union all
        select n from generation_mark where name = $1
        union all
        select max(n) from generation where name = $1
    ) as taken
) as next
where true
on conflict (run, name) do nothing
