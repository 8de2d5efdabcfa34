-- How far runs are.
select run.id, run.revision
from json_each($1) as r
cross join run on run.id = r.value
