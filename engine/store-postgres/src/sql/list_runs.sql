-- Headers of runs, newest first.
select * from run
where
    id < coalesce($1, '~')
    and ($2::text is null or status = $2)
    and ($3::text is null or workflow = $3)
order by id desc
limit $4
