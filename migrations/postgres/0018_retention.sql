-- The highest generation of a name that belonged to a run that is forgotten: nobody gets it again.
create table generation_mark (
    name text not null,
    n    bigint not null,
    constraint generation_mark_pk primary key (name)
);

-- Forgetting a run looks for what refers to it.
create index request_key_of_run on request_key (run);
