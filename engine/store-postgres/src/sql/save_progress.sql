-- Saves the progress of attempts that still own their step, and answers which those are. It waits
-- for nobody: a step that is being written this moment is passed over until the next time. One that
-- stands still is neither locked nor written.
with owned as (
    select s.run, s.node, s.item, s.fence, k.progress
    from unnest($1::text[], $2::text[], $3::integer[], $4::bigint[], $5::text[])
        as k (run, node, item, fence, progress)
    inner join step as s
        on
            s.run = k.run and s.node = k.node and s.item = k.item and s.fence = k.fence
            and s.status = 'running'
),
free as (
    select s.run, s.node, s.item, owned.progress
    from owned
    inner join step as s on s.run = owned.run and s.node = owned.node and s.item = owned.item
    where
        s.fence = owned.fence and s.status = 'running'
        and s.progress is distinct from owned.progress
    for update of s skip locked
),
saved as (
    update step
    set progress = free.progress
    from free
    where
        step.run = free.run and step.node = free.node and step.item = free.item
)
select run, node, item from owned
