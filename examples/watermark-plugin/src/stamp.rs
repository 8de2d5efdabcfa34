//! A watermark: read, scaled, placed, drawn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine::activity::{ActivityError, Context, ErrorClass};
use telecine::media::{Size, Still, VideoFormat, VideoFrame};
use telecine::tool::ToolError;

/// What results depend on beside their input: it grows whenever the same input looks otherwise.
pub const VERSION: &str = "stamp 1";

/// Bytes of a watermark. A logo has some kilobytes.
const MAX_BYTES: u64 = 8 << 20;

/// Pixels of a watermark, 4 bytes each in memory: a PNG of some kilobytes may claim billions.
const MAX_PIXELS: u64 = 16_000_000;

/// How a watermark is put on a picture.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Look {
    /// The corner that it is put into, or the middle.
    position: Position,
    /// Its width, as a part of the width of the picture.
    #[schemars(range(min = 0.01, max = 1.0))]
    scale: f64,
    /// Distance from the edges, as a part of the shorter edge of the picture.
    #[schemars(range(min = 0.0, max = 0.4))]
    margin: f64,
    /// 1 is as it is, 0 cannot be seen.
    #[schemars(range(min = 0.0, max = 1.0))]
    opacity: f64,
}

/// Where a watermark is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Position {
    TopLeft,
    TopRight,
    BottomLeft,
    BottomRight,
    Centre,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            position: Position::BottomRight,
            scale: 0.2,
            margin: 0.04,
            opacity: 0.8,
        }
    }
}

/// A watermark that was made for pictures of one size.
#[derive(Debug)]
pub struct Stamp {
    still: Still,
    /// Both even, so that it lies on whole points of the colour planes of a video.
    left: usize,
    top: usize,
    opacity: f64,
}

/// Finds the file of a watermark: a key of the store of sources, or `media://` and the key of a
/// result. For activities.
///
/// # Errors
/// `input` `object_missing` or `watermark_unreadable`.
pub async fn fetch(ctx: &Context, watermark: &str) -> Result<PathBuf, ActivityError> {
    let found = ctx.source_file_within(watermark, MAX_BYTES).await;
    found.map_err(|error| match &*error.code {
        "source_too_large" => ActivityError::input("watermark_unreadable", unreadable(&error)),
        _ => error,
    })
}

fn unreadable(error: &impl std::fmt::Display) -> String {
    format!("the watermark cannot be used: {error}; export it again as a small PNG")
}

impl Stamp {
    /// Reads a watermark and scales it for pictures of a size. For tools.
    ///
    /// # Errors
    /// `input` `watermark_unreadable`.
    pub fn read(file: &Path, look: &Look, picture: Size) -> Result<Self, ToolError> {
        let still = Still::read(file, MAX_PIXELS).map_err(|error| match error.class {
            ErrorClass::Input => ToolError::input("watermark_unreadable", unreadable(&error)),
            _ => error,
        })?;
        let margin = look.margin * f64::from(picture.width.min(picture.height));
        let size = scaled(still.size(), look.scale, (picture, margin));
        let still = still.resized(size)?;
        let near = margin as usize;
        let far =
            |edge: u32, taken: u32| (edge.saturating_sub(taken) as usize).saturating_sub(near);
        let right = far(picture.width, size.width);
        let bottom = far(picture.height, size.height);
        let (left, top) = match look.position {
            Position::TopLeft => (near, near),
            Position::TopRight => (right, near),
            Position::BottomLeft => (near, bottom),
            Position::BottomRight => (right, bottom),
            Position::Centre => ((right + near) / 2, (bottom + near) / 2),
        };
        Ok(Self {
            still,
            left: left & !1,
            top: top & !1,
            opacity: look.opacity,
        })
    }

    /// Draws it on a picture.
    pub fn draw(&self, picture: &mut Still) {
        let across = picture.size().width as usize;
        for (x, y, [red, green, blue], alpha) in self.pixels() {
            let at = 4 * ((self.top + y) * across + self.left + x);
            let Some(under) = picture.rgba_mut().get_mut(at..at + 4) else {
                continue;
            };
            let behind = f64::from(under[3]) / 255.0;
            let whole = alpha + behind * (1.0 - alpha);
            if whole > 0.0 {
                for (value, colour) in under.iter_mut().zip([red, green, blue]) {
                    mix(value, f64::from(colour), alpha / whole);
                }
                under[3] = (whole * 255.0).round() as u8;
            }
        }
    }

    /// Prepares it for drawing on the frames of a video.
    #[must_use]
    pub fn ink(&self, video: &VideoFormat) -> Ink {
        let across = video.size().width as usize;
        let mut luma = Vec::new();
        // Four pixels share a point of colour: the sums of their opacities, and of Cb and Cr so
        // weighted.
        let mut colour: BTreeMap<usize, [f64; 3]> = BTreeMap::new();
        for (x, y, rgb, alpha) in self.pixels().filter(|pixel| pixel.3 > 0.0) {
            let (x, y) = (self.left + x, self.top + y);
            let [y_value, cb, cr] = video.ycbcr(rgb).map(f64::from);
            luma.push((y * across + x, y_value, alpha));
            let sums = colour.entry(y / 2 * (across / 2) + x / 2).or_default();
            for (sum, more) in sums.iter_mut().zip([1.0, cb, cr]) {
                *sum += alpha * more;
            }
        }
        let points = |n: usize| {
            let mean = |(at, sums): (&usize, &[f64; 3])| (*at, sums[n] / sums[0], sums[0] / 4.0);
            colour.iter().map(mean).collect()
        };
        let (cb, cr) = (points(1), points(2));
        Ink {
            planes: [luma, cb, cr],
        }
    }

    /// Its pixels: place, colour, and opacity from 0 to 1.
    fn pixels(&self) -> impl Iterator<Item = (usize, usize, [u8; 3], f64)> {
        let width = self.still.size().width as usize;
        let pixels = self.still.rgba().chunks_exact(4).enumerate();
        pixels.map(move |(n, pixel)| {
            let alpha = f64::from(pixel[3]) / 255.0 * self.opacity;
            (n % width, n / width, [pixel[0], pixel[1], pixel[2]], alpha)
        })
    }
}

/// A watermark in the numbers of a video: for each plane, what is mixed into which point, and how
/// much of it.
#[derive(Debug)]
pub struct Ink {
    planes: [Vec<(usize, f64, f64)>; 3],
}

impl Ink {
    /// Draws it on a frame.
    pub fn draw(&self, frame: &mut VideoFrame) {
        for (plane, dots) in frame.planes.iter_mut().zip(&self.planes) {
            for (at, value, alpha) in dots {
                mix(&mut plane.points[*at], *value, *alpha);
            }
        }
    }
}

fn mix(under: &mut u8, over: f64, alpha: f64) {
    *under = (over * alpha + f64::from(*under) * (1.0 - alpha)).round() as u8;
}

/// The size of a watermark: of its own shape, and inside the margins.
fn scaled(own: Size, scale: f64, (picture, margin): (Size, f64)) -> Size {
    let shape = f64::from(own.height) / f64::from(own.width);
    let room = |edge: u32| f64::from(edge) - 2.0 * margin;
    let width = (scale * f64::from(picture.width))
        .min(room(picture.width))
        .min(room(picture.height) / shape);
    let pixels = |edge: f64| (edge as u32).max(1);
    Size {
        width: pixels(width),
        height: pixels(width * shape),
    }
}
