-- Notes that a generation was looked through, unless its run has gone on since ($3).
update generation set swept_at = now()
from run
where generation.name = $1 and generation.n = $2 and run.id = generation.run and run.ended_at = $3
