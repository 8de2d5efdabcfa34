//! Integration tests of the engine, on real databases and real directories.

mod beats;
mod beside;
mod committer;
mod cost;
mod definitions;
mod dispatch;
mod edits;
mod held;
mod litter;
#[cfg(target_os = "linux")]
mod neighbours;
mod outage;
mod plans;
mod property;
mod quarantine;
mod reuse;
mod room;
mod seen;
mod simulation;
mod sources;
mod stage;
mod streams;
mod worker;
