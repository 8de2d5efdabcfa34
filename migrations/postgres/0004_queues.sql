-- Where the steps of a run wait, unless its definition says otherwise.
alter table run add column queue text collate "C" not null default 'default'
constraint run_queue check (queue in ('critical', 'default', 'video:large'));
-- Of its steps, unless the definition says otherwise; higher goes first.
alter table run add column priority integer not null default 0;

-- Who can run a step that waits: steps of one kind are the same to a worker.
alter table ready add column kind text collate "C";
-- When it is its turn among those of its kind, in milliseconds; the lowest goes first.
alter table ready add column rank bigint;

update ready
set
    kind = 'default ' || ready.activity || ' 1 0 0 none',
    rank = (extract(epoch from run.created_at) * 1000)::bigint
from run
where run.id = ready.run;

alter table ready alter column kind set not null, alter column rank set not null;

create index ready_order on ready (kind, rank, run, position, item);
