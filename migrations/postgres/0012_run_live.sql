-- Runs that have not ended, for what a session runs: without it, ending a worker reads every run there ever
-- was (200,000 finished ones: 19,754 pages and 0.3 s). Its predicate names a column that changes once in a
-- round: an index over `status` would end the in-place updates at each beginning as well. A workflow of three
-- steps writes 12,300 bytes of log instead of 11,900; over `status` 100 more, with a table of its own 100 less and
-- two statements more.
create index run_live on run (id) where ended_at is null;
