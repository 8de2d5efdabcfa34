-- The highest generation of a name that belonged to a run that is forgotten: nobody gets it again.
create table generation_mark (
    name text not null,
    n    integer not null,
    constraint generation_mark_pk primary key (name)
) strict, without rowid;

-- Generations of forgotten runs that never published them: their objects are to go.
create table abandoned (
    name        text not null,
    n           integer not null,
    run         text not null,
    media_store text not null,
    keys        text not null,
    ended_at    integer not null,
    constraint abandoned_pk primary key (name, n)
) strict, without rowid;

-- Forgetting a run looks for what refers to it.
create index request_key_of_run on request_key (run);
create index run_tag_of_run on run_tag (run);
