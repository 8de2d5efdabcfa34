-- Plans whose objects nobody has looked at: whoever stopped their runs could not, or ended before.
alter table plan add column unproved integer not null default 0;
create index plan_unproved on plan (number) where unproved = 1 and state = 'proposed';
