-- What the migrations add up to. Made by a test: TELECINE_UPDATE_SCHEMA=1 cargo test -p telecine-store-sqlite schema

CREATE TABLE abandoned (
    name        text not null,
    n           integer not null,
    run         text not null,
    media_store text not null,
    keys        text not null,
    ended_at    integer not null,
    constraint abandoned_pk primary key (name, n)
) strict, without rowid;

CREATE TABLE "artifact" (
    -- Grows: the order in which objects were recorded.
    id              integer not null,
    run             text    not null,
    node            text    not null,
    item            integer not null,
    key             text    not null,
    size            integer not null,
    sha256          text    not null,
    media_type      text    not null, etag text,
    constraint artifact_pk primary key (id),
    constraint artifact_step
        foreign key (run, node, item) references "step" (run, node, item) on delete cascade,
    constraint artifact_key unique (run, node, item, key),
    constraint artifact_size check (size >= 0)
) strict;

CREATE TABLE "attempt" (
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
    error         text, processors integer
    constraint attempt_processors check (processors >= 1),
    constraint attempt_pk primary key (run, node, item, n),
    constraint attempt_run foreign key (run) references run (id),
    constraint attempt_n check (n >= 1),
    constraint attempt_outcome check (
        outcome in ('succeeded', 'failed', 'lost', 'released', 'cancelled')
    ),
    constraint attempt_end check ((outcome is null) = (ended_at is null)),
    constraint attempt_usage check ((cpu_s is null) = (max_rss_bytes is null))
) strict, without rowid;

CREATE TABLE "checkpoint" (
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
        foreign key (run, node, item) references "step" (run, node, item) on delete cascade,
    constraint checkpoint_covers check ((covers_from is null) = (covers_to is null))
) strict;

CREATE TABLE "checkpoint_growth" (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    -- Number of the checkpoint.
    seq   integer not null,
    value text    not null,
    constraint checkpoint_growth_pk primary key (run, node, item, seq),
    constraint checkpoint_growth_step
        foreign key (run, node, item) references "step" (run, node, item) on delete cascade
) strict, without rowid;

CREATE TABLE "checkpoint_objects" (
    run     text    not null,
    node    text    not null,
    item    integer not null,
    -- Number of the checkpoint; 0 for all that were there before this table.
    seq     integer not null,
    objects text    not null,
    constraint checkpoint_objects_pk primary key (run, node, item, seq),
    constraint checkpoint_objects_step
        foreign key (run, node, item) references "step" (run, node, item) on delete cascade
) strict, without rowid;

CREATE TABLE definition (
    digest    text    not null,
    name      text    not null,
    version   integer not null,
    -- The canonical JSON that the digest is of.
    canonical text    not null,
    saved_at  integer not null,
    constraint definition_pk primary key (digest)
) strict;

CREATE TABLE event (
    run  text    not null,
    -- From 1 in each run, without gaps.
    seq  integer not null,
    at   integer not null,
    kind text    not null,
    -- As it is written: `package` or `encode[3]`. No foreign key: the history of a step outlives it.
    step text,
    data text    not null, earlier text,
    constraint event_pk primary key (run, seq),
    constraint event_run foreign key (run) references run (id),
    constraint event_seq check (seq >= 1)
) strict, without rowid;

CREATE TABLE feed (
    n     integer not null,
    run   text    not null,
    -- Numbers of the first and the last event.
    first integer not null,
    last  integer not null,
    constraint feed_pk primary key (n)
) strict;

CREATE TABLE generation (
    name text    not null,
    n    integer not null,
    run  text    not null, node text, item integer, keys text, swept_at integer,
    constraint generation_pk primary key (name, n),
    constraint generation_run foreign key (run) references run (id),
    -- However often a step of the run asks, the run has one.
    constraint generation_one_per_run unique (run, name),
    constraint generation_n check (n >= 1)
) strict, without rowid;

CREATE TABLE generation_mark (
    name text not null,
    n    integer not null,
    constraint generation_mark_pk primary key (name)
) strict, without rowid;

CREATE TABLE made (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    value text    not null,
    constraint made_pk primary key (run, node, item),
    constraint made_step
        foreign key (run, node, item) references step (run, node, item) on delete cascade
) strict, without rowid;

CREATE TABLE plan (
    number integer not null,
    id     text    not null,
    run    text    not null,
    state  text    not null,
    body   text    not null, head text, steps integer, unproved integer not null default 0,
    constraint plan_pk primary key (number),
    constraint plan_id unique (id),
    constraint plan_run foreign key (run) references run (id),
    constraint plan_state check (state in ('proposed', 'executed', 'superseded'))
) strict;

CREATE INDEX plan_latest on plan (run, number);

CREATE INDEX plan_unproved on plan (number) where unproved = 1 and state = 'proposed';

CREATE TABLE publication (
    name       text    not null,
    generation integer not null,
    -- What was current before; an attempt that publishes again gets the same answer.
    previous   integer,
    moved_at   integer not null,
    constraint publication_pk primary key (name),
    constraint publication_generation
        foreign key (name, generation) references generation (name, n)
) strict, without rowid;

CREATE TABLE request_key (
    key      text    not null,
    -- What tells the request from another one.
    digest   text    not null,
    -- The run that it made or found.
    run      text    not null,
    taken_at integer not null,
    constraint request_key_pk primary key (key),
    -- The run is made later in the transaction that takes the key.
    constraint request_key_run foreign key (run) references run (id) deferrable initially deferred
) strict, without rowid;

CREATE INDEX request_key_of_run on request_key (run);

CREATE TABLE run (
    id           text    not null,
    workflow     text    not null,
    version      integer not null,
    definition   text    not null,
    status       text    not null,
    round        integer not null,
    revision     integer not null,
    input        text    not null,
    fingerprint  text    not null,
    source_store text    not null,
    media_store  text    not null,
    labels       text    not null,
    output       text,
    error        text,
    created_at   integer not null,
    started_at   integer,
    ended_at     integer, queue text not null default 'default'
constraint run_queue check (queue in ('critical', 'default', 'video:large')), priority integer not null default 0, nodes text not null default '[]', events integer not null default 0, amendments text,
    constraint run_pk primary key (id),
    constraint run_definition foreign key (definition) references definition (digest),
    constraint run_status check (
        status in ('queued', 'running', 'held', 'succeeded', 'failed', 'cancelled')
    ),
    constraint run_round check (round >= 1),
    -- A run has an end exactly while it is stopped.
    constraint run_end check ((ended_at is null) = (status in ('queued', 'running'))),
    constraint run_output check ((output is not null) = (status = 'succeeded'))
) strict;

CREATE INDEX run_fingerprint on run (fingerprint, id);

CREATE TRIGGER run_tags_of_new after insert on run
when
    new.labels <> '{}'
    or instr(new.input, '"hash"') > 0
    or instr(new.output, '"hash"') > 0
    or new.status in ('held', 'failed', 'cancelled')
begin
    insert or ignore into run_tag (tag, run)
    select key || '=' || value, new.id from json_each(new.labels);
    insert or ignore into run_tag (tag, run)
    select '=' || (new.input ->> '$.hash'), new.id where json_type(new.input, '$.hash') = 'text';
    insert or ignore into run_tag (tag, run)
    select '=' || (new.output ->> '$.hash'), new.id where json_type(new.output, '$.hash') = 'text';
    insert or ignore into run_tag (tag, run)
    select new.status, new.id where new.status in ('held', 'failed', 'cancelled');
end;

CREATE TRIGGER run_tags_of_changed after update of status, output on run
when
    (old.output is null and instr(new.output, '"hash"') > 0)
    or (
        old.status <> new.status
        and (
            old.status in ('held', 'failed', 'cancelled')
            or new.status in ('held', 'failed', 'cancelled')
        )
    )
begin
    delete from run_tag where tag = old.status and run = new.id;
    insert or ignore into run_tag (tag, run)
    select '=' || (new.output ->> '$.hash'), new.id where json_type(new.output, '$.hash') = 'text';
    insert or ignore into run_tag (tag, run)
    select new.status, new.id where new.status in ('held', 'failed', 'cancelled');
end;

CREATE INDEX run_workflow on run (workflow, id);

CREATE TABLE run_tag (
    tag text not null,
    run text not null,
    constraint run_tag_pk primary key (tag, run)
) strict, without rowid;

CREATE INDEX run_tag_of_run on run_tag (run);

CREATE TABLE session (
    id         text    not null,
    -- For people: host and process id.
    name       text    not null,
    opened_at  integer not null,
    -- When the lease ends unless it is renewed.
    expires_at integer not null, offer text,
    constraint session_pk primary key (id)
) strict;

CREATE TABLE shared (
    -- Grows: a key that is shared again is the newest.
    number integer not null,
    key    text    not null,
    -- Address of the store of results.
    media  text    not null,
    run    text    not null,
    node   text    not null,
    item   integer not null,
    -- Digest of what the step's objects were like.
    seal   text    not null,
    constraint shared_pk primary key (number),
    constraint shared_key unique (key, media)
) strict;

CREATE TABLE "step" (
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
    rank                integer, outages integer not null default 0, claimed_at integer, resumed_from integer,
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

CREATE INDEX step_ready on step (run, position, item, activity) where status = 'ready';

CREATE INDEX step_waiting on step (kind, rank, run, position, item) where status = 'ready';

CREATE INDEX step_backoff on step (due_at) where status = 'backoff';

CREATE INDEX step_deadlines on step (deadline_at) where deadline_at is not null;

CREATE INDEX step_sessions on step (session) where session is not null;

CREATE TABLE "step_input" (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    value text    not null,
    constraint step_input_pk primary key (run, node, item),
    constraint step_input_step
        foreign key (run, node, item) references "step" (run, node, item) on delete cascade
) strict, without rowid;

CREATE TABLE "step_progress" (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    value text    not null,
    constraint step_progress_pk primary key (run, node, item),
    constraint step_progress_step
        foreign key (run, node, item) references "step" (run, node, item) on delete cascade
) strict, without rowid;
