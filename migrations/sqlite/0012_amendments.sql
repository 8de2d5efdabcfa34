-- What executed retry plans changed in a run besides its steps: parameters, attempts, objects to be made
-- again; null of runs that nobody retried, and of those of which nothing was changed.
alter table run add column amendments text;
