-- What a checkpoint says that the one before it did not. The value of the latest is that of the row in
-- checkpoint, and then these in order: a checkpoint that repeats a long list costs what is new in it.
create table checkpoint_growth (
    run   text    collate "C" not null,
    node  text    collate "C" not null,
    item  integer not null,
    -- Number of the checkpoint.
    seq   bigint  not null,
    value text    not null,
    constraint checkpoint_growth_pk primary key (run, node, item, seq)
);
