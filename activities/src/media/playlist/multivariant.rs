use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{VERSION, language};
use crate::media::report::{Ratio, Size};

/// The average rate of the variant with which players should start, in bits per second
/// (Apple's authoring rules: about 2000 kbit/s).
const START_RATE: u64 = 2_000_000;

/// What the multivariant playlist lists. Rendered with any prefix, so that the copies outside the
/// generation point into it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Multivariant {
    /// Video renditions, largest first; the audio rendition alone if there is no video.
    pub variants: Vec<Variant>,
    /// The audio group, if there is sound beside video.
    pub audio: Option<AudioEntry>,
}

/// A video rendition together with the audio that plays with it, or audio by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Path of its media playlist, relative to the generation.
    pub uri: String,
    /// Measured peak, audio included, bits per second.
    pub bandwidth: u64,
    /// Measured average, audio included, bits per second.
    pub average_bandwidth: u64,
    /// RFC 6381, video first.
    pub codecs: String,
    /// What is said of the picture, if there is one.
    pub picture: Option<PictureEntry>,
}

/// The picture of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PictureEntry {
    /// Its size.
    pub resolution: Size,
    /// Frames per second.
    pub frame_rate: Ratio,
}

/// An audio rendition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AudioEntry {
    /// Path of its media playlist, relative to the generation.
    pub uri: String,
    /// ISO 639-2, `und` if unknown.
    pub language: String,
    /// Number of channels.
    pub channels: u32,
}

impl Multivariant {
    /// The playlist, as it lies in its generation.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-INDEPENDENT-SEGMENTS\n");
        if let Some(audio) = &self.audio {
            audio.render(&mut text);
        }
        for variant in self.in_order() {
            variant.render(self.audio.is_some(), &mut text);
        }
        text
    }

    /// The variant to start with, then the others as they are.
    fn in_order(&self) -> Vec<&Variant> {
        let distance = |variant: &&Variant| variant.average_bandwidth.abs_diff(START_RATE);
        let start = self.variants.iter().min_by_key(distance);
        let others = self
            .variants
            .iter()
            .filter(|variant| Some(*variant) != start);
        start.into_iter().chain(others).collect()
    }
}

// Writing to a string cannot fail, so the results below are dropped.

impl AudioEntry {
    fn render(&self, text: &mut String) {
        let language = language::tag(&self.language);
        let name = if language == "und" { "Audio" } else { language };
        let _ = writeln!(
            text,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",LANGUAGE=\"{language}\",NAME=\"{name}\",\
             DEFAULT=YES,AUTOSELECT=YES,CHANNELS=\"{}\",URI=\"{}\"",
            self.channels, self.uri,
        );
    }
}

impl Variant {
    fn render(&self, has_audio: bool, text: &mut String) {
        let _ = write!(
            text,
            "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\"",
            self.bandwidth, self.average_bandwidth, self.codecs,
        );
        if let Some(picture) = &self.picture {
            picture.render(has_audio, text);
        }
        let _ = writeln!(text, "\n{}", self.uri);
    }
}

impl PictureEntry {
    fn render(&self, has_audio: bool, text: &mut String) {
        let audio = if has_audio { ",AUDIO=\"audio\"" } else { "" };
        let Size { width, height } = self.resolution;
        let rate = f64::from(self.frame_rate.num) / f64::from(self.frame_rate.den.max(1));
        let _ = write!(
            text,
            ",RESOLUTION={width}x{height},FRAME-RATE={rate:.3},VIDEO-RANGE=SDR{audio},\
             CLOSED-CAPTIONS=NONE",
        );
    }
}
