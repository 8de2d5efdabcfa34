//! The cover of a video: one upright JPEG.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use telecine_engine::activity::Progress;

use super::frames::{FrameReader, Selection};
use super::paint::{Painter, Rgb};
use super::report::{Size, VideoTrack};
use super::sniff;
use super::vips::Image;
use crate::tool::{Emitter, Tool, ToolError};

/// The largest edge of a cover, in pixels.
pub const MAX_EDGE: u32 = 8192;

/// Where a good picture is looked for, in percent of the video, best place first: near the start
/// there are titles and fades, at the end credits.
const CANDIDATES_PERCENT: [u64; 4] = [10, 25, 50, 75];

/// Standard deviation of the luma (0 to 255) from which a picture counts as showing something.
/// A black or white frame with grain has less than 5, a fade about 10, scenes 30 and more.
const ENOUGH_CONTRAST: f64 = 20.0;

/// Makes a cover.
#[derive(Debug)]
pub struct Cover;

/// What a cover is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CoverSpec {
    /// The source file.
    pub source: PathBuf,
    /// What the probe says of its video.
    pub video: VideoTrack,
    /// What the probe says of seeking: [`Report::chunkable`](super::report::Report::chunkable).
    pub exact_seeks: bool,
    /// The time of the picture; `None` chooses one that shows something.
    pub at_ns: Option<u64>,
    /// The longest edge, in pixels; a smaller video is not enlarged.
    pub max_edge: u32,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// The file to be written.
    pub out: PathBuf,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoverMade {
    /// Size of the picture.
    pub size: Size,
    /// Time of the frame that it shows.
    pub at_ns: u64,
    /// Length of the file.
    pub bytes: u64,
}

impl Tool for Cover {
    const NAME: &'static str = "cover";
    type Spec = CoverSpec;
    type Event = ();
    type Output = CoverMade;

    /// # Errors
    /// Class `input`: `bad_option`, `no_frames`, and those of sniffing and decoding.
    fn run(spec: CoverSpec, emit: &Emitter<()>) -> Result<CoverMade, ToolError> {
        super::gst::init()?;
        check(&spec)?;
        let mut reader = open(&spec.source, &spec.video, spec.exact_seeks)?;
        let edge = spec.max_edge;
        let within = Size {
            width: edge,
            height: edge,
        };
        let painter = Painter::new(&spec.video, within);
        let (at_ns, picture) = match spec.at_ns {
            Some(at_ns) => take(&mut reader, &painter, inside(&spec.video, at_ns, emit))?,
            None => choose(&mut reader, &painter, &spec.video, emit)?,
        };
        let jpeg = Image::from_rgb(picture.size, &picture.bytes)?
            .encode("jpg", &format!("Q={},optimize_coding=true", spec.quality))?;
        Ok(CoverMade {
            size: picture.size,
            at_ns,
            bytes: write(&spec.out, &jpeg)?,
        })
    }
}

fn check(spec: &CoverSpec) -> Result<(), ToolError> {
    if !(1..=MAX_EDGE).contains(&spec.max_edge) {
        return Err(bad_option(format!(
            "the longest edge of a cover must be 1 to {MAX_EDGE} pixels"
        )));
    }
    if !(1..=100).contains(&spec.quality) {
        return Err(bad_option("the quality of a cover must be 1 to 100"));
    }
    Ok(())
}

/// A setting that makes no sense.
pub(super) fn bad_option(message: impl Into<String>) -> ToolError {
    ToolError::input("bad_option", message)
}

/// Opens the video of a source that was probed before.
///
/// # Errors
/// Those of sniffing and decoding.
pub(super) fn open(
    source: &Path,
    video: &VideoTrack,
    exact_seeks: bool,
) -> Result<FrameReader, ToolError> {
    let selection = Selection {
        index: video.index,
        deinterlace: video.interlaced,
        exact_seeks,
        origin_ns: video.origin_ns,
    };
    FrameReader::open(source, sniff::sniff(source)?, selection)
}

/// Writes what was made; returns its length.
///
/// # Errors
/// The classes of [`ToolError::io`].
pub(super) fn write(out: &Path, bytes: &[u8]) -> Result<u64, ToolError> {
    std::fs::write(out, bytes).map_err(|error| ToolError::io("write the picture", error))?;
    Ok(bytes.len() as u64)
}

/// A time inside the video; one beyond its end becomes its last moment, with a warning.
pub(super) fn inside(video: &VideoTrack, at_ns: u64, emit: &Emitter<()>) -> u64 {
    let last = video.end_ns.saturating_sub(1).max(video.start_ns);
    if at_ns > last {
        let seconds = |ns: u64| std::time::Duration::from_nanos(ns).as_secs_f64();
        emit.warn(format!(
            "second {:.2} is beyond the end of the video ({:.2} s); its last picture is used",
            seconds(at_ns),
            seconds(video.end_ns)
        ));
    }
    at_ns.min(last)
}

fn take(reader: &mut FrameReader, painter: &Painter, at_ns: u64) -> Result<(u64, Rgb), ToolError> {
    let frame = reader.at(at_ns)?;
    Ok((frame.time_ns, painter.paint(&frame)?))
}

/// The first candidate that shows something, else the one that shows most.
fn choose(
    reader: &mut FrameReader,
    painter: &Painter,
    video: &VideoTrack,
    emit: &Emitter<()>,
) -> Result<(u64, Rgb), ToolError> {
    let length = video.end_ns.saturating_sub(video.start_ns);
    let mut best: Option<(f64, (u64, Rgb))> = None;
    for (tried, percent) in (1..).zip(CANDIDATES_PERCENT) {
        let taken = take(reader, painter, video.start_ns + length / 100 * percent)?;
        emit.progress(Progress {
            counter: tried,
            ..Progress::default()
        });
        let contrast = contrast(&taken.1);
        if contrast >= ENOUGH_CONTRAST {
            return Ok(taken);
        }
        if best.as_ref().is_none_or(|(most, _)| contrast > *most) {
            best = Some((contrast, taken));
        }
    }
    best.map(|(_, taken)| taken)
        .ok_or_else(super::frames::no_frames)
}

/// Standard deviation of the luma (BT.601 weights), 0 to 127.5, in the middle half of the picture
/// in both directions: the edge of a letterbox would count as much as any scene.
fn contrast(picture: &Rgb) -> f64 {
    let (width, height) = (picture.size.width as usize, picture.size.height as usize);
    let middle = |length: usize| length / 4..(length * 3).div_ceil(4);
    let rows = picture.bytes.chunks_exact(width * 3);
    let pixels = rows
        .skip(middle(height).start)
        .take(middle(height).len())
        .flat_map(|row| &row.as_chunks::<3>().0[middle(width)]);
    let lumas = pixels
        .map(|[r, g, b]| 0.299 * f64::from(*r) + 0.587 * f64::from(*g) + 0.114 * f64::from(*b));
    let (count, sum, squares) = lumas.fold((0.0, 0.0, 0.0), |(count, sum, squares), luma| {
        (count + 1.0, sum + luma, squares + luma * luma)
    });
    let mean = sum / f64::max(count, 1.0);
    (squares / f64::max(count, 1.0) - mean * mean)
        .max(0.0)
        .sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(luma: impl Fn(usize, usize) -> u8) -> Rgb {
        let size = Size {
            width: 16,
            height: 16,
        };
        let bytes = (0..256).flat_map(|n| [luma(n % 16, n / 16); 3]).collect();
        Rgb { size, bytes }
    }

    #[test]
    fn a_letterbox_is_no_contrast() {
        let letterbox = grey(|_, y| if (2..14).contains(&y) { 170 } else { 0 });
        assert!(contrast(&letterbox) < 1.0);
        let stripes = grey(|x, _| if x % 2 == 0 { 0 } else { 255 });
        assert!(contrast(&stripes) > 100.0);
    }
}
