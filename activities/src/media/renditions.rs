//! What was encoded: segments and the facts of their renditions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::objects::Artifact;

use super::report::{Ratio, Size};

/// What is true of all segments of a rendition, taken from the encoder's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Track {
    /// `r720_h264`; `und_aac_2ch` for audio.
    pub name: String,
    /// RFC 6381, from the parameter sets: `avc1.64001f`, `mp4a.40.2`.
    pub codecs: String,
    /// Ticks per second of the track.
    pub timescale: u32,
    /// The CMAF header (`init.mp4`), base64. Equal in all chunks of a rendition.
    pub init_base64: String,
    /// Video only.
    pub video: Option<VideoFacts>,
    /// Audio only.
    pub audio: Option<AudioFacts>,
}

/// Facts of a video rendition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VideoFacts {
    /// Picture size.
    pub size: Size,
    /// Frames per second; the average if they vary.
    pub frame_rate: Ratio,
}

/// Facts of an audio rendition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AudioFacts {
    /// Number of channels.
    pub channels: u32,
    /// Samples per second.
    pub sample_rate: u32,
    /// ISO 639-2, `und` if unknown.
    pub language: String,
}

/// A media segment (`styp`, `moof`, `mdat`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Segment {
    /// From 1, over the whole presentation.
    pub number: u32,
    /// Decode time of its first sample.
    pub start_ticks: u64,
    /// Until the start of the next one.
    pub duration_ticks: u64,
    /// Number of samples: frames of video, packets of audio.
    pub samples: u32,
    /// Where it is.
    pub object: Artifact,
}

/// A track with its segments in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rendition {
    /// Facts common to all segments.
    pub track: Track,
    /// Segments in order of time.
    pub segments: Vec<Segment>,
}
