-- What was committed together is one row, of the last event: a JSON array of the events before it, if any.
alter table event add column earlier text;
