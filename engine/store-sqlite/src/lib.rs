//! The embedded store: the [`Store`](telecine_engine::store::Store) port on SQLite, for one
//! machine and any number of processes on it.
//!
//! # How it works
//!
//! * One file, `telecine.db`, in WAL mode with `synchronous = FULL`: a commit is on the disk when
//!   it returns, and readers never wait for the writer.
//! * Every write is a transaction that begins with `BEGIN IMMEDIATE`, on the one writing connection
//!   of the process; other processes wait for the same lock. What a transaction reads therefore
//!   stays true until it commits, and the fence of a step needs no row locks. What is
//!   [written if it holds](telecine_engine::store::Store::save_if) is made ready before.
//! * Each statement is a file below `src/sql/`, named like what it does. Many rows are written by
//!   one statement over a JSON array, and a transaction by one script of statements; see [`script`].
//! * A session also holds a file lock, so that the death of a process is seen at once; see
//!   [`locks`].
//! * There is one clock, the machine's; see [`clock`].

mod amend;
mod claim;
mod clock;
mod directory;
mod error;
mod feed;
mod fenced;
mod keys;
mod listing;
mod locks;
mod outline;
mod read;
mod retention;
mod reuse;
mod rows;
mod save;
mod schema;
mod script;
mod sessions;
mod store;
mod transaction;

pub use directory::holds_database;
pub use store::SqliteStore;
