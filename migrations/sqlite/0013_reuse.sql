-- What the reuse key of a step is made of, beside its activity and its input; JSON. Only of steps that
-- have succeeded with an activity that names its tools.
create table made (
    run   text    not null,
    node  text    not null,
    item  integer not null,
    value text    not null,
    constraint made_pk primary key (run, node, item),
    constraint made_step
        foreign key (run, node, item) references step (run, node, item) on delete cascade
) strict, without rowid;

-- Steps whose output other runs may take, by reuse key; the oldest go first. No foreign key: whoever finds a
-- step looks whether it is as it was.
create table shared (
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
