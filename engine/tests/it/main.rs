//! Integration tests of the engine, on real databases and real directories.

mod simulation;
mod stage;
mod worker;
