-- Nothing reads the column, and nothing writes it any more. It goes once no process is at work that does.
alter table artifact alter column from_checkpoint set default false;
