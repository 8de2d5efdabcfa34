-- Attempts are history and outlive the steps that they were made for: a fan-out whose list is read
-- anew in a later round has new steps, and what its earlier ones cost stays visible.
create table attempt_0002 (
    run           text    not null,
    node          text    not null,
    item          integer not null,
    -- Goes on where the attempts of an earlier step of that name ended.
    n             integer not null,
    round         integer not null,
    outcome       text,
    -- The session that ran it. No foreign key: sessions go, history stays.
    worker        text    not null,
    started_at    integer not null,
    ended_at      integer,
    cpu_s         real,
    max_rss_bytes integer,
    resumed_from  integer,
    error         text,
    constraint attempt_pk primary key (run, node, item, n),
    constraint attempt_node foreign key (run, node) references node (run, name),
    constraint attempt_n check (n >= 1),
    constraint attempt_outcome check (
        outcome in ('succeeded', 'failed', 'lost', 'released', 'cancelled')
    ),
    constraint attempt_end check ((outcome is null) = (ended_at is null)),
    constraint attempt_usage check ((cpu_s is null) = (max_rss_bytes is null))
) strict, without rowid;

insert into attempt_0002 select * from attempt;

drop table attempt;

alter table attempt_0002 rename to attempt;
