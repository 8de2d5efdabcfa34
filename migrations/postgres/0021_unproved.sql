-- Plans whose objects nobody has looked at: whoever stopped their runs could not, or ended before.
alter table plan add column unproved boolean not null default false;
create index plan_unproved on plan (number) where unproved and state = 'proposed';
