-- Ready steps: of each kind the first ones by rank, run, and the order of the definition and of its
-- lists. The kinds are found by skipping from one to the next in the index, and the steps of each are
-- read in its order: however many wait, no more rows are read than are answered.
with recursive kinds (kind) as (
    (select kind from ready order by kind limit 1)
    union all
    select (
        select ready.kind from ready where ready.kind > kinds.kind order by ready.kind limit 1
    )
    from kinds
    where kinds.kind is not null
)
select first.run, first.node, first.item, first.position, first.kind, first.rank
from kinds
cross join lateral (
    select ready.*
    from ready
    where ready.kind = kinds.kind
    order by ready.rank, ready.run, ready.position, ready.item
    limit $1
) as first
where kinds.kind is not null
