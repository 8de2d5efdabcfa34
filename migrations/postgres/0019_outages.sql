-- Failures of services in a row without a checkpoint in between, which are not charged.
alter table step add column outages integer not null default 0;
