-- Runs that had a request before a later one was given it: one that was submitted with --new, or that goes on
-- with another source. Where the later one leaves it, an earlier one is found again.
create table request_before (
    fingerprint text collate "C" not null,
    run         text collate "C" not null,
    constraint request_before_pk primary key (fingerprint, run)
);
