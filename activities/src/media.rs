//! Media code: tools that run in child processes, and the pure parts they are made of.
//!
//! Times are **stream time** in nanoseconds (`_ns`): edit lists applied, 0 at the presentation's
//! start. Ticks (`_ticks`) count in a track's own timescale.

mod colour;
pub mod cover;
mod demux;
mod frames;
mod isobmff;
mod last_samples;
mod paint;
pub mod plan;
pub mod preview;
pub mod probe;
pub mod renditions;
pub mod report;
pub mod sniff;
mod vips;
