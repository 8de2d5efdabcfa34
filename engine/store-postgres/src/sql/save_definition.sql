-- Keeps a definition. It is known by its digest, so the same digest again changes nothing.
insert into definition (digest, name, version, canonical)
values ($1, $2, $3, $4)
on conflict (digest) do nothing
