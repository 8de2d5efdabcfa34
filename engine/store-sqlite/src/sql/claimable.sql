-- Whether anything can be claimed. An idle worker asks this and takes no write lock.
select exists (
    select 1
    from step
    where
        status = 'ready'
        and run between coalesce($1, '') and coalesce($1, '~')
        and activity in (select value from json_each($2))
)
