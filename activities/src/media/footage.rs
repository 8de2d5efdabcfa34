//! A probed video from which pictures are taken: what cover, preview and sprites have in common.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::frames::{FrameReader, Selection};
use super::paint::Painter;
use super::report::{Size, VideoTrack};
use super::sniff;
use crate::tool::{Emitter, ToolError};

/// A video of a source, as the probe found it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Footage {
    /// The source file.
    pub source: PathBuf,
    /// What the probe says of its video.
    pub video: VideoTrack,
    /// What the probe says of seeking: [`Report::chunkable`](super::report::Report::chunkable).
    pub exact_seeks: bool,
}

impl Footage {
    /// Loads GStreamer and opens the video at its start.
    ///
    /// # Errors
    /// Those of sniffing and decoding.
    pub(super) fn open(&self) -> Result<FrameReader, ToolError> {
        super::gst::init()?;
        let selection = Selection {
            index: self.video.index,
            deinterlace: self.video.interlaced,
            exact_seeks: self.exact_seeks,
            origin_ns: self.video.origin_ns,
        };
        FrameReader::open(&self.source, sniff::sniff(&self.source)?, selection)
    }

    /// Makes pictures of it that fit a box.
    pub(super) fn painter(&self, within: Size) -> Painter {
        Painter::new(&self.video, within)
    }

    /// How long there is something to see.
    pub(super) fn length_ns(&self) -> u64 {
        self.video.end_ns.saturating_sub(self.video.start_ns)
    }

    /// A time inside the video; one beyond its end becomes its last moment, with a warning.
    pub(super) fn inside(&self, at_ns: u64, emit: &Emitter<()>) -> u64 {
        let VideoTrack {
            start_ns, end_ns, ..
        } = self.video;
        let last = end_ns.saturating_sub(1).max(start_ns);
        if at_ns > last {
            let seconds = |ns: u64| std::time::Duration::from_nanos(ns).as_secs_f64();
            emit.warn(format!(
                "beyond_end: second {:.2} is beyond the end of the video ({:.2} s); its last picture is used",
                seconds(at_ns),
                seconds(end_ns)
            ));
        }
        at_ns.clamp(start_ns, last)
    }
}

/// A setting that makes no sense.
pub(super) fn bad_option(message: impl Into<String>) -> ToolError {
    ToolError::input("bad_option", message)
}

/// Writes what was made; returns its length.
///
/// # Errors
/// The classes of [`ToolError::io`].
pub(super) fn write(out: &Path, bytes: &[u8]) -> Result<u64, ToolError> {
    std::fs::write(out, bytes).map_err(|error| ToolError::io("write the picture", error))?;
    Ok(bytes.len() as u64)
}
