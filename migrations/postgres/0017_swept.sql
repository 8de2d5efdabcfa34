-- What the keys of a generation's objects are like, with `*` for anything; nothing is known of those that
-- were allocated before. When objects that no step recorded were last looked for among them.
alter table generation add column keys text;
alter table generation add column swept_at timestamptz;
