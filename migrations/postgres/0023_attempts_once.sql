-- An attempt is written when it has ended. Until then its step says since when it runs and what it goes on from.
alter table step add column claimed_at timestamptz;
alter table step add column resumed_from bigint;
-- Its row no longer grows.
alter table attempt reset (fillfactor);
