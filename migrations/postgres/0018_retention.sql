-- The highest generation of a name that belonged to a run that is forgotten: nobody gets it again.
create table generation_mark (
    name text not null,
    n    bigint not null,
    constraint generation_mark_pk primary key (name)
);

-- Generations of forgotten runs that never published them: their objects are to go.
create table abandoned (
    name        text not null,
    n           bigint not null,
    run         text collate "C" not null,
    media_store text not null,
    keys        text not null,
    ended_at    timestamptz not null,
    constraint abandoned_pk primary key (name, n)
);

-- Forgetting a run looks for what refers to it.
create index request_key_of_run on request_key (run);
create index run_tag_of_run on run_tag (run);
create index request_before_of_run on request_before (run);
