-- Ids of runs, newest first.
select id from run where id < $1 and id > $2 order by id desc limit $3
