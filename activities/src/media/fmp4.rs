//! CMAF tracks (ISO/IEC 23000-19): headers and media segments, as pure functions.
//!
//! # Timing
//!
//! A segment is a function of its frames alone, so that segments encoded in different processes
//! join without a seam. The encoder's decode times are ignored: within a segment, which always is
//! a closed group of pictures, the i-th frame in decode order gets the i-th smallest presentation
//! time as its decode time, and the composition offset `pts - dts + D`, where `D` is the reorder
//! depth of the whole rendition. One edit with `media_time = D` in the header takes `D` away again.
//! Offsets are never negative: negative ones without an edit say the same, but ffmpeg then shows
//! the picture `D` late, while with the edit a frame at 1.000 s is
//! shown at 1.000 s by ffmpeg and by Chromium.

mod header;
mod segment;

pub use header::{AudioHeader, Nclx, VideoHeader, audio_init, video_init};
pub use segment::{Sample, audio_segment, video_segment};

/// Frames of one AAC packet.
pub const AAC_PACKET_SAMPLES: u32 = 1024;

/// The only track of a CMAF file.
const TRACK_ID: u32 = 1;

/// `sample_flags` of a frame on which decoding can begin: it depends on no other.
const SYNC_FLAGS: u32 = 0x0200_0000;

/// `sample_flags` of a frame that depends on others and is no point of entry.
const DEPENDENT_FLAGS: u32 = 0x0101_0000;

/// Why boxes could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoxError {
    /// A segment without samples.
    #[error("a segment needs at least one sample")]
    Empty,
    /// A segment that players could not enter.
    #[error("the first frame of a segment is no keyframe")]
    NoSync,
    /// Two frames at one time, or a frame at or after the end of the segment.
    #[error("frames at {at} and {next} ticks do not rise")]
    NotRising {
        /// The earlier frame.
        at: u64,
        /// The next frame, or the end of the segment.
        next: u64,
    },
    /// The encoder reordered frames further than the rendition allows.
    #[error("a frame at {pts} ticks is decoded at {dts}, later than {reorder} ticks before it")]
    TooDeep {
        /// Presentation time.
        pts: u64,
        /// Decode time.
        dts: u64,
        /// Reorder depth of the rendition.
        reorder: u32,
    },
    /// A number does not fit its field.
    #[error("{what} does not fit its field")]
    Overflow {
        /// Which number.
        what: &'static str,
    },
    /// A box could not be encoded.
    #[error("cannot write a box: {0}")]
    Box(String),
}

impl From<mp4_atom::Error> for BoxError {
    fn from(error: mp4_atom::Error) -> Self {
        Self::Box(error.to_string())
    }
}

/// Appends a box of type `kind` whose content `fill` writes.
///
/// Containers are nested by hand, because `mp4-atom` writes optional children after required
/// ones, while the order of CMAF (`edts` before `mdia`, `mvex` last) is what strict readers know.
fn container(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), BoxError>,
) -> Result<(), BoxError> {
    let start = out.len();
    out.extend([0; 4]);
    out.extend(kind);
    fill(out)?;
    let size = narrow(out.len() - start, "size of a box")?;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
    Ok(())
}

/// A number as 32 bits.
fn narrow(value: impl TryInto<u32>, what: &'static str) -> Result<u32, BoxError> {
    value.try_into().map_err(|_| BoxError::Overflow { what })
}
