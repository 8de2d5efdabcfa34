//! Pictures and video for activities of one's own: what the built-in steps say about them, as types
//! for inputs and outputs, and their pixels.
//!
//! [`Still`] and [`VideoReader`] open hostile files as the built-in activities do: the kind of a file
//! is told by its bytes, nothing is opened that could name other files or addresses, and limits are
//! held against headers before anything is decoded. Use them inside a [`Tool`](crate::tool::Tool) all
//! the same, so that a crash costs one attempt.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use telecine::media::{Chunk, VideoReader, VideoTrack, VideoWriter};
//! use telecine::tool::ToolError;
//!
//! /// Copies a part of a video in black and white.
//! fn without_colour(from: &Path, track: &VideoTrack, part: &Chunk, to: &Path) -> Result<(), ToolError> {
//!     let reader = VideoReader::open(from, track, part)?;
//!     let mut writer = VideoWriter::create(to, reader.format())?;
//!     for frame in reader {
//!         let mut frame = frame?;
//!         let [_, cb, cr] = &mut frame.planes;
//!         cb.points.fill(128);
//!         cr.points.fill(128);
//!         writer.push(frame)?;
//!     }
//!     writer.finish()
//! }
//! ```
//!
//! `examples/watermark-plugin` puts a watermark on pictures and videos with them.

pub use telecine_activities::media::encode_video::SourceFacts;
pub use telecine_activities::media::plan::{Chunk, Rung};
pub use telecine_activities::media::raw_video::{
    Plane, VideoFormat, VideoFrame, VideoReader, VideoWriter,
};
pub use telecine_activities::media::report::{AudioTrack, Colour, Ratio, Report, Size, VideoTrack};
pub use telecine_activities::media::still::Still;
pub use telecine_activities::media::thumbnail::Format;
