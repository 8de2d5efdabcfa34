//! What is made of a picture.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::media::footage::bad_option;
use crate::tool::ToolError;

/// The longest edge, in pixels; WebP ends at 16,383.
const MAX_EDGE: u32 = 8192;

/// One picture that is made of another. It is never larger than its source: what is asked for
/// beyond that is made smaller in the same shape, or gets a margin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// Its name, 1 to 64 of `a-z`, `0-9`, `-` and `_`: the file is `{variant}.{format}`.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]{0,63}$"))]
    pub variant: String,
    /// Width of the box in pixels; as wide as it comes unless given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 8192))]
    pub width: Option<u32>,
    /// Height of the box in pixels; as high as it comes unless given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 8192))]
    pub height: Option<u32>,
    /// How the picture is put into the box.
    #[serde(default)]
    pub fit: Fit,
    /// File format.
    #[serde(default)]
    pub format: Format,
    /// 1 to 100, for the formats that lose something (webp, avif, jpg); by the format unless given.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub quality: Option<u8>,
    /// What becomes of a source that moves.
    #[serde(default)]
    pub animation: Animation,
}

/// How a picture is put into a box.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// As large as it fits; the result is smaller than the box in one direction.
    #[default]
    Inside,
    /// Fills the box; what stands out is cut off on both sides.
    Cover,
    /// As large as it fits, in the middle of a canvas of the size of the box: transparent, or
    /// white where the format has no transparency.
    Contain,
}

/// A file format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// WebP.
    #[default]
    Webp,
    /// AVIF.
    Avif,
    /// JPEG.
    Jpg,
    /// PNG.
    Png,
    /// GIF.
    Gif,
}

/// What becomes of a source that moves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Animation {
    /// It goes on moving; an error in a format that cannot.
    #[default]
    Keep,
    /// Its first frame is the picture.
    FirstFrame,
}

impl Format {
    /// Extension of its files.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Webp => "webp",
            Self::Avif => "avif",
            Self::Jpg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
        }
    }

    /// Its MIME type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        crate::picture::media_type(self.extension())
    }

    /// Whether it holds more than one picture.
    pub(super) fn may_move(self) -> bool {
        matches!(self, Self::Webp | Self::Gif)
    }

    /// Whether pictures can be seen through.
    pub(crate) fn has_alpha(self) -> bool {
        self != Self::Jpg
    }

    /// The quality at which artefacts are not seen at the size of a thumbnail; `None` for formats
    /// that lose nothing, or have no such number.
    fn usual_quality(self) -> Option<u8> {
        match self {
            Self::Jpg | Self::Webp => Some(80),
            Self::Avif => Some(55),
            Self::Png | Self::Gif => None,
        }
    }
}

impl Format {
    /// Options of libvips' saver; the quality is the usual one unless given. AVIF effort 2 and WebP
    /// effort 4 are where more time stops to pay: 1280x853 in AVIF takes 1.7 s.
    pub(crate) fn saver_options(self, quality: Option<u8>) -> String {
        let quality = quality.or(self.usual_quality()).unwrap_or(100);
        match self {
            Self::Jpg => format!("Q={quality},optimize_coding=true"),
            Self::Webp => format!("Q={quality},effort=4"),
            Self::Avif => format!("Q={quality},effort=2"),
            Self::Png => "compression=6".to_owned(),
            Self::Gif => "effort=3,interframe_maxerror=8".to_owned(),
        }
    }
}

impl Output {
    /// # Errors
    /// `bad_option`, naming the output.
    pub(super) fn check(&self) -> Result<(), ToolError> {
        let refuse = |why: String| Err(bad_option(format!("output {}: {why}", self.variant)));
        for (name, edge) in [("width", self.width), ("height", self.height)] {
            if edge.is_some_and(|edge| !(1..=MAX_EDGE).contains(&edge)) {
                return refuse(format!("{name} must be 1 to {MAX_EDGE} pixels"));
            }
        }
        if self.quality.is_some() && self.format.usual_quality().is_none() {
            let format = self.format.extension();
            return refuse(format!("{format} has no quality; leave it out"));
        }
        if self
            .quality
            .is_some_and(|quality| !(1..=100).contains(&quality))
        {
            return refuse("quality must be 1 to 100".to_owned());
        }
        Ok(())
    }

    /// Options of libvips' saver.
    pub(super) fn saver_options(&self) -> String {
        self.format.saver_options(self.quality)
    }
}
