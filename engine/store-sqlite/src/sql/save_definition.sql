-- Keeps a definition. It is known by its digest, so the same digest again changes nothing.
insert into definition (digest, name, version, canonical, saved_at)
values ($1, $2, $3, $4, $5)
on conflict (digest) do nothing
