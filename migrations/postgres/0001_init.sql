-- The truth of telecine on Postgres. Every write to what belongs to a run is made by a transaction
-- that holds the lock on its row in `run`, which is why the tables that are written with every
-- transition have no foreign key to it: each would be looked up for each row.
--
-- Ids and names sort by their bytes (collate "C"): those of runs sort by time. JSON is text, because
-- it has to come back as it came, with every digit and every \u0000 in it; nothing is searched in it.

create table definition (
    digest    text        collate "C" not null,
    name      text        collate "C" not null,
    version   integer     not null,
    -- The canonical JSON that the digest is of.
    canonical text        not null,
    saved_at  timestamptz not null default now(),
    constraint definition_pk primary key (digest)
);

create table run (
    id           text        collate "C" not null,
    workflow     text        collate "C" not null,
    version      integer     not null,
    definition   text        collate "C" not null,
    status       text        collate "C" not null,
    round        integer     not null,
    revision     bigint      not null,
    -- Events so far: the number of the last one.
    events       bigint      not null default 0,
    -- What the machine counts per node of the definition, a JSON array in its order.
    nodes        text        not null,
    input        text        not null,
    fingerprint  text        collate "C" not null,
    source_store text        not null,
    media_store  text        not null,
    labels       text        not null,
    output       text,
    error        text,
    created_at   timestamptz not null,
    started_at   timestamptz,
    ended_at     timestamptz,
    constraint run_pk primary key (id),
    constraint run_definition foreign key (definition) references definition (digest),
    constraint run_status check (
        status in ('queued', 'running', 'held', 'succeeded', 'failed', 'cancelled')
    ),
    constraint run_round check (round >= 1),
    constraint run_events check (events >= 0),
    -- A run has an end exactly while it is stopped.
    constraint run_end check ((ended_at is null) = (status in ('queued', 'running'))),
    constraint run_output check ((output is not null) = (status = 'succeeded'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

-- The run that an equal request finds: the latest one of a fingerprint.
create table request (
    fingerprint text collate "C" not null,
    run         text collate "C" not null,
    constraint request_pk primary key (fingerprint)
);

create table step (
    run                 text        collate "C" not null,
    node                text        collate "C" not null,
    -- Place in the list of for_each, from 0; -1 for the only step of a node without for_each.
    item                integer     not null,
    -- Place of the node in the definition, from 0: steps are claimed in this order.
    position            integer     not null,
    activity            text        collate "C" not null,
    status              text        collate "C" not null,
    input               text,
    output              text,
    error               text,
    reason              text,
    fence               bigint      not null,
    attempts            integer     not null,
    charged             integer     not null,
    losses              integer     not null,
    -- Checkpoints ever made; numbers them, also after they were dropped.
    checkpoints         bigint      not null default 0,
    checkpoint_failures integer     not null,
    session             text        collate "C",
    due_at              timestamptz,
    deadline_at         timestamptz,
    progress            text,
    warnings            text        not null,
    round               integer     not null,
    started_at          timestamptz,
    ended_at            timestamptz,
    constraint step_pk primary key (run, node, item),
    constraint step_item check (item >= -1),
    constraint step_status check (
        status in (
            'pending', 'ready', 'running', 'backoff', 'held', 'succeeded', 'failed', 'skipped',
            'blocked', 'cancelled'
        )
    ),
    constraint step_running check ((session is not null) = (status = 'running')),
    constraint step_fenced check (status <> 'running' or (fence > 0 and attempts > 0)),
    constraint step_input check (status not in ('ready', 'running') or input is not null),
    constraint step_output check (status <> 'succeeded' or output is not null),
    constraint step_due check ((due_at is not null) = (status = 'backoff')),
    constraint step_deadline check (deadline_at is null or status = 'running')
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);

-- No index names what changes with every transition, so that most updates stay in their page.
create index step_backoff on step (due_at) where due_at is not null;
create index step_deadlines on step (deadline_at) where deadline_at is not null;

-- The steps that can be claimed, and nothing else: a narrow table that is mostly empty. A step is in
-- it exactly while its status is `ready`.
create table ready (
    run      text    collate "C" not null,
    position integer not null,
    item     integer not null,
    node     text    collate "C" not null,
    activity text    collate "C" not null,
    constraint ready_pk primary key (run, position, item)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

create table attempt (
    run           text        collate "C" not null,
    node          text        collate "C" not null,
    item          integer     not null,
    -- Goes on where the attempts of an earlier step of that name ended.
    n             integer     not null,
    round         integer     not null,
    outcome       text        collate "C",
    -- The session that ran it. Sessions go, history stays.
    worker        text        collate "C" not null,
    started_at    timestamptz not null,
    ended_at      timestamptz,
    cpu_s         double precision,
    max_rss_bytes bigint,
    resumed_from  bigint,
    error         text,
    constraint attempt_pk primary key (run, node, item, n),
    constraint attempt_n check (n >= 1),
    constraint attempt_outcome check (
        outcome in ('succeeded', 'failed', 'lost', 'released', 'cancelled')
    ),
    constraint attempt_end check ((outcome is null) = (ended_at is null)),
    constraint attempt_usage check ((cpu_s is null) = (max_rss_bytes is null))
) with (fillfactor = 80);

-- The latest checkpoint of a step.
create table checkpoint (
    run         text        collate "C" not null,
    node        text        collate "C" not null,
    item        integer     not null,
    seq         bigint      not null,
    -- The attempt that saved it.
    attempt     integer     not null,
    value       text        not null,
    covers_from double precision,
    covers_to   double precision,
    compat      text        not null,
    saved_at    timestamptz not null,
    constraint checkpoint_pk primary key (run, node, item),
    constraint checkpoint_covers check ((covers_from is null) = (covers_to is null))
) with (fillfactor = 70);

-- Objects that a step stands on: those of its output, and those of its checkpoints.
create table artifact (
    -- Grows: the order in which objects were recorded.
    id              bigint generated always as identity,
    run             text    collate "C" not null,
    node            text    collate "C" not null,
    item            integer not null,
    key             text    not null,
    size            bigint  not null,
    sha256          text    not null,
    media_type      text    not null,
    -- True while only a checkpoint names it.
    from_checkpoint boolean not null,
    constraint artifact_pk primary key (run, node, item, key),
    constraint artifact_size check (size >= 0)
);

-- One row per transition, appended in the transaction that made it.
create table event (
    run  text        collate "C" not null,
    -- From 1 in each run, without gaps.
    seq  bigint      not null,
    at   timestamptz not null,
    kind text        collate "C" not null,
    -- As it is written: `package` or `encode[3]`.
    step text,
    data text        not null,
    constraint event_pk primary key (run, seq),
    constraint event_seq check (seq >= 1)
);

-- Retry plans. The latest of a run is the one with the highest number.
create table plan (
    number bigint generated always as identity,
    id     text collate "C" not null,
    run    text collate "C" not null,
    state  text collate "C" not null,
    body   text not null,
    constraint plan_pk primary key (id),
    constraint plan_run foreign key (run) references run (id),
    constraint plan_state check (state in ('proposed', 'executed', 'superseded'))
);

create index plan_latest on plan (run, number);

-- A start of a worker process, which lives as long as its lease is renewed.
create table session (
    id         text        collate "C" not null,
    -- For people: host and process id.
    name       text        not null,
    opened_at  timestamptz not null,
    -- When the lease ends unless it is renewed.
    expires_at timestamptz not null,
    constraint session_pk primary key (id)
) with (fillfactor = 50);

-- A number for each complete set of objects that a run makes under a name.
create table generation (
    name text    not null,
    n    bigint  not null,
    run  text    collate "C" not null,
    constraint generation_pk primary key (name, n),
    constraint generation_run foreign key (run) references run (id),
    -- However often a step of the run asks, the run has one.
    constraint generation_one_per_run unique (run, name),
    constraint generation_n check (n >= 1)
);

-- Which generation readers of a name see: the commit record of what was published.
create table publication (
    name       text        not null,
    generation bigint      not null,
    -- What was current before; an attempt that publishes again gets the same answer.
    previous   bigint,
    moved_at   timestamptz not null,
    constraint publication_pk primary key (name),
    constraint publication_generation
        foreign key (name, generation) references generation (name, n)
);
