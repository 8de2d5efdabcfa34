-- What the reuse key of a step is made of, beside its activity and its input; JSON. Only of steps that
-- have succeeded with an activity that names its tools.
create table made (
    run   text    collate "C" not null,
    node  text    collate "C" not null,
    item  integer not null,
    value text    not null,
    constraint made_pk primary key (run, node, item)
);

-- Steps whose output other runs may take, by reuse key; the oldest go first. Whoever finds a step looks
-- whether it is as it was.
create table shared (
    -- Grows: a key that is shared again is the newest.
    number bigint generated always as identity,
    key    text    collate "C" not null,
    -- Address of the store of results.
    media  text    collate "C" not null,
    run    text    collate "C" not null,
    node   text    collate "C" not null,
    item   integer not null,
    -- Digest of what the step's objects were like.
    seal   text    not null,
    constraint shared_pk primary key (key, media),
    constraint shared_number unique (number)
);
