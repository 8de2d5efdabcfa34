-- Headers of runs, newest first. Labels, inputs and outputs are JSON as text in which strings are
-- escaped, so that a member is found by how it is written.
select * from run
where
    id < coalesce($1, '~')
    and ($2 is null or status = $2)
    and ($3 is null or workflow = $3)
    and ($4 is null or instr(labels, $4) > 0)
    and ($5 is null or instr(input, $5) > 0 or instr(output, $5) > 0)
    and ($6 is null or created_at > $6)
order by id desc
limit $7
