//! How a preview is made to fit: what is given up, in which order.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::Progress;

use super::PreviewFormat;
use crate::media::paint::Rgb;
use crate::media::report::Size;
use crate::media::vips::Image;
use crate::tool::{Emitter, ToolError};

/// What was given up, compared with what was asked for, so that a preview fits its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compromise {
    /// Place in the order of what is given up; 0 is nothing.
    pub step: u32,
    /// Quality of WebP, 1 to 100; for GIF, the number of colours of each picture.
    pub quality: u32,
    /// One picture of so many is shown, for as many times as long.
    pub every: u32,
    /// Part of the width that is left, in percent.
    pub width_percent: u32,
}

/// What is given up, in this order: first what is hardly seen. WebP quality, colours of a GIF as
/// bits, one frame of so many, and percent of the width.
///
/// Measured on three seconds of a film trailer at 10 fps and 480 pixels: WebP of 151 KB at step 0,
/// 45 KB at step 3, 10 KB at step 6, 2 KB at step 8; GIF of 1651 KB and, at step 4, 246 KB.
const STEPS: [(u32, u32, u32, u32); 9] = [
    (60, 8, 1, 100),
    (45, 7, 1, 100),
    (45, 6, 1, 80),
    (40, 6, 2, 80),
    (40, 6, 2, 60),
    (35, 5, 2, 45),
    (30, 5, 3, 35),
    (25, 4, 4, 25),
    (20, 3, 6, 20),
];

/// A preview that fits.
#[derive(Debug)]
pub(super) struct Fitted {
    pub(super) encoded: Vec<u8>,
    pub(super) size: Size,
    pub(super) frames: u32,
    pub(super) compromise: Compromise,
}

/// Encodes pictures, each shown for its time, in a format and at most so many bytes.
///
/// The same pictures give the same bytes. Steps that cannot fit, judged by those that did not, are
/// left out.
///
/// # Errors
/// `preview_too_large` if even the last step does not fit.
pub(super) fn fit(
    pictures: &[Rgb],
    delays_ms: &[u32],
    (format, max_bytes): (PreviewFormat, u64),
    emit: &Emitter<()>,
) -> Result<Fitted, ToolError> {
    let mut smallest = u64::MAX;
    let mut step = 0;
    loop {
        emit.progress(Progress {
            counter: pictures.len() as u64 + step as u64 + 1,
            ..Progress::default()
        });
        let fitted = encode(pictures, delays_ms, (format, step))?;
        let bytes = fitted.encoded.len() as u64;
        smallest = smallest.min(bytes);
        if bytes <= max_bytes {
            return Ok(fitted);
        }
        match next(step, bytes, max_bytes) {
            Some(further) => step = further,
            None => return Err(too_large(smallest, max_bytes)),
        }
    }
}

/// The next step worth trying: the first that is expected to fit, or the last.
///
/// Pixels alone are counted, and their number alone makes files shrink less than in proportion
/// (shapes and motion stay), so what is left out would not have fitted.
fn next(step: usize, bytes: u64, max_bytes: u64) -> Option<usize> {
    let last = STEPS.len() - 1;
    let expected = |further: usize| bytes as f64 * weight(further) / weight(step);
    (step + 1..=last)
        .find(|further| expected(*further) <= max_bytes as f64)
        .or((step < last).then_some(last))
}

/// Expected size of a step in proportion to the others.
fn weight(step: usize) -> f64 {
    let (quality, _, every, width_percent) = STEPS[step];
    f64::from(quality) / f64::from(every) * f64::from(width_percent * width_percent)
}

fn too_large(smallest: u64, max_bytes: u64) -> ToolError {
    ToolError::input(
        "preview_too_large",
        format!(
            "the smallest preview of these seconds has {smallest} bytes, and max_bytes is \
             {max_bytes}: allow more bytes, or make it shorter"
        ),
    )
}

fn encode(
    pictures: &[Rgb],
    delays_ms: &[u32],
    (format, step): (PreviewFormat, usize),
) -> Result<Fitted, ToolError> {
    let (quality, bits, every, width_percent) = STEPS[step];
    let delays: Vec<u32> = (delays_ms.chunks(every as usize))
        .map(|shown_as_one| shown_as_one.iter().sum())
        .collect();
    let shown = pictures.iter().step_by(every as usize);
    let size = shrunk(pictures[0].size, width_percent);
    let stacked = stack(shown, size)?;
    let frames = u32::try_from(delays.len()).unwrap_or(u32::MAX);
    let tall = Size {
        width: size.width,
        height: size.height * frames,
    };
    let mut image = Image::from_rgb(tall, &stacked)?;
    drop(stacked);
    image.animate(size.height, &delays, 0);
    let (name, options) = saver(format, quality, bits);
    Ok(Fitted {
        encoded: image.encode(name, &options)?,
        size,
        frames,
        compromise: Compromise {
            step: u32::try_from(step).unwrap_or(u32::MAX),
            quality: match format {
                PreviewFormat::Webp => quality,
                PreviewFormat::Gif => 1 << bits,
            },
            every,
            width_percent,
        },
    })
}

/// Measured on 100 frames of 320x180: WebP effort 4 takes 1.0 s and is a quarter smaller than
/// effort 0 (0.4 s); GIF effort 7 takes four times effort 1 for 3 % less.
fn saver(format: PreviewFormat, quality: u32, bits: u32) -> (&'static str, String) {
    match format {
        PreviewFormat::Webp => ("webp", format!("Q={quality},effort=4")),
        PreviewFormat::Gif => {
            let options = format!("effort=3,interframe_maxerror=8,bitdepth={bits}");
            ("gif", options)
        }
    }
}

fn shrunk(size: Size, percent: u32) -> Size {
    let part = |edge: u32| ((edge * percent + 50) / 100).max(1);
    Size {
        width: part(size.width),
        height: part(size.height),
    }
}

/// The pictures below each other, in another size.
fn stack<'a>(pictures: impl Iterator<Item = &'a Rgb>, size: Size) -> Result<Vec<u8>, ToolError> {
    let mut stacked = Vec::new();
    for picture in pictures {
        if picture.size == size {
            stacked.extend_from_slice(&picture.bytes);
        } else {
            let image = Image::from_rgb(picture.size, &picture.bytes)?;
            stacked.extend(image.resized(size)?.pixels()?);
        }
    }
    Ok(stacked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_get_smaller_and_none_is_tried_in_vain() {
        for step in 1..STEPS.len() {
            assert!(weight(step) < weight(step - 1), "{step}");
        }
        assert_eq!(next(0, 1000, 900), Some(1));
        assert_eq!(next(0, 1000, 100), Some(5));
        assert_eq!(next(0, 1_000_000, 1), Some(STEPS.len() - 1));
        assert_eq!(next(STEPS.len() - 1, 1000, 1), None);
    }
}
