//! Integration tests of the engine, on real databases and real directories.

mod beats;
mod committer;
mod cost;
mod dispatch;
mod held;
mod outage;
mod property;
mod quarantine;
mod room;
mod simulation;
mod sources;
mod stage;
mod streams;
mod worker;
