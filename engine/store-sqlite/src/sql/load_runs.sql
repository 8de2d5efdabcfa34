-- Headers of runs, in the order of their ids.
select run.*
from json_each($1) as r
cross join run on run.id = r.value
order by run.id
