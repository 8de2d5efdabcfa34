-- Which step of the run made the generation the one that readers see: what led to it does not change any
-- more. Nothing is known of what was published before.
alter table generation add column node text;
alter table generation add column item integer;
