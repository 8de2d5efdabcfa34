//! The store for many machines: the [`Store`](telecine_engine::store::Store) port on Postgres 15 or
//! newer.
//!
//! # How it works
//!
//! * The only lock is the one on the row of a run. Whatever writes to what belongs to a run holds
//!   it; a transaction over many runs takes all of its locks by one statement, in the order of their
//!   ids, so that transactions wait for each other and never in a circle.
//! * Each statement is a file below `src/sql/`, named like what it does. Rows of many runs are
//!   written by one statement over arrays, one for each column, and the statements of nearly every
//!   transaction are sent as one. Statements of the hot path are
//!   upserts and joins with an array, and the connections that run them have sequential scans, hash
//!   and merge joins switched off: their plans are the same on an empty database and on one with a
//!   million runs.
//! * Steps that can be claimed are in a narrow table of their own, `ready`, and no index names what
//!   changes with every transition.
//! * There is one clock, the server's.

mod amend;
mod beats;
mod claim;
mod connect;
mod dispatch;
mod error;
mod feed;
mod fenced;
mod keys;
mod listing;
mod outline;
mod pool;
mod read;
mod retention;
mod reuse;
mod rows;
mod save;
mod schema;
mod sessions;
mod store;
mod transaction;

pub use dispatch::PostgresDispatcher;
pub use store::PostgresStore;
