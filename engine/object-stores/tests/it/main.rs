//! Object stores: the suite of every store, and what only one kind can get wrong.

mod fs;
mod s3;
