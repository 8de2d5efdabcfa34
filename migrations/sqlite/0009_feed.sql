-- Which events each commit wrote, so that those of all runs can be read in one order: that of the commits.
create table feed (
    n     integer not null,
    run   text    not null,
    -- Numbers of the first and the last event.
    first integer not null,
    last  integer not null,
    constraint feed_pk primary key (n)
) strict;

-- What was there before comes run by run.
insert into feed (run, first, last)
select run, min(seq), max(seq) from event group by run order by run;
