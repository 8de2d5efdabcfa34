-- What the migrations add up to. Made by a test: TELECINE_UPDATE_SCHEMA=1 cargo test -p telecine-store-postgres schema

create table abandoned (
    name text not null,
    n bigint not null,
    run text collate "C" not null,
    media_store text not null,
    keys text not null,
    ended_at timestamp with time zone not null,
    constraint abandoned_pk PRIMARY KEY (name, n)
);

create table artifact (
    id bigint not null generated always as identity,
    run text collate "C" not null,
    node text collate "C" not null,
    item integer not null,
    key text not null,
    size bigint not null,
    sha256 text not null,
    media_type text not null,
    from_checkpoint boolean not null default false,
    etag text,
    constraint artifact_pk PRIMARY KEY (run, node, item, key),
    constraint artifact_size CHECK ((size >= 0))
);

create table attempt (
    run text collate "C" not null,
    node text collate "C" not null,
    item integer not null,
    n integer not null,
    round integer not null,
    outcome text collate "C",
    worker text collate "C" not null,
    started_at timestamp with time zone not null,
    ended_at timestamp with time zone,
    cpu_s double precision,
    max_rss_bytes bigint,
    resumed_from bigint,
    error text,
    processors integer,
    constraint attempt_end CHECK (((outcome IS NULL) = (ended_at IS NULL))),
    constraint attempt_n CHECK ((n >= 1)),
    constraint attempt_outcome CHECK ((outcome = ANY (ARRAY['succeeded'::text, 'failed'::text, 'lost'::text, 'released'::text, 'cancelled'::text]))),
    constraint attempt_pk PRIMARY KEY (run, node, item, n),
    constraint attempt_processors CHECK ((processors >= 1)) NOT VALID,
    constraint attempt_usage CHECK (((cpu_s IS NULL) = (max_rss_bytes IS NULL)))
);

create table checkpoint (
    run text collate "C" not null,
    node text collate "C" not null,
    item integer not null,
    seq bigint not null,
    attempt integer not null,
    value text not null,
    covers_from double precision,
    covers_to double precision,
    compat text not null,
    saved_at timestamp with time zone not null,
    constraint checkpoint_covers CHECK (((covers_from IS NULL) = (covers_to IS NULL))),
    constraint checkpoint_pk PRIMARY KEY (run, node, item)
) with (fillfactor=70);

create table checkpoint_growth (
    run text collate "C" not null,
    node text collate "C" not null,
    item integer not null,
    seq bigint not null,
    value text not null,
    constraint checkpoint_growth_pk PRIMARY KEY (run, node, item, seq)
);

create table definition (
    digest text collate "C" not null,
    name text collate "C" not null,
    version integer not null,
    canonical text not null,
    saved_at timestamp with time zone not null default now(),
    constraint definition_pk PRIMARY KEY (digest)
);

create table event (
    run text collate "C" not null,
    seq bigint not null,
    at timestamp with time zone not null,
    kind text collate "C" not null,
    step text,
    data text not null,
    earlier text,
    constraint event_pk PRIMARY KEY (run, seq),
    constraint event_seq CHECK ((seq >= 1))
);

create table feed (
    after_xact bigint not null default GREATEST(((pg_snapshot_xmax(pg_current_snapshot()))::text)::bigint, (((pg_current_xact_id())::text)::bigint + 1)),
    n bigint not null generated always as identity,
    runs text[] collate "C" not null,
    first bigint[] not null,
    last bigint[] not null,
    constraint feed_pk PRIMARY KEY (after_xact, n)
);

create table generation (
    name text not null,
    n bigint not null,
    run text collate "C" not null,
    node text,
    item integer,
    keys text,
    swept_at timestamp with time zone,
    constraint generation_n CHECK ((n >= 1)),
    constraint generation_one_per_run UNIQUE (run, name),
    constraint generation_pk PRIMARY KEY (name, n),
    constraint generation_run FOREIGN KEY (run) REFERENCES run(id)
);

create table generation_mark (
    name text not null,
    n bigint not null,
    constraint generation_mark_pk PRIMARY KEY (name)
);

create table made (
    run text collate "C" not null,
    node text collate "C" not null,
    item integer not null,
    value text not null,
    constraint made_pk PRIMARY KEY (run, node, item)
);

create table plan (
    number bigint not null generated always as identity,
    id text collate "C" not null,
    run text collate "C" not null,
    state text collate "C" not null,
    body text not null,
    head text,
    steps integer,
    unproved boolean not null default false,
    constraint plan_pk PRIMARY KEY (id),
    constraint plan_run FOREIGN KEY (run) REFERENCES run(id),
    constraint plan_state CHECK ((state = ANY (ARRAY['proposed'::text, 'executed'::text, 'superseded'::text])))
);

CREATE INDEX plan_latest ON plan USING btree (run, number);

CREATE INDEX plan_unproved ON plan USING btree (number) WHERE (unproved AND (state = 'proposed'::text));

create table publication (
    name text not null,
    generation bigint not null,
    previous bigint,
    moved_at timestamp with time zone not null,
    constraint publication_generation FOREIGN KEY (name, generation) REFERENCES generation(name, n),
    constraint publication_pk PRIMARY KEY (name)
);

create table ready (
    run text collate "C" not null,
    position integer not null,
    item integer not null,
    node text collate "C" not null,
    activity text collate "C" not null,
    kind text collate "C" not null,
    rank bigint not null,
    constraint ready_pk PRIMARY KEY (run, "position", item)
) with (autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=1000);

CREATE INDEX ready_order ON ready USING btree (kind, rank, run, "position", item);

CREATE OR REPLACE FUNCTION ready_ticket()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    select
        run.queue || ' ' || new.activity || ' 1 0 0 none',
        floor(extract(epoch from run.created_at) * 1000)::bigint - run.priority * 60000
    into new.kind, new.rank
    from run
    where run.id = new.run;
    return new;
end
$function$;

CREATE TRIGGER ready_ticket BEFORE INSERT ON ready FOR EACH ROW WHEN ((new.kind IS NULL)) EXECUTE FUNCTION ready_ticket();

create table request (
    fingerprint text collate "C" not null,
    run text collate "C" not null,
    constraint request_pk PRIMARY KEY (fingerprint)
);

create table request_before (
    fingerprint text collate "C" not null,
    run text collate "C" not null,
    constraint request_before_pk PRIMARY KEY (fingerprint, run)
);

CREATE INDEX request_before_of_run ON request_before USING btree (run);

create table request_key (
    key text collate "C" not null,
    digest text collate "C" not null,
    run text collate "C" not null,
    taken_at timestamp with time zone not null,
    constraint request_key_pk PRIMARY KEY (key),
    constraint request_key_run FOREIGN KEY (run) REFERENCES run(id) DEFERRABLE INITIALLY DEFERRED
);

CREATE INDEX request_key_of_run ON request_key USING btree (run);

create table run (
    id text collate "C" not null,
    workflow text collate "C" not null,
    version integer not null,
    definition text collate "C" not null,
    status text collate "C" not null,
    round integer not null,
    revision bigint not null,
    events bigint not null default 0,
    nodes text not null,
    input text not null,
    fingerprint text collate "C" not null,
    source_store text not null,
    media_store text not null,
    labels text not null,
    output text,
    error text,
    created_at timestamp with time zone not null,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    queue text collate "C" not null default 'default'::text,
    priority integer not null default 0,
    amendments text,
    constraint run_definition FOREIGN KEY (definition) REFERENCES definition(digest),
    constraint run_end CHECK (((ended_at IS NULL) = (status = ANY (ARRAY['queued'::text, 'running'::text])))),
    constraint run_events CHECK ((events >= 0)),
    constraint run_output CHECK (((output IS NOT NULL) = (status = 'succeeded'::text))),
    constraint run_pk PRIMARY KEY (id),
    constraint run_queue CHECK ((queue = ANY (ARRAY['critical'::text, 'default'::text, 'video:large'::text]))),
    constraint run_round CHECK ((round >= 1)),
    constraint run_status CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'held'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text])))
) with (fillfactor=70, autovacuum_vacuum_scale_factor=0.02);

CREATE INDEX run_live ON run USING btree (id) WHERE (ended_at IS NULL);

CREATE OR REPLACE FUNCTION run_tags()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    if tg_op = 'INSERT' then
        insert into run_tag (tag, run)
        select label.key || '=' || label.value, new.id
        from json_each_text(
            case when position('\u0000' in new.labels) = 0 then new.labels::json end
        ) as label
        on conflict do nothing;
    else
        delete from run_tag where tag = old.status and run = new.id;
    end if;
    insert into run_tag (tag, run)
    select new.status, new.id
    where new.status in ('held', 'failed', 'cancelled')
    union all
    select '=' || (said.hash #>> '{}'), new.id
    from (values (new.input), (new.output)) as document (body)
    cross join lateral (
        select
            case
                when position('"hash"' in document.body) > 0 and position('\u0000' in document.body) = 0
                    then document.body::json -> 'hash'
            end as hash
    ) as said
    where json_typeof(said.hash) = 'string'
    on conflict do nothing;
    return null;
end
$function$;

CREATE TRIGGER run_tags_of_changed AFTER UPDATE OF status, output ON run FOR EACH ROW WHEN ((((old.output IS NULL) AND (POSITION(('"hash"'::text) IN (new.output)) > 0)) OR ((old.status <> new.status) AND ((old.status = ANY (ARRAY['held'::text, 'failed'::text, 'cancelled'::text])) OR (new.status = ANY (ARRAY['held'::text, 'failed'::text, 'cancelled'::text])))))) EXECUTE FUNCTION run_tags();

CREATE OR REPLACE FUNCTION run_tags()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    if tg_op = 'INSERT' then
        insert into run_tag (tag, run)
        select label.key || '=' || label.value, new.id
        from json_each_text(
            case when position('\u0000' in new.labels) = 0 then new.labels::json end
        ) as label
        on conflict do nothing;
    else
        delete from run_tag where tag = old.status and run = new.id;
    end if;
    insert into run_tag (tag, run)
    select new.status, new.id
    where new.status in ('held', 'failed', 'cancelled')
    union all
    select '=' || (said.hash #>> '{}'), new.id
    from (values (new.input), (new.output)) as document (body)
    cross join lateral (
        select
            case
                when position('"hash"' in document.body) > 0 and position('\u0000' in document.body) = 0
                    then document.body::json -> 'hash'
            end as hash
    ) as said
    where json_typeof(said.hash) = 'string'
    on conflict do nothing;
    return null;
end
$function$;

CREATE TRIGGER run_tags_of_new AFTER INSERT ON run FOR EACH ROW WHEN (((new.labels <> '{}'::text) OR (POSITION(('"hash"'::text) IN (new.input)) > 0) OR (POSITION(('"hash"'::text) IN (new.output)) > 0) OR (new.status = ANY (ARRAY['held'::text, 'failed'::text, 'cancelled'::text])))) EXECUTE FUNCTION run_tags();

CREATE INDEX run_workflow ON run USING btree (workflow, id);

create table run_tag (
    tag text collate "C" not null,
    run text collate "C" not null,
    constraint run_tag_pk PRIMARY KEY (tag, run)
);

CREATE INDEX run_tag_of_run ON run_tag USING btree (run);

create table session (
    id text collate "C" not null,
    name text not null,
    opened_at timestamp with time zone not null,
    expires_at timestamp with time zone not null,
    offer text,
    backend integer,
    backend_began timestamp with time zone,
    renewed_at timestamp with time zone,
    constraint session_pk PRIMARY KEY (id)
) with (fillfactor=50);

create table shared (
    number bigint not null generated always as identity,
    key text collate "C" not null,
    media text collate "C" not null,
    run text collate "C" not null,
    node text collate "C" not null,
    item integer not null,
    seal text not null,
    constraint shared_number UNIQUE (number),
    constraint shared_pk PRIMARY KEY (key, media)
);

create table step (
    run text collate "C" not null,
    node text collate "C" not null,
    item integer not null,
    position integer not null,
    activity text collate "C" not null,
    status text collate "C" not null,
    input text,
    output text,
    error text,
    reason text,
    fence bigint not null,
    attempts integer not null,
    charged integer not null,
    losses integer not null,
    checkpoints bigint not null default 0,
    checkpoint_failures integer not null,
    session text collate "C",
    due_at timestamp with time zone,
    deadline_at timestamp with time zone,
    progress text,
    warnings text not null,
    round integer not null,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    outages integer not null default 0,
    claimed_at timestamp with time zone,
    resumed_from bigint,
    constraint step_deadline CHECK (((deadline_at IS NULL) OR (status = 'running'::text))),
    constraint step_due CHECK (((due_at IS NOT NULL) = (status = 'backoff'::text))),
    constraint step_fenced CHECK (((status <> 'running'::text) OR ((fence > 0) AND (attempts > 0)))),
    constraint step_input CHECK (((status <> ALL (ARRAY['ready'::text, 'running'::text])) OR (input IS NOT NULL))),
    constraint step_item CHECK ((item >= '-1'::integer)),
    constraint step_output CHECK (((status <> 'succeeded'::text) OR (output IS NOT NULL))),
    constraint step_pk PRIMARY KEY (run, node, item),
    constraint step_running CHECK (((session IS NOT NULL) = (status = 'running'::text))),
    constraint step_status CHECK ((status = ANY (ARRAY['pending'::text, 'ready'::text, 'running'::text, 'backoff'::text, 'held'::text, 'succeeded'::text, 'failed'::text, 'skipped'::text, 'blocked'::text, 'cancelled'::text])))
) with (fillfactor=70, autovacuum_vacuum_scale_factor=0.02);

CREATE INDEX step_backoff ON step USING btree (due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX step_deadlines ON step USING btree (deadline_at) WHERE (deadline_at IS NOT NULL);
