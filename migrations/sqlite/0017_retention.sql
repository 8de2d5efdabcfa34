-- The highest generation of a name that belonged to a run that is forgotten: nobody gets it again.
create table generation_mark (
    name text not null,
    n    integer not null,
    constraint generation_mark_pk primary key (name)
) strict, without rowid;

-- Forgetting a run looks for what refers to it.
create index request_key_of_run on request_key (run);
