//! Conformance suites and test activities: what an implementation of an engine port, or a plugin,
//! is tested with.

pub mod activity;
pub mod conformance;
pub mod faults;
pub mod memory;
pub mod program;
pub mod servers;
pub mod sim;
pub mod writes;
