//! Puts a watermark on pictures and videos.
//!
//! An *activity* runs in the worker: it fetches files, stores results, and never touches a pixel. A
//! *tool* does that, in a child process: files come from strangers, and a decoder that crashes or
//! runs away then costs one attempt and nothing else. [`picture`] and [`video`] have one of each;
//! [`stamp`] is the drawing.

pub mod picture;
pub mod stamp;
pub mod video;
