-- Headers of those of the runs $1 that fit a filter, newest first.
select run.*
from run
where
    run.id in (select value from json_each($1))
    and ($2 is null or run.status = $2)
    and ($3 is null or run.workflow = $3)
    and ($4 is null or run.created_at > $4)
    and (
        select count(*)
        from run_tag
        where run_tag.tag in (select value from json_each($5)) and run_tag.run = run.id
    ) = json_array_length($5)
order by run.id desc
limit $6
