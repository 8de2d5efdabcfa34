-- Claims ready steps for a live session, oldest run first, then in the order of the definition and
-- of its lists. The write lock is held, so a step is claimed once, whoever asks. Ids of runs sort
-- by time, and between '' and '~' is every one of them: with an equality on a run that may be null
-- the index could not be used.
update step
set
    status = 'running',
    session = $1,
    fence = fence + 1,
    attempts = attempts + 1,
    charged = charged + 1,
    started_at = coalesce(started_at, $2)
where rowid in (
    select rowid
    from step
    where
        status = 'ready'
        and run between coalesce($3, '') and coalesce($3, '~')
        and activity in (select value from json_each($4))
        and exists (select 1 from session where id = $1 and ($6 or expires_at > $2))
    order by run, position, item
    limit $5
)
returning run, node, item
