-- Writes what the machine can change in the header of a run. Whether and when the run has started
-- is the claims' to say, but the header was read in this very transaction.
update run
set status = $2, round = $3, revision = $4, output = $5, error = $6, started_at = $7, ended_at = $8
where id = $1
