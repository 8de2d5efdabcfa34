-- Whether a session's lease is not over. The lock lets it be renewed, but not be ended.
select expires_at > clock_timestamp() from session where id = $1 for key share
