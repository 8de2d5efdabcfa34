//! The media activities of telecine: probing, pictures, encoding, packaging, publishing.
//!
//! Media libraries run in child processes only: an activity (async, in the worker) drives a
//! [`Tool`](tool::Tool) (blocking, in a child of the same binary).

pub mod media;
pub mod tool;
