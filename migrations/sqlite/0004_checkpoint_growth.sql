-- What a checkpoint says that the one before it did not. The value of the latest is that of the row in
-- checkpoint, and then these in order: a checkpoint that repeats a long list costs what is new in it.
create table checkpoint_growth (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    -- Number of the checkpoint.
    seq   integer not null,
    value text    not null,
    constraint checkpoint_growth_pk primary key (run, node, item, seq),
    constraint checkpoint_growth_step
        foreign key (run, node, item) references step (run, node, item) on delete cascade
) strict, without rowid;
