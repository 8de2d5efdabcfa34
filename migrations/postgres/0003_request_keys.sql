-- Names that callers choose for requests, so that sending one again is no second request.
create table request_key (
    key      text        collate "C" not null,
    -- What tells the request from another one.
    digest   text        collate "C" not null,
    -- The run that it made or found.
    run      text        collate "C" not null,
    taken_at timestamptz not null,
    constraint request_key_pk primary key (key),
    -- The run is made later in the transaction that takes the key.
    constraint request_key_run foreign key (run) references run (id) deferrable initially deferred
);
