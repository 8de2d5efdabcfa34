//! A short moving preview of a video: an animated WebP, or a GIF.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::Progress;

use super::cover;
use super::paint::Painter;
use super::report::{Size, VideoTrack};
use super::vips::Image;
use crate::tool::{Emitter, Tool, ToolError};

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

impl PreviewFormat {
    /// Measured on 100 frames of 320x180: WebP effort 4 takes 1.0 s and is a quarter smaller than
    /// effort 0 (0.4 s); GIF effort 7 takes four times effort 1 for 3 % less.
    fn saver(self) -> (&'static str, &'static str) {
        match self {
            Self::Webp => ("webp", "Q=60,effort=4"),
            Self::Gif => ("gif", "effort=3,interframe_maxerror=8"),
        }
    }
}

/// What a preview is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PreviewSpec {
    /// The source file.
    pub source: PathBuf,
    /// What the probe says of its video.
    pub video: VideoTrack,
    /// What the probe says of seeking: [`Report::chunkable`](super::report::Report::chunkable).
    pub exact_seeks: bool,
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
    /// Length of the file.
    pub bytes: u64,
}

impl Tool for Preview {
    const NAME: &'static str = "preview";
    type Spec = PreviewSpec;
    type Event = ();
    type Output = PreviewMade;

    /// # Errors
    /// Class `input`: `bad_option`, `no_frames`, and those of sniffing and decoding.
    fn run(spec: PreviewSpec, emit: &Emitter<()>) -> Result<PreviewMade, ToolError> {
        super::gst::init()?;
        check(&spec)?;
        let within = Size {
            width: spec.width,
            height: MAX_HEIGHT,
        };
        let painter = Painter::new(&spec.video, within);
        let moments = Moments::of(&spec, emit);
        moments.check(painter.size())?;
        let stacked = stack(&spec, &painter, &moments, emit)?;
        let size = painter.size();
        let tall = Size {
            width: size.width,
            height: size.height * moments.count,
        };
        let mut image = Image::from_rgb(tall, &stacked)?;
        drop(stacked);
        image.animate(size.height, &moments.delays_ms());
        let (format, options) = spec.format.saver();
        let encoded = image.encode(format, options)?;
        Ok(PreviewMade {
            size,
            frames: moments.count,
            start_ns: moments.start_ns,
            duration_ns: moments.duration_ns,
            bytes: cover::write(&spec.out, &encoded)?,
        })
    }
}

fn check(spec: &PreviewSpec) -> Result<(), ToolError> {
    if !(1..=MAX_FPS).contains(&spec.fps) {
        return Err(cover::bad_option(format!(
            "a preview has 1 to {MAX_FPS} pictures per second"
        )));
    }
    if !(1..=MAX_WIDTH).contains(&spec.width) {
        return Err(cover::bad_option(format!(
            "a preview is 1 to {MAX_WIDTH} pixels wide"
        )));
    }
    if spec.duration_ns == 0 {
        return Err(cover::bad_option("a preview must last longer than 0 s"));
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
        let start_ns = cover::inside(&spec.video, spec.start_ns, emit).max(spec.video.start_ns);
        let left = spec.video.end_ns.saturating_sub(start_ns);
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
            return Err(cover::bad_option(format!(
                "a preview has at most {MAX_FRAMES} pictures, this one would have {count}; \
                 make it shorter or slower"
            )));
        }
        let pixels = count * u64::from(size.width) * u64::from(size.height);
        if pixels > MAX_PIXELS {
            return Err(cover::bad_option(format!(
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

/// The pictures below each other.
fn stack(
    spec: &PreviewSpec,
    painter: &Painter,
    moments: &Moments,
    emit: &Emitter<()>,
) -> Result<Vec<u8>, ToolError> {
    let mut reader = cover::open(&spec.source, &spec.video, spec.exact_seeks)?;
    let mut stacked = Vec::new();
    let mut told = Instant::now();
    for (done, time_ns) in (1..).zip(moments.times_ns()) {
        let frame = reader.at(time_ns)?;
        stacked.extend(painter.paint(&frame)?.bytes);
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            emit.progress(Progress {
                counter: done,
                percent: Some(done as f64 / f64::from(moments.count) * 100.0),
                ..Progress::default()
            });
        }
    }
    Ok(stacked)
}
