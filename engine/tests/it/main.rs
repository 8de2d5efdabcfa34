//! Integration tests of the engine.

mod simulation;
