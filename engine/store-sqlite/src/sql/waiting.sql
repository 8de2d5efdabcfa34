-- Ready steps: of each kind the first ones by rank, run, and the order of the definition and of its
-- lists. The kinds are found by skipping from one to the next in the index, and the steps of each are
-- read in its order: however many wait, no more rows are read than are answered. A limit that is nothing
-- but a parameter has the statement prepared anew each time, for plans that depend on its value.
with recursive kinds (kind) as (
    select (
        select kind from step where status = 'ready' and kind is not null order by kind limit 1
    )
    union all
    select (
        select step.kind
        from step
        where step.status = 'ready' and step.kind > kinds.kind
        order by step.kind
        limit 1
    )
    from kinds
    where kinds.kind is not null
)
select step.run, step.node, step.item, step.position, step.kind, step.rank
from kinds
cross join step
    on step.rowid in (
        select first.rowid
        from step as first
        where first.status = 'ready' and first.kind = kinds.kind
        order by first.rank, first.run, first.position, first.item
        limit $1 + 0
    )
where kinds.kind is not null
