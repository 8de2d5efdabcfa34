use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use telecine_engine::activity::ErrorClass;

use crate::media::plan::{Chunk, Rung};
use crate::media::report::{Colour, Ratio, Size, VideoTrack};
use crate::tool::ToolError;

/// The most renditions of one ladder; each holds an encoder of tens of megabytes.
const MAX_RUNGS: usize = 16;

/// The longest edge of a rendition, in pixels: the limit of H.264 level 6.2.
const MAX_EDGE: u32 = 8192;

/// The highest timescale: microseconds. Ticks of it survive the way through nanoseconds.
const MAX_TIMESCALE: u32 = 1_000_000;

/// What `encode-video` is asked to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// A local file.
    pub source: PathBuf,
    /// What the probe found about its video.
    pub facts: SourceFacts,
    /// The part to encode.
    pub chunk: Chunk,
    /// The ladder, largest first.
    pub rungs: Vec<RungWork>,
    /// Ticks per second of every rendition.
    pub timescale: u32,
    /// Frames that the attempt has decoded before, where it encodes several parts one after the other:
    /// the counter of its progress goes on from there.
    #[serde(default)]
    pub frames_before: u64,
    /// Where segment files go. The directory exists.
    pub out_dir: PathBuf,
}

/// One rendition and how far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RungWork {
    /// What to encode.
    pub rung: Rung,
    /// Number of the first segment that is not durable yet. Earlier ones are not encoded again;
    /// beyond the chunk's last segment, the rendition is left out.
    pub from_segment: u32,
}

/// The part of the probe's report that encoding depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceFacts {
    /// Place of the track among the video tracks of the file, from 0.
    pub index: u32,
    /// Where the presentation starts in the demuxer's count of time.
    #[serde(default)]
    pub origin_ns: u64,
    /// Time of the first frame. It lies on the grid of a constant rate, 0 need not.
    #[serde(default)]
    pub start_ns: u64,
    /// Clockwise degrees by which the picture is turned for showing: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Whether it is then mirrored left to right.
    pub mirrored: bool,
    /// Whether frames hold two fields.
    pub interlaced: bool,
    /// Frames per second; the average if they vary.
    pub frame_rate: Ratio,
    /// Whether frames are unevenly spaced.
    pub variable_frame_rate: bool,
    /// As [`VideoTrack::guessed_times`].
    #[serde(default)]
    pub guessed_times: bool,
    /// Size of the pictures before they are turned. Those of another size or shape are scaled into it; if it is
    /// not given, the first picture of each chunk decides.
    #[serde(default)]
    pub stored: Option<Size>,
    /// Width over height of a stored pixel.
    #[serde(default = "square")]
    pub pixel_aspect: Ratio,
    /// Colour description, as the stream or the container says. The decoder's own format does not
    /// do: avdec_h264 leaves colour out of it until the second frame.
    #[serde(default)]
    pub colour: Colour,
}

impl From<&VideoTrack> for SourceFacts {
    fn from(track: &VideoTrack) -> Self {
        Self {
            index: track.index,
            origin_ns: track.origin_ns,
            start_ns: track.start_ns,
            rotation: track.rotation,
            mirrored: track.mirrored,
            interlaced: track.interlaced,
            frame_rate: track.frame_rate,
            variable_frame_rate: track.variable_frame_rate,
            guessed_times: track.guessed_times,
            stored: Some(track.stored),
            pixel_aspect: track.pixel_aspect,
            colour: track.colour.clone(),
        }
    }
}

impl SourceFacts {
    /// Length of a frame.
    pub(crate) fn frame_ns(&self) -> u64 {
        1_000_000_000 * u64::from(self.frame_rate.den) / u64::from(self.frame_rate.num)
    }
}

impl Spec {
    /// Checks what the rest relies on.
    ///
    /// # Errors
    /// `config`, naming what is wrong.
    pub(super) fn check(&self) -> Result<(), ToolError> {
        let rate = self.facts.frame_rate;
        let starts = &self.chunk.starts_ns;
        let wrong = if starts.is_empty() || starts.len() != self.chunk.seeks_ns.len() {
            "the chunk needs one seek for each of its starts"
        } else if !starts.is_sorted_by(|a, b| a < b) || starts.last() >= Some(&self.chunk.end_ns) {
            "the starts of segments do not rise"
        } else if self.rungs.len() > MAX_RUNGS {
            "the ladder has more than 16 renditions"
        } else if self.rungs.iter().any(|work| !encodable(&work.rung)) {
            "the size of a rendition is not even, or larger than 8192 pixels"
        } else if self.facts.stored.is_some_and(|size| !is_picture(size)) {
            "the size of the source's pictures is nothing, or more than 8192x8192 pixels"
        } else if self.facts.pixel_aspect.num == 0 || self.facts.pixel_aspect.den == 0 {
            "the source's pixels are 0 wide or high"
        } else if rate.num == 0 || rate.den == 0 {
            "the frame rate is 0"
        } else if !(1..=MAX_TIMESCALE).contains(&self.timescale) {
            "the timescale is not between 1 and 1000000"
        } else if !matches!(self.facts.rotation, 0 | 90 | 180 | 270) {
            "the rotation is no quarter turn"
        } else {
            return Ok(());
        };
        Err(ToolError::new(ErrorClass::Config, "bad_encode_spec", wrong))
    }

    /// Number of the segment behind the chunk's last.
    pub(super) fn end_segment(&self) -> u32 {
        self.chunk.first_segment + self.chunk.starts_ns.len() as u32
    }

    /// The renditions that have segments left to encode, largest first.
    pub(super) fn unfinished(&self) -> impl Iterator<Item = &RungWork> {
        let end = self.end_segment();
        self.rungs
            .iter()
            .filter(move |work| work.from_segment < end)
    }

    /// Place within the chunk of the first segment that any rendition needs.
    pub(super) fn first_segment(&self) -> Option<usize> {
        self.unfinished().map(|work| self.place(work)).min()
    }

    /// Place within the chunk of the first segment that a rendition needs.
    pub(super) fn place(&self, work: &RungWork) -> usize {
        work.from_segment.saturating_sub(self.chunk.first_segment) as usize
    }
}

fn square() -> Ratio {
    Ratio { num: 1, den: 1 }
}

/// As many pixels as the probe lets pass.
fn is_picture(size: Size) -> bool {
    let pixels = u64::from(size.width) * u64::from(size.height);
    (1..=u64::from(MAX_EDGE).pow(2)).contains(&pixels)
}

fn encodable(rung: &Rung) -> bool {
    [rung.size.width, rung.size.height]
        .iter()
        .all(|&edge| edge >= 2 && edge % 2 == 0 && edge <= MAX_EDGE)
}
