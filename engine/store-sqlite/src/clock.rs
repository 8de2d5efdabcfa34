//! The database's clock.
//!
//! SQLite runs inside this process and has no clock of its own: its `unixepoch()` asks the system,
//! as [`now`] does. All processes on one database are on one machine, because network file systems
//! are refused, so they read the same clock. It is read once per transaction, after the write lock
//! was taken: what one transaction writes carries one instant.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Now, in whole milliseconds: what is stored is what was said.
pub(crate) fn now() -> DateTime<Utc> {
    from_millis(Utc::now().timestamp_millis())
}

/// An instant `after` from `at`, or the end of time.
pub(crate) fn later(at: DateTime<Utc>, after: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(after)
        .ok()
        .and_then(|after| at.checked_add_signed(after))
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// An instant as it is stored.
pub(crate) fn from_millis(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
