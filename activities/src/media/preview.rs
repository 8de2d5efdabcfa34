//! A short moving preview of a video: an animated WebP, or a GIF, of at most so many bytes.

mod budget;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::Progress;

use super::footage::{self, Footage};
use super::paint::{Painter, Rgb};
use super::report::Size;
use crate::tool::{Emitter, Tool, ToolError};

pub use budget::Compromise;

const SECOND_NS: u64 = 1_000_000_000;

/// Pictures in one preview.
pub const MAX_FRAMES: u64 = 300;

/// Pictures per second. Browsers slow down anything faster than 50, in GIF.
pub const MAX_FPS: u32 = 30;

/// The largest width, in pixels.
pub const MAX_WIDTH: u32 = 1280;

/// Pixels of all pictures together; they are in memory three times, with three bytes each.
pub const MAX_PIXELS: u64 = 64 << 20;

/// Heights follow from widths; WebP ends here.
const MAX_HEIGHT: u32 = 16_383;

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// Makes a preview.
#[derive(Debug)]
pub struct Preview;

/// How a preview is encoded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PreviewFormat {
    /// Animated WebP.
    #[default]
    Webp,
    /// GIF: several times larger.
    Gif,
}

/// What a preview is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PreviewSpec {
    /// The video.
    pub footage: Footage,
    /// Where it begins.
    pub start_ns: u64,
    /// How long it is; the end of the video ends it earlier.
    pub duration_ns: u64,
    /// Pictures per second, 1 to [`MAX_FPS`].
    pub fps: u32,
    /// Pixels across, 1 to [`MAX_WIDTH`]; a smaller video is not enlarged.
    pub width: u32,
    /// Encoding.
    pub format: PreviewFormat,
    /// The most bytes that it may have; quality, speed and width go down until it fits.
    pub max_bytes: u64,
    /// The file to be written.
    pub out: PathBuf,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PreviewMade {
    /// Size of each picture.
    pub size: Size,
    /// Number of pictures.
    pub frames: u32,
    /// Where it begins.
    pub start_ns: u64,
    /// How long it is.
    pub duration_ns: u64,
    /// What was given up for the size of the file.
    pub compromise: Compromise,
    /// Length of the file.
    pub bytes: u64,
}

impl Tool for Preview {
    const NAME: &'static str = "preview";
    type Spec = PreviewSpec;
    type Event = ();
    type Output = PreviewMade;

    /// # Errors
    /// Class `input`: `bad_option`, `no_frames`, `preview_too_large`, and those of sniffing and
    /// decoding.
    fn run(spec: PreviewSpec, emit: &Emitter<()>) -> Result<PreviewMade, ToolError> {
        check(&spec)?;
        let within = Size {
            width: spec.width,
            height: MAX_HEIGHT,
        };
        let painter = spec.footage.painter(within);
        let moments = Moments::of(&spec, emit);
        moments.check(painter.size())?;
        let pictures = take(&spec, &painter, &moments, emit)?;
        let delays = moments.delays_ms();
        let fitted = budget::fit(&pictures, &delays, (spec.format, spec.max_bytes), emit)?;
        Ok(PreviewMade {
            size: fitted.size,
            frames: fitted.frames,
            start_ns: moments.start_ns,
            duration_ns: moments.duration_ns,
            compromise: fitted.compromise,
            bytes: footage::write(&spec.out, &fitted.encoded)?,
        })
    }
}

fn check(spec: &PreviewSpec) -> Result<(), ToolError> {
    if !(1..=MAX_FPS).contains(&spec.fps) {
        return Err(footage::bad_option(format!(
            "a preview has 1 to {MAX_FPS} pictures per second"
        )));
    }
    if !(1..=MAX_WIDTH).contains(&spec.width) {
        return Err(footage::bad_option(format!(
            "a preview is 1 to {MAX_WIDTH} pixels wide"
        )));
    }
    if spec.duration_ns == 0 {
        return Err(footage::bad_option("a preview must last longer than 0 s"));
    }
    Ok(())
}

/// When pictures are taken.
#[derive(Debug, PartialEq)]
struct Moments {
    start_ns: u64,
    duration_ns: u64,
    fps: u32,
    count: u32,
}

impl Moments {
    /// As asked, inside the video, at least one.
    fn of(spec: &PreviewSpec, emit: &Emitter<()>) -> Self {
        let start_ns = spec.footage.inside(spec.start_ns, emit);
        let left = spec.footage.video.end_ns.saturating_sub(start_ns);
        let duration_ns = spec.duration_ns.min(left).max(1);
        let whole = (u128::from(duration_ns) * u128::from(spec.fps)).div_ceil(SECOND_NS.into());
        Self {
            start_ns,
            duration_ns,
            fps: spec.fps,
            count: u32::try_from(whole).unwrap_or(u32::MAX),
        }
    }

    fn check(&self, size: Size) -> Result<(), ToolError> {
        let count = u64::from(self.count);
        if count > MAX_FRAMES {
            return Err(footage::bad_option(format!(
                "a preview has at most {MAX_FRAMES} pictures, this one would have {count}; \
                 make it shorter or slower"
            )));
        }
        let pixels = count * u64::from(size.width) * u64::from(size.height);
        if pixels > MAX_PIXELS {
            return Err(footage::bad_option(format!(
                "a preview has at most {MAX_PIXELS} pixels over all pictures, this one would have \
                 {pixels}; make it shorter or smaller"
            )));
        }
        Ok(())
    }

    fn times_ns(&self) -> impl Iterator<Item = u64> {
        let (start, fps) = (self.start_ns, u64::from(self.fps));
        (0..u64::from(self.count)).map(move |n| start + n * SECOND_NS / fps)
    }

    /// How long each picture is shown; rounding does not add up.
    fn delays_ms(&self) -> Vec<u32> {
        let at_ms = |n: u32| (n * 1000 + self.fps / 2) / self.fps;
        (0..self.count).map(|n| at_ms(n + 1) - at_ms(n)).collect()
    }
}

fn take(
    spec: &PreviewSpec,
    painter: &Painter,
    moments: &Moments,
    emit: &Emitter<()>,
) -> Result<Vec<Rgb>, ToolError> {
    let mut reader = spec.footage.open()?;
    let mut pictures = Vec::new();
    let mut told = Instant::now();
    for (done, time_ns) in (1..).zip(moments.times_ns()) {
        let frame = reader.at(time_ns)?;
        pictures.push(painter.paint(&frame)?);
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            emit.progress(Progress {
                counter: done,
                percent: Some(done as f64 / f64::from(moments.count) * 100.0),
                ..Progress::default()
            });
        }
    }
    Ok(pictures)
}
