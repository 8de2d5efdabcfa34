-- Remembers the runs that lose a fingerprint because the caller insists.
insert into request_before (fingerprint, run)
select fingerprint, run from request where fingerprint = any($1::text[])
on conflict do nothing
