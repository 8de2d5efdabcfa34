-- Remembers the highest generations of a run that is forgotten.
insert into generation_mark (name, n)
select name, max(n) from generation where run = $1 group by name
on conflict (name) do update set n = max(n, excluded.n)
