-- The nodes of a run are a list in its row, in the order of its definition, and the run counts its
-- events: what a transition writes of a run is one row, where it was one for the run and one for each node
-- that changed, and no event has to look for the number of the one before it.
--
-- Steps referred to the table of nodes; they and the tables that refer to them are made anew.
alter table run add column nodes text not null default '[]';
alter table run add column events integer not null default 0;

update run
set
    nodes = (
        select
            json_group_array(
                json_object(
                    'name', name, 'status', status, 'total', total, 'settled', settled,
                    'failed', failed, 'held', held, 'reason', reason
                )
                order by position
            )
        from node
        where node.run = run.id
    ),
    events = (select coalesce(max(seq), 0) from event where event.run = run.id);

create table step_0011 (
    run                 text    not null,
    node                text    not null,
    -- Place in the list of for_each, from 0; -1 for the only step of a node without for_each.
    item                integer not null,
    -- The node's, repeated here because steps are claimed in this order.
    position            integer not null,
    activity            text    not null,
    status              text    not null,
    output              text,
    error               text,
    reason              text,
    fence               integer not null,
    attempts            integer not null,
    charged             integer not null,
    losses              integer not null,
    -- Checkpoints ever made; numbers them, also after they were dropped.
    checkpoints         integer not null default 0,
    checkpoint_failures integer not null,
    session             text,
    due_at              integer,
    deadline_at         integer,
    warnings            text    not null,
    round               integer not null,
    started_at          integer,
    ended_at            integer,
    -- What a ready step waits with; null in every other state. Who can run it: steps of one kind are
    -- the same to a worker.
    kind                text,
    -- When it is its turn among those of its kind, in milliseconds; the lowest goes first.
    rank                integer,
    constraint step_pk primary key (run, node, item),
    constraint step_run foreign key (run) references run (id),
    -- A session cannot go while it runs something.
    constraint step_session foreign key (session) references session (id),
    constraint step_item check (item >= -1),
    constraint step_status check (
        status in (
            'pending', 'ready', 'running', 'backoff', 'held', 'succeeded', 'failed', 'skipped',
            'blocked', 'cancelled'
        )
    ),
    constraint step_running check ((session is not null) = (status = 'running')),
    constraint step_fenced check (status <> 'running' or (fence > 0 and attempts > 0)),
    constraint step_output check (status <> 'succeeded' or output is not null),
    constraint step_due check ((due_at is not null) = (status = 'backoff')),
    constraint step_deadline check (deadline_at is null or status = 'running')
) strict;

insert into step_0011 select * from step;

create table step_input_0011 (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    value text    not null,
    constraint step_input_pk primary key (run, node, item),
    constraint step_input_step
        foreign key (run, node, item) references step_0011 (run, node, item) on delete cascade
) strict, without rowid;

insert into step_input_0011 select * from step_input;

create table step_progress_0011 (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    value text    not null,
    constraint step_progress_pk primary key (run, node, item),
    constraint step_progress_step
        foreign key (run, node, item) references step_0011 (run, node, item) on delete cascade
) strict, without rowid;

insert into step_progress_0011 select * from step_progress;

create table checkpoint_0011 (
    run         text    not null,
    node        text    not null,
    item        integer not null,
    seq         integer not null,
    -- The attempt that saved it.
    attempt     integer not null,
    value       text    not null,
    covers_from real,
    covers_to   real,
    compat      text    not null,
    saved_at    integer not null,
    constraint checkpoint_pk primary key (run, node, item),
    constraint checkpoint_step
        foreign key (run, node, item) references step_0011 (run, node, item) on delete cascade,
    constraint checkpoint_covers check ((covers_from is null) = (covers_to is null))
) strict;

insert into checkpoint_0011 select * from checkpoint;

create table checkpoint_growth_0011 (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    -- Number of the checkpoint.
    seq   integer not null,
    value text    not null,
    constraint checkpoint_growth_pk primary key (run, node, item, seq),
    constraint checkpoint_growth_step
        foreign key (run, node, item) references step_0011 (run, node, item) on delete cascade
) strict, without rowid;

insert into checkpoint_growth_0011 select * from checkpoint_growth;

create table checkpoint_objects_0011 (
    run     text    not null,
    node    text    not null,
    item    integer not null,
    -- Number of the checkpoint; 0 for all that were there before this table.
    seq     integer not null,
    objects text    not null,
    constraint checkpoint_objects_pk primary key (run, node, item, seq),
    constraint checkpoint_objects_step
        foreign key (run, node, item) references step_0011 (run, node, item) on delete cascade
) strict, without rowid;

insert into checkpoint_objects_0011 select * from checkpoint_objects;

create table artifact_0011 (
    -- Grows: the order in which objects were recorded.
    id              integer not null,
    run             text    not null,
    node            text    not null,
    item            integer not null,
    key             text    not null,
    size            integer not null,
    sha256          text    not null,
    media_type      text    not null,
    constraint artifact_pk primary key (id),
    constraint artifact_step
        foreign key (run, node, item) references step_0011 (run, node, item) on delete cascade,
    constraint artifact_key unique (run, node, item, key),
    constraint artifact_size check (size >= 0)
) strict;

insert into artifact_0011 select * from artifact;

create table attempt_0011 (
    run           text    not null,
    node          text    not null,
    item          integer not null,
    -- Goes on where the attempts of an earlier step of that name ended.
    n             integer not null,
    round         integer not null,
    outcome       text,
    -- The session that ran it. No foreign key: sessions go, history stays.
    worker        text    not null,
    started_at    integer not null,
    ended_at      integer,
    cpu_s         real,
    max_rss_bytes integer,
    resumed_from  integer,
    error         text,
    constraint attempt_pk primary key (run, node, item, n),
    constraint attempt_run foreign key (run) references run (id),
    constraint attempt_n check (n >= 1),
    constraint attempt_outcome check (
        outcome in ('succeeded', 'failed', 'lost', 'released', 'cancelled')
    ),
    constraint attempt_end check ((outcome is null) = (ended_at is null)),
    constraint attempt_usage check ((cpu_s is null) = (max_rss_bytes is null))
) strict, without rowid;

insert into attempt_0011 select * from attempt;

drop table attempt;
drop table artifact;
drop table checkpoint_objects;
drop table checkpoint_growth;
drop table checkpoint;
drop table step_progress;
drop table step_input;
drop table step;
drop table node;

alter table step_0011 rename to step;
alter table step_input_0011 rename to step_input;
alter table step_progress_0011 rename to step_progress;
alter table checkpoint_0011 rename to checkpoint;
alter table checkpoint_growth_0011 rename to checkpoint_growth;
alter table checkpoint_objects_0011 rename to checkpoint_objects;
alter table artifact_0011 rename to artifact;
alter table attempt_0011 rename to attempt;

create index step_ready on step (run, position, item, activity) where status = 'ready';
create index step_waiting on step (kind, rank, run, position, item) where status = 'ready';
create index step_backoff on step (due_at) where status = 'backoff';
create index step_deadlines on step (deadline_at) where deadline_at is not null;
create index step_sessions on step (session) where session is not null;
