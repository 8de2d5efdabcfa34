-- Whether an attempt still owns its step. The run is locked: the answer stays true until the
-- transaction ends.
select exists (
    select 1
    from step
    where run = $1 and node = $2 and item = $3 and fence = $4 and status = 'running'
)
