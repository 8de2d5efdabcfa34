-- What a session can run, as JSON; null until it says so.
alter table session add column offer text;
