//! Integration tests of the engine, on real SQLite and real directories.

mod simulation;
mod stage;
mod worker;
