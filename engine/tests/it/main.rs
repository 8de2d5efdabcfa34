//! Integration tests of the engine, on real databases and real directories.

mod committer;
mod dispatch;
mod simulation;
mod sources;
mod stage;
mod worker;
