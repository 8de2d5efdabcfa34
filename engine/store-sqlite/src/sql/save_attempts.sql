-- Ends attempts.
update attempt
set
    outcome = a.value ->> 'outcome',
    ended_at = $2,
    cpu_s = a.value ->> 'cpu_s',
    max_rss_bytes = a.value ->> 'max_rss_bytes',
    processors = a.value ->> 'processors',
    error = a.value -> 'error'
from jsonb_each($1) as a
where
    attempt.run = a.value ->> 'run'
    and attempt.node = a.value ->> 'node'
    and attempt.item = a.value ->> 'item'
    and attempt.n = a.value ->> 'n'
