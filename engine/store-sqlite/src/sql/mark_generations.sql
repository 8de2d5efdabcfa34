-- Remembers the highest generations of runs that are forgotten.
insert into generation_mark (name, n)
select name, max(n) from generation where run in (select value from json_each($1)) group by name
on conflict (name) do update set n = max(n, excluded.n)
