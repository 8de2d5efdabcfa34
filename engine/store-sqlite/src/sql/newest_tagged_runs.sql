-- Ids of the runs with a tag, newest first.
select run from run_tag where tag = $4 and run < $1 and run > $2 order by run desc limit $3
