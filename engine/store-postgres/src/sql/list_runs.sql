-- Headers of those of the runs $1 that fit a filter, newest first.
select run.*
from run
where
    run.id = any($1::text[])
    and ($2::text is null or run.status = $2)
    and ($3::text is null or run.workflow = $3)
    and ($4::timestamptz is null or run.created_at > $4)
    -- Counted, because what does not exist would be looked for in all of the table.
    and (
        select count(*)
        from run_tag
        where run_tag.tag = any($5::text[]) and run_tag.run = run.id
    ) = cardinality($5::text[])
order by run.id desc
limit $6
