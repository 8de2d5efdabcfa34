-- Ids of the runs of a workflow, newest first.
select id from run where workflow = $4 and id < $1 and id > $2 order by id desc limit $3
