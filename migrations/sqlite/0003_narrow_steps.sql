-- The row of a step is written at each of its transitions, and a transaction writes each page that it
-- touched as a whole. What is large and written once, the input, and what changes every second, the
-- progress, leave it: with both inside, the database wrote half of its bytes to repeat inputs.
--
-- The tables that refer to steps are made anew as well: dropping the old steps would empty them.
create table step_0003 (
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
    constraint step_pk primary key (run, node, item),
    constraint step_node foreign key (run, node) references node (run, name),
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

insert into step_0003
select
    run, node, item, position, activity, status, output, error, reason, fence, attempts, charged,
    losses, checkpoints, checkpoint_failures, session, due_at, deadline_at, warnings, round,
    started_at, ended_at
from step;

-- What a step is given; a step that is ready or runs has it.
create table step_input (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    value text    not null,
    constraint step_input_pk primary key (run, node, item),
    constraint step_input_step
        foreign key (run, node, item) references step_0003 (run, node, item) on delete cascade
) strict, without rowid;

insert into step_input select run, node, item, input from step where input is not null;

-- How far the latest attempt of a step is.
create table step_progress (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    value text    not null,
    constraint step_progress_pk primary key (run, node, item),
    constraint step_progress_step
        foreign key (run, node, item) references step_0003 (run, node, item) on delete cascade
) strict, without rowid;

insert into step_progress select run, node, item, progress from step where progress is not null;

-- The latest checkpoint of a step.
create table checkpoint_0003 (
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
        foreign key (run, node, item) references step_0003 (run, node, item) on delete cascade,
    constraint checkpoint_covers check ((covers_from is null) = (covers_to is null))
) strict;

insert into checkpoint_0003 select * from checkpoint;

-- Objects that only checkpoints name, one row for each checkpoint: an array of them in JSON. As rows
-- with an index over their keys, the objects of one checkpoint cost a dozen pages, because the keys
-- of its renditions lie far apart.
create table checkpoint_objects (
    run     text    not null,
    node    text    not null,
    item    integer not null,
    -- Number of the checkpoint; 0 for all that were there before this table.
    seq     integer not null,
    objects text    not null,
    constraint checkpoint_objects_pk primary key (run, node, item, seq),
    constraint checkpoint_objects_step
        foreign key (run, node, item) references step_0003 (run, node, item) on delete cascade
) strict, without rowid;

insert into checkpoint_objects
select
    run, node, item, 0,
    json_group_array(
        json_object('key', key, 'size', size, 'sha256', sha256, 'media_type', media_type)
        order by id
    )
from artifact
where from_checkpoint = 1
group by run, node, item;

-- Objects of the outputs of steps.
create table artifact_0003 (
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
        foreign key (run, node, item) references step_0003 (run, node, item) on delete cascade,
    constraint artifact_key unique (run, node, item, key),
    constraint artifact_size check (size >= 0)
) strict;

insert into artifact_0003
select id, run, node, item, key, size, sha256, media_type from artifact where from_checkpoint = 0;

drop table checkpoint;
drop table artifact;
drop table step;

alter table step_0003 rename to step;
alter table checkpoint_0003 rename to checkpoint;
alter table artifact_0003 rename to artifact;

-- What can be claimed, in the order in which it is claimed. A partial index and not a table of its
-- own: SQLite changes rows in place, so that moving a step in and out costs what a second table
-- would, and an index cannot disagree with the status. The activity is part of it so that a worker
-- passes over what it cannot run without reading the steps.
create index step_ready on step (run, position, item, activity) where status = 'ready';

-- What the timers wait for.
create index step_backoff on step (due_at) where status = 'backoff';
create index step_deadlines on step (deadline_at) where deadline_at is not null;

-- What a session runs.
create index step_sessions on step (session) where session is not null;
