//! Suites that define what a port means: every implementation passes the same named cases.

pub mod dispatch;
pub mod objects;
pub mod store;
