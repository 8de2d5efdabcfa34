-- Headers of runs, newest first. Labels, inputs and outputs are JSON as text in which strings are
-- escaped, so that a member is found by how it is written.
select * from run
where
    id < coalesce($1, '~')
    and ($2::text is null or status = $2)
    and ($3::text is null or workflow = $3)
    and ($4::text is null or position($4 in labels) > 0)
    and ($5::text is null or position($5 in input) > 0 or position($5 in output) > 0)
    and ($6::timestamptz is null or created_at > $6)
order by id desc
limit $7
