-- Which events each commit wrote, so that those of all runs can be read in one order. A run's events are in
-- it in theirs, and what is committed later is behind everything that anybody has seen.
--
-- `after_xact` is the first transaction that had not begun when the events were written, under the locks of
-- their runs. An entry is shown once all before that one have ended: whoever commits then is behind it.
create table feed (
    after_xact bigint not null default (
        greatest(
            pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
            pg_current_xact_id()::text::bigint + 1
        )
    ),
    n          bigint not null generated always as identity,
    -- Runs with the numbers of their first and last event, side by side.
    runs       text[] collate "C" not null,
    first      bigint[] not null,
    last       bigint[] not null,
    constraint feed_pk primary key (after_xact, n)
);

-- What was there before comes run by run.
insert into feed (after_xact, runs, first, last)
select 0, array[id], array[1], array[events] from run where events > 0 order by id;
