-- Answers how many of the old steps there were, and the time. If what was prepared on other premises was to be
-- written, or one of so many old steps ($1, unless it is negative) is not there, it fails with what the server's log
-- should say, which takes everything back. The parts ask for the premises themselves because those take the locks.
select
    there.n as old_steps,
    case
        when (select hold from premises) and $1::bigint in (-1, there.n) then 1
        else ('telecine: others came in between, it is done again; old steps: ' || there.n)::integer
    end as one,
    clock_timestamp() as at
from (select count(*) as n from old_steps) as there
