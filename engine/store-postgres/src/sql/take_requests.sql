-- Takes fingerprints for runs, each unless another run has it and the caller does not insist ($3).
-- Answers the runs that have them now, in the order asked for; a transaction that wants one of them
-- waits here. No fingerprint may be asked for twice.
insert into request as r (fingerprint, run)
select * from unnest($1::text[], $2::text[])
on conflict (fingerprint) do update
    set run = case when r.fingerprint = any($3::text[]) then excluded.run else r.run end
returning run
