//! What is known about a source: the output of `media.probe`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A ratio of two whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ratio {
    /// Numerator.
    pub num: u32,
    /// Denominator, never 0.
    pub den: u32,
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// The shorter edge, which names a rung.
    #[must_use]
    pub fn short_edge(self) -> u32 {
        self.width.min(self.height)
    }

    /// After a quarter turn.
    pub(crate) fn turned(self) -> Self {
        Self {
            width: self.height,
            height: self.width,
        }
    }
}

/// A probed source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Size of the source object in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the source's bytes, hex.
    pub sha256: String,
    /// `mp4`, `matroska`, `webm`, `mpegts`, `avi`, `flv`, ...
    pub container: String,
    /// Length of the presentation.
    pub duration_ns: u64,
    /// Whether seeks land exactly enough to encode the source in chunks.
    pub chunkable: bool,
    /// The video track that is used; `None` for audio only.
    pub video: Option<VideoTrack>,
    /// Every audio track, in the order of the file.
    pub audio: Vec<AudioTrack>,
    /// Number of subtitle tracks.
    pub subtitles: u32,
    /// What is unusual about it, for people.
    pub warnings: Vec<String>,
}

/// A video track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VideoTrack {
    /// Number among the video streams of the file, from 0, in the order of the demuxer.
    #[serde(default)]
    pub index: u32,
    /// Where the presentation starts in the demuxer's count of time; every time of the report is
    /// counted from there. 0 except in MPEG streams, whose clock runs for most of a second before
    /// there is anything to see or hear.
    #[serde(default)]
    pub origin_ns: u64,
    /// `h264`, `hevc`, `vp9`, `av1`, `prores`, ...
    pub codec: String,
    /// As stored, before pixel aspect and rotation.
    pub stored: Size,
    /// As shown: square pixels, upright. Even or odd as it comes.
    pub display: Size,
    /// Pixel aspect ratio as stored.
    pub pixel_aspect: Ratio,
    /// Clockwise degrees by which players turn the picture: 0, 90, 180 or 270.
    pub rotation: u16,
    /// Whether players also mirror the picture.
    pub mirrored: bool,
    /// Frames per second: exact for a constant rate, the average for a variable one.
    pub frame_rate: Ratio,
    /// Whether frames are unevenly spaced.
    pub variable_frame_rate: bool,
    /// Whether the decoder has to guess when some frames are shown: the container says when they
    /// are decoded (AVI, MPEG program streams).
    #[serde(default)]
    pub guessed_times: bool,
    /// Number of frames shown.
    pub frames: u64,
    /// Time of the first frame.
    pub start_ns: u64,
    /// End of the last frame.
    pub end_ns: u64,
    /// Bits per sample.
    pub bit_depth: u8,
    /// `4:2:0`, `4:2:2`, `4:4:4`.
    pub chroma: String,
    /// Colour description, as the stream or the container says.
    pub colour: Colour,
    /// `hdr10` (PQ), `hlg`, or `dolby_vision`, which is read as the one of these that its base layer is;
    /// `None` for standard range. What is made of any of them is standard range.
    pub hdr: Option<String>,
    /// Whether frames hold two fields.
    pub interlaced: bool,
    /// Time of the first frame at or after each multiple of the segment length, from the second
    /// segment on: where segments are cut.
    pub cuts_ns: Vec<u64>,
    /// For each cut, the last keyframe at or before it: where decoding for it has to begin.
    pub seeks_ns: Vec<u64>,
    /// Number of keyframes.
    pub keyframes: u64,
    /// The longest time from one keyframe to the next.
    pub longest_gop_ns: u64,
}

/// Colour description; `None` where nothing says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Colour {
    /// `bt709`, `bt2020`, `smpte170m`, ...
    pub primaries: Option<String>,
    /// `bt709`, `smpte2084`, `arib-std-b67`, ...
    pub transfer: Option<String>,
    /// `bt709`, `bt2020nc`, `smpte170m`, ...
    pub matrix: Option<String>,
    /// `limited` or `full`.
    pub range: Option<String>,
    /// How bright HDR video gets, in cd/m²: its brightest pixel (MaxCLL), or else the brightest that
    /// the display showed on which it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_nits: Option<u32>,
}

/// An audio track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AudioTrack {
    /// Number among the audio streams of the file, from 0, in the order of the demuxer.
    #[serde(default)]
    pub index: u32,
    /// As [`VideoTrack::origin_ns`].
    #[serde(default)]
    pub origin_ns: u64,
    /// `aac`, `ac3`, `opus`, `pcm`, ...
    pub codec: String,
    /// Number of channels.
    pub channels: u32,
    /// `mono`, `stereo`, `5.1`, ...; `None` if unknown.
    pub layout: Option<String>,
    /// Samples per second.
    pub sample_rate: u32,
    /// ISO 639-2 code, `und` if unknown.
    pub language: String,
    /// Whether the file marks it as the default.
    pub default: bool,
    /// Time of the first sample.
    pub start_ns: u64,
    /// End of the last sample.
    pub end_ns: u64,
}
