-- Takes a fingerprint for a run, unless another run has it and the caller does not insist. Answers
-- the run that has it now; a transaction that wants the same waits here.
insert into request as r (fingerprint, run)
values ($1, $2)
on conflict (fingerprint) do update set run = case when $3 then excluded.run else r.run end
returning run
