-- A plan with its first steps only, for whoever shows no more; null if it has no more.
alter table plan add column head text;
-- How many steps it has; null of plans that are older than this column.
alter table plan add column steps integer;
