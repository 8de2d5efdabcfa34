-- Where the steps of a run wait, unless its definition says otherwise.
alter table run add column queue text not null default 'default'
constraint run_queue check (queue in ('critical', 'default', 'video:large'));
-- Of its steps, unless the definition says otherwise; higher goes first.
alter table run add column priority integer not null default 0;

-- What a ready step waits with; null in every other state. Who can run it: steps of one kind are the
-- same to a worker.
alter table step add column kind text;
-- When it is its turn among those of its kind, in milliseconds; the lowest goes first.
alter table step add column rank integer;

update step
set
    kind = 'default ' || activity || ' 1 0 0 none',
    rank = (select created_at from run where id = step.run)
where status = 'ready';

create index step_waiting on step (kind, rank, run, position, item) where status = 'ready';
