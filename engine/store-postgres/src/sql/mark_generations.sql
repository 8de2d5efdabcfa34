-- Remembers the highest generations of runs that are forgotten.
insert into generation_mark as mark (name, n)
select name, max(n) from generation where run = any($1) group by name
on conflict (name) do update set n = greatest(mark.n, excluded.n)
