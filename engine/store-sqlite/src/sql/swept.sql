-- Notes that a generation was looked through, unless its run has gone on since ($3).
update generation set swept_at = $4
where
    name = $1
    and n = $2
    and exists (select 1 from run where run.id = generation.run and run.ended_at = $3)
