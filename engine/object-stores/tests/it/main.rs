//! Object stores: the suite of every store, and what only one kind can get wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fs;
mod s3;
