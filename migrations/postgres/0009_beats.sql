-- The connection that a session was renewed on last, and when. A connection ends with its process: once
-- the server has none of that number and beginning, the session's process is gone or cut off.
alter table session
    add column backend integer,
    add column backend_began timestamptz,
    add column renewed_at timestamptz;
