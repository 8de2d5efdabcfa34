-- Processors of the machine that an attempt ran on: its class, for estimates.
alter table attempt
    add column processors integer,
    add constraint attempt_processors check (processors >= 1) not valid;
