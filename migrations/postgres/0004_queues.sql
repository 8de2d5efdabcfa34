-- Where the steps of a run wait, unless its definition says otherwise.
alter table run add column queue text collate "C" not null default 'default'
constraint run_queue check (queue in ('critical', 'default', 'video:large'));
-- Of its steps, unless the definition says otherwise; higher goes first.
alter table run add column priority integer not null default 0;

-- Who can run a step that waits: steps of one kind are the same to a worker.
alter table ready add column kind text collate "C";
-- When it is its turn among those of its kind, in milliseconds; the lowest goes first.
alter table ready add column rank bigint;

-- Of steps that a process of an older release makes ready while it is still at work.
create function ready_ticket() returns trigger language plpgsql as $$
begin
    select
        run.queue || ' ' || new.activity || ' 1 0 0 none',
        floor(extract(epoch from run.created_at) * 1000)::bigint - run.priority * 60000
    into new.kind, new.rank
    from run
    where run.id = new.run;
    return new;
end
$$;

create trigger ready_ticket before insert on ready
for each row when (new.kind is null) execute function ready_ticket();

update ready
set
    kind = 'default ' || ready.activity || ' 1 0 0 none',
    rank = floor(extract(epoch from run.created_at) * 1000)::bigint
from run
where run.id = ready.run;

alter table ready alter column kind set not null, alter column rank set not null;

create index ready_order on ready (kind, rank, run, position, item);
