//! The protocols that telecine's promises rest on, as small models that are checked in every state they
//! can get into. A test runs histories that somebody thought of or that chance found; a model runs all of
//! them, up to a bound.
//!
//! | model | question |
//! |---|---|
//! | [`lease`] | can a worker that was given up do harm, and can a step be lost with its worker? |
//! | [`checkpoint`] | is everything there that a checkpoint names, whatever is killed and whoever wakes up? |
//! | [`generation`] | can two jobs of two databases write into the same set? |
//! | [`publication`] | does a reader ever see half a set, or an older one than before? |
//! | [`doorbell`] | does a ready step wait for ever if a hint is lost, late, or goes to the wrong process? |
//!
//! How to read one: `State` is what there is, `Action` is what can happen next, `properties` is what must
//! be true all the time, and [`Ends::is_over`] is what everything has to come to. The documentation of
//! each action names the code that it stands for.
//!
//! Each model takes a rule. `Sound` is what telecine does; every other rule leaves out one precaution, and
//! a test asserts that the checker then finds a history that goes wrong. A model that no mistake can break
//! would say nothing.
//!
//! What all of them leave out: contents of steps, more than one step, and bytes on the wire. A
//! transaction is one action, because the stores' conformance suite checks that it is: it has happened or
//! it has not, and whoever asked may never hear of it.

pub mod checkpoint;
pub mod doorbell;
pub mod generation;
pub mod lease;
pub mod publication;
mod reach;

pub use reach::{Ends, dead_end};
