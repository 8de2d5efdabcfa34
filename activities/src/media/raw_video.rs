//! Video as plain frames, for activities that draw on it: a part of a source is read, changed in
//! Rust, and written as a file that the steps of the ladder take in its place.

mod reader;
mod writer;

use gstreamer as gst;
use gstreamer_video::{VideoColorRange, VideoColorimetry, VideoFormat as VideoFormatId};

use super::report::{Ratio, Size};
use super::{colour, encode_video::SourceFacts, report::VideoTrack, tone};

pub use reader::VideoReader;
pub use writer::VideoWriter;

/// What all frames of a video have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoFormat {
    size: Size,
    colorimetry: VideoColorimetry,
    rate: gst::Fraction,
    facts: SourceFacts,
}

/// A frame: upright, progressive, with square pixels, in planes of luma (Y) and colour (Cb, Cr),
/// which has half the width and height.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoFrame {
    /// When it is shown.
    pub at_ns: u64,
    /// Y, Cb and Cr.
    pub planes: [Plane; 3],
}

/// One number for each of its points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plane {
    /// Points across.
    pub width: usize,
    /// Row by row from the top, without padding.
    pub points: Vec<u8>,
}

impl VideoFormat {
    /// The format in which a probed video is read.
    fn of(track: &VideoTrack) -> Self {
        let even = |edge: u32| (edge & !1).max(2);
        let size = Size {
            width: even(track.display.width),
            height: even(track.display.height),
        };
        let mut said = tone::shown(&track.colour);
        if said.matrix.as_deref() == Some("gbr") {
            // It is converted: GStreamer takes the matrix that players guess.
            (said.matrix, said.range) = (None, None);
        }
        let colorimetry = colour::yuv(&said, track.stored.height);
        let facts = SourceFacts {
            index: 0,
            origin_ns: 0,
            rotation: 0,
            mirrored: false,
            interlaced: false,
            stored: Some(size),
            pixel_aspect: Ratio { num: 1, den: 1 },
            colour: colour::names(&colorimetry),
            ..SourceFacts::from(track)
        };
        Self {
            size,
            colorimetry,
            rate: fraction(&facts),
            facts,
        }
    }

    /// Width and height, both even.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// What `video.encode` has to be told about a file that a [`VideoWriter`] wrote, in place of
    /// what it was told about the source.
    #[must_use]
    pub fn facts(&self) -> &SourceFacts {
        &self.facts
    }

    /// A colour of sRGB in the numbers of this video: Y, Cb and Cr.
    #[must_use]
    pub fn ycbcr(&self, rgb: [u8; 3]) -> [u8; 3] {
        // Those of BT.709 where the matrix has none (of RGB and of nothing).
        let (kr, kb) = self
            .colorimetry
            .matrix()
            .kr_kb()
            .unwrap_or((0.2126, 0.0722));
        let [r, g, b] = rgb.map(|value| f64::from(value) / 255.0);
        let y = kr * r + (1.0 - kr - kb) * g + kb * b;
        let (cb, cr) = ((b - y) / (2.0 - 2.0 * kb), (r - y) / (2.0 - 2.0 * kr));
        // Limited levels are those of ITU-R BT.601, 2.5.1.
        let (floor, luma, chroma) = match self.colorimetry.range() {
            VideoColorRange::Range0_255 => (0.0, 255.0, 255.0),
            _ => (16.0, 219.0, 224.0),
        };
        [floor + luma * y, 128.0 + chroma * cb, 128.0 + chroma * cr]
            .map(|value| value.round() as u8)
    }

    /// What has any of these formats; fixed if it is one.
    fn caps(&self, samples: &[VideoFormatId]) -> gst::Caps {
        let sized = gst::Caps::builder("video/x-raw")
            .field("width", self.size.width as i32)
            .field("height", self.size.height as i32)
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1));
        let any = match samples {
            [one] => sized.field("format", one.to_str()),
            several => {
                let several = several.iter().map(|one| one.to_str());
                sized.field("format", gst::List::new(several))
            }
        };
        any.build()
    }
}

/// The rate of the frames; 0 where it varies.
fn fraction(facts: &SourceFacts) -> gst::Fraction {
    let Ratio { num, den } = facts.frame_rate;
    match (i32::try_from(num), i32::try_from(den)) {
        (Ok(num), Ok(den)) if !facts.variable_frame_rate => gst::Fraction::new(num, den),
        _ => gst::Fraction::new(0, 1),
    }
}
