//! The activities as the worker runs them: real clips, real child processes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod allocation;
mod attempt;
mod children;
mod clips;
mod covers;
mod draining;
mod encode;
mod foreign;
mod hostile_pictures;
mod mending;
#[path = "../../testing/misbehaving.rs"]
mod misbehaving;
mod mutants;
mod orphans;
mod pictures;
mod pipeline;
mod probe;
mod processor;
mod repeats;
mod sprites;
mod thumbnails;
mod validation;
