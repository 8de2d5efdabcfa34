//! Several sizes and formats of one picture, decoded once.
//!
//! Nothing is decoded before the kind of the file is known by its bytes and its header has been
//! held against the limits.

mod complete;
mod kind;
mod layout;
mod output;

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::Progress;

use super::footage::{self, bad_option};
use super::report::Size;
use super::vips::{self, Header, Image, Timing};
use crate::tool::{Emitter, Tool, ToolError};
use kind::Kind;
use layout::Layout;

pub use output::{Animation, Fit, Format, Output};

/// Bytes of a source. A raw scan of 100 megapixels as TIFF has more, and is no upload.
pub const MAX_BYTES: u64 = 256 << 20;

/// Pixels of one picture. The largest telephones make 50 megapixels in HEIC, which is decoded as a
/// whole, with 3 bytes each.
pub const MAX_PIXELS: u64 = 100_000_000;

/// Pictures of an animation.
pub const MAX_FRAMES: u32 = 200;

/// Pixels over all pictures of an animation: 200 of 1280x1000. They are decoded one after the
/// other, so this bounds time, not memory.
pub const MAX_ANIMATED_PIXELS: u64 = 256_000_000;

/// Pixels over all pictures that are made; they are in memory at the same time, with 4 bytes each.
pub const MAX_OUTPUT_PIXELS: u64 = 64 << 20;

/// Outputs of one source.
pub const MAX_OUTPUTS: usize = 16;

/// Makes pictures of a picture.
#[derive(Debug)]
pub struct Thumbnail;

/// What is made of which picture.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ThumbnailSpec {
    /// The source file.
    pub source: PathBuf,
    /// What is made, 1 to [`MAX_OUTPUTS`].
    pub outputs: Vec<Output>,
    /// Where files are written: `{number of the output}.{extension}`.
    pub directory: PathBuf,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThumbnailMade {
    /// The source.
    pub source: SourcePicture,
    /// One for each output, in the same order.
    pub pictures: Vec<PictureMade>,
}

/// A source as its header describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SourcePicture {
    /// `jpg`, `png`, `gif`, `webp`, `heif` (HEIC and AVIF) or `tiff`.
    pub format: String,
    /// Upright.
    pub size: Size,
    /// Number of pictures of an animation; 1 for everything else.
    pub frames: u32,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PictureMade {
    /// The file.
    pub file: PathBuf,
    /// Size of each picture.
    pub size: Size,
    /// Number of pictures.
    pub frames: u32,
}

impl Tool for Thumbnail {
    const NAME: &'static str = "thumbnail";
    type Spec = ThumbnailSpec;
    type Event = ();
    type Output = ThumbnailMade;

    /// # Errors
    /// Class `input`: `bad_option`, `empty_source`, `not_image`, `vector_refused`,
    /// `hdr_unsupported`, `too_many_pixels`, `too_many_frames`, `animation_refused`,
    /// `image_damaged`.
    fn run(spec: ThumbnailSpec, emit: &Emitter<()>) -> Result<ThumbnailMade, ToolError> {
        let source = inspect(&spec.source)?;
        check(&spec.outputs, &source)?;
        let layouts: Vec<Layout> = (spec.outputs.iter())
            .map(|output| Layout::of(source.size, output))
            .collect();
        check_outputs(&spec.outputs, &layouts, source.frames)?;
        let plans: Vec<Plan<'_>> = (spec.outputs.iter().zip(layouts))
            .map(|(output, layout)| Plan { output, layout })
            .collect();
        let made = if plans.iter().any(|plan| moves(plan.output, source.frames)) {
            draw_animation(&spec.source, &plans, source.frames, emit)?
        } else {
            draw_still(&spec.source, &plans, source.size)?
        };
        let pictures = (0..).zip(plans.iter().zip(made));
        let written = pictures.map(|(number, (plan, drawn))| {
            emit.progress(Progress {
                counter: u64::from(MAX_FRAMES) + number,
                ..Progress::default()
            });
            plan.write(drawn, (&spec.directory, number))
        });
        Ok(ThumbnailMade {
            pictures: written.collect::<Result<_, _>>()?,
            source,
        })
    }
}

/// Tells what a file is by its bytes, and reads its header; nothing is decoded.
///
/// # Errors
/// Class `input`: `empty_source`, `not_image`, `vector_refused`, `hdr_unsupported`, `image_damaged`.
pub(crate) fn inspect(file: &Path) -> Result<SourcePicture, ToolError> {
    let kind = kind::of(file)?;
    let header = vips::header(file)?;
    kind.check_loader(&header.loader)?;
    Ok(describe(kind, &header))
}

/// Whether an output shows more than one picture of a source of so many.
fn moves(output: &Output, frames: u32) -> bool {
    frames > 1 && output.animation == Animation::Keep
}

fn describe(kind: Kind, header: &Header) -> SourcePicture {
    let Size { width, height } = header.stored;
    let size = if header.lying {
        Size {
            width: height,
            height: width,
        }
    } else {
        header.stored
    };
    // Pages of a TIFF and pictures of a HEIC are no animation: the first is the picture.
    let frames = if kind.may_move() { header.pages } else { 1 };
    SourcePicture {
        format: kind.name().to_owned(),
        size,
        frames,
    }
}

fn check(outputs: &[Output], source: &SourcePicture) -> Result<(), ToolError> {
    let Size { width, height } = source.size;
    let pixels = u64::from(width) * u64::from(height);
    if pixels > MAX_PIXELS {
        return Err(ToolError::input(
            "too_many_pixels",
            format!(
                "the picture has {width} x {height} pixels; at most {MAX_PIXELS} are taken: \
                 scale it down"
            ),
        ));
    }
    let moving = outputs.iter().filter(|output| moves(output, source.frames));
    for output in moving {
        check_animation(output, source, pixels * u64::from(source.frames))?;
    }
    Ok(())
}

fn check_animation(output: &Output, source: &SourcePicture, pixels: u64) -> Result<(), ToolError> {
    let (format, frames) = (output.format.extension(), source.frames);
    if !output.format.may_move() {
        return Err(ToolError::input(
            "animation_refused",
            format!(
                "the source has {frames} frames and {format} holds one: ask for webp or gif, or \
                 set animation to first_frame"
            ),
        ));
    }
    if frames > MAX_FRAMES || pixels > MAX_ANIMATED_PIXELS {
        return Err(ToolError::input(
            "too_many_frames",
            format!(
                "the source has {frames} frames with {pixels} pixels; at most {MAX_FRAMES} frames \
                 with {MAX_ANIMATED_PIXELS} pixels are taken: shorten it, or set animation to \
                 first_frame"
            ),
        ));
    }
    Ok(())
}

fn check_outputs(outputs: &[Output], layouts: &[Layout], frames: u32) -> Result<(), ToolError> {
    if !(1..=MAX_OUTPUTS).contains(&outputs.len()) {
        return Err(bad_option(format!(
            "1 to {MAX_OUTPUTS} outputs can be made of one picture"
        )));
    }
    outputs.iter().try_for_each(Output::check)?;
    let pixels = outputs.iter().zip(layouts).map(|(output, layout)| {
        let Size { width, height } = layout.canvas;
        let frames = if moves(output, frames) { frames } else { 1 };
        u64::from(width) * u64::from(height) * u64::from(frames)
    });
    let pixels: u64 = pixels.sum();
    if pixels > MAX_OUTPUT_PIXELS {
        return Err(bad_option(format!(
            "the outputs would have {pixels} pixels over all pictures; at most \
             {MAX_OUTPUT_PIXELS} are made: ask for fewer or smaller ones"
        )));
    }
    Ok(())
}

/// What one output looks like.
#[derive(Debug)]
struct Plan<'a> {
    output: &'a Output,
    layout: Layout,
}

/// The pictures of one output, below each other as plain pixels: nothing that a source says about
/// itself (where it was taken, by whom) gets further than this.
#[derive(Debug, Default)]
struct Drawn {
    pixels: Vec<u8>,
    bands: u32,
    frames: u32,
    /// `None` if there is one picture that does not move.
    timing: Option<Timing>,
}

/// Decodes the first picture, as small as the largest output allows, and draws each output.
fn draw_still(path: &Path, plans: &[Plan<'_>], source: Size) -> Result<Vec<Drawn>, ToolError> {
    let scaled = plans.iter().map(|plan| plan.layout.scaled);
    let largest = layout::covering(source, scaled);
    let base = vips::first_picture(path, largest)?;
    let draw = |plan: &Plan<'_>| {
        let mut drawn = Drawn::default();
        drawn.add(&plan.draw(&base)?)?;
        Ok(drawn)
    };
    plans.iter().map(draw).collect()
}

/// Decodes one picture after the other and draws it for each output.
fn draw_animation(
    path: &Path,
    plans: &[Plan<'_>],
    count: u32,
    emit: &Emitter<()>,
) -> Result<Vec<Drawn>, ToolError> {
    let frames = vips::frames(path, count)?;
    let timing = frames.timing.clone();
    let empty = |plan: &Plan<'_>| Drawn {
        timing: moves(plan.output, count).then(|| timing.clone()),
        ..Drawn::default()
    };
    let mut drawn: Vec<Drawn> = plans.iter().map(empty).collect();
    for (done, frame) in (1..).zip(frames) {
        let frame = frame?;
        for (plan, drawn) in plans.iter().zip(&mut drawn) {
            if drawn.frames == 0 || drawn.timing.is_some() {
                drawn.add(&plan.draw(&frame)?)?;
            }
        }
        emit.progress(Progress {
            counter: done,
            percent: Some(done as f64 / f64::from(count) * 100.0),
            ..Progress::default()
        });
    }
    Ok(drawn)
}

impl Drawn {
    fn add(&mut self, picture: &Image) -> Result<(), ToolError> {
        self.bands = picture.bands();
        self.pixels.extend(picture.pixels()?);
        self.frames += 1;
        Ok(())
    }
}

impl Plan<'_> {
    /// Draws one picture.
    fn draw(&self, base: &Image) -> Result<Image, ToolError> {
        let Layout {
            scaled,
            cropped,
            canvas,
        } = self.layout;
        let mut picture = if base.size() == scaled {
            base.in_srgb()?
        } else {
            base.resized(scaled)?
        };
        if cropped != scaled {
            picture = picture.part(layout::centred(scaled, cropped), cropped)?;
        }
        if canvas != cropped {
            picture = picture.on_canvas(layout::centred(canvas, cropped), canvas)?;
        }
        if picture.has_alpha() && !self.output.format.has_alpha() {
            picture = picture.on_white()?;
        }
        Ok(picture)
    }

    fn write(
        &self,
        drawn: Drawn,
        (directory, number): (&Path, u64),
    ) -> Result<PictureMade, ToolError> {
        let (size, frames) = (self.layout.canvas, drawn.frames);
        let tall = Size {
            width: size.width,
            height: size.height * frames,
        };
        let mut picture = Image::from_pixels((tall, drawn.bands), &drawn.pixels)?;
        drop(drawn.pixels);
        if let Some(timing) = drawn.timing {
            picture.animate(size.height, &timing.delays_ms, timing.times);
        }
        let extension = self.output.format.extension();
        let encoded = picture.encode(extension, &self.output.saver_options())?;
        let file = directory.join(number.to_string()).with_extension(extension);
        footage::write(&file, &encoded)?;
        Ok(PictureMade { file, size, frames })
    }
}
