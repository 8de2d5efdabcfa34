//! What is to be encoded: the output of `video.plan_chunks`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::encode_video::SourceFacts;
use super::report::Size;

/// Length of a segment on the grid. Apple's HLS authoring rules ask for 6 s.
pub const SEGMENT_NS: u64 = 6_000_000_000;

/// The plan of one source. A source without video has no rungs and no chunks: only its sound is cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EncodePlan {
    /// The ladder, largest first; empty without video.
    pub rungs: Vec<Rung>,
    /// Chunks in order of time; together they cover the video without gap or overlap. Empty without
    /// video.
    pub chunks: Vec<Chunk>,
    /// Starts of all segments, the first being 0; audio is cut at the same times.
    pub segment_starts_ns: Vec<u64>,
    /// End of the last segment: the end of the video; of the sound that is encoded, without video.
    pub end_ns: u64,
    /// Ticks per second of every video rendition.
    pub timescale: u32,
    /// What encoding has to know about the source's video; `null` if it has none.
    pub video: Option<SourceFacts>,
}

/// One rendition of the ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// `r720_h264`.
    pub name: String,
    /// Even width and height, upright, square pixels.
    pub size: Size,
    /// Constant rate factor of x264.
    pub crf: u32,
    /// Cap of the rate (VBV), kbit/s.
    pub max_kbps: u32,
    /// x264 preset.
    pub preset: String,
}

/// A part of the video that one step encodes in one decode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// From 0.
    pub index: u32,
    /// Number of the first segment, from 1, over the whole video.
    pub first_segment: u32,
    /// Start of each segment of the chunk. The first chunk begins at 0.
    pub starts_ns: Vec<u64>,
    /// For each start, the keyframe at or before it, where decoding for it begins.
    pub seeks_ns: Vec<u64>,
    /// First time no longer in the chunk; `None` in the last chunk: everything to the end.
    pub until_ns: Option<u64>,
    /// End of the last segment, exact in every chunk.
    pub end_ns: u64,
}
