//! Decoded pictures as the encoders take them: of one size and format, in standard range.

use gstreamer as gst;
use gstreamer::glib::{BoolError, bool_error};
use gstreamer_video::{VideoConverter, VideoFrame, VideoInfo, VideoInterlaceMode};

use super::spec::{SourceFacts, Spec};
use crate::media::colour;
use crate::media::gst::bug;
use crate::media::letterbox::{Shape, letterbox};
use crate::media::report::Colour;
use crate::media::tone::{self, Tone};
use crate::tool::ToolError;

/// Makes every picture of a chunk look like the others. Some sources change the size or shape of their pictures on
/// the way, as recordings of calls and of broadcasts do; what is not like the first picture of the video is scaled
/// into its frame.
#[derive(Debug)]
pub(super) struct Intake {
    /// Of a source with high dynamic range.
    tone: Option<Tone>,
    said: Colour,
    /// Shape of the video's pictures, upright.
    video: Shape,
    turned: bool,
    /// What the encoders take.
    info: VideoInfo,
    /// The format of the last picture, and how it becomes that.
    caps: gst::Caps,
    from: VideoInfo,
    fit: Option<Fit>,
}

/// Converts pictures of one format to another.
#[derive(Debug)]
struct Fit {
    from: VideoInfo,
    to: VideoInfo,
    converter: VideoConverter,
    /// Whether it is for pictures of another size or shape, not only of another format.
    scales: bool,
}

impl Intake {
    /// For the pictures of a chunk, the first of which is given.
    ///
    /// # Errors
    /// `bug` if it has no format that encoders could take.
    pub(super) fn new(spec: &Spec, first: &gst::Sample) -> Result<Self, ToolError> {
        let caps = caps_of(first)?;
        let from = VideoInfo::from_caps(&caps).map_err(bug)?;
        let facts = &spec.facts;
        let tone = Tone::of(&facts.colour);
        let video = upright(facts).unwrap_or_else(|| Shape::of_picture(&from));
        let mut info = sized(&from, video).map_err(bug)?;
        if tone.is_some() {
            info = Tone::info(&info).map_err(bug)?;
        }
        let mut intake = Self {
            tone,
            said: tone::shown(&facts.colour),
            video,
            turned: is_turned(facts),
            info,
            caps,
            from,
            fit: None,
        };
        intake.fit = intake.fit(&intake.from).map_err(bug)?;
        Ok(intake)
    }

    /// The format of what it makes.
    pub(super) fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Makes what the encoders take of a picture. Answers its shape too if it had to be scaled.
    ///
    /// # Errors
    /// `bug` if it is no picture.
    pub(super) fn picture(
        &mut self,
        decoded: &gst::Sample,
    ) -> Result<(gst::Buffer, Option<Shape>), ToolError> {
        let caps = caps_of(decoded)?;
        if caps != self.caps {
            let from = VideoInfo::from_caps(&caps).map_err(bug)?;
            self.fit = self.fit(&from).map_err(bug)?;
            (self.caps, self.from) = (caps, from);
        }
        let buffer = decoded.buffer_owned();
        let mut buffer = buffer.ok_or_else(|| bug("a frame without data"))?;
        if let Some(tone) = &self.tone {
            (buffer, _) = tone.map(&buffer, &self.from).map_err(bug)?;
        }
        let Some(fit) = &self.fit else {
            return Ok((buffer, None));
        };
        let buffer = fit.convert(buffer).map_err(bug)?;
        let scaled = fit.scales.then(|| Shape::of_picture(&self.from));
        Ok((buffer, scaled))
    }

    /// What brings pictures of a format to that of the encoders; `None` if they have it.
    fn fit(&self, from: &VideoInfo) -> Result<Option<Fit>, BoolError> {
        let mut picture = Shape::of_picture(from);
        let same_size = picture.size == self.video.size;
        if self.turned && same_size {
            // What turns pictures is not asked what became of their pixels.
            picture = self.video;
        }
        let from = match self.tone {
            Some(_) => Tone::info(from)?,
            None => from.clone(),
        };
        let config = letterbox(picture, self.video, self.video.size);
        let scales = !same_size || config.is_some();
        if !scales && from.format() == self.info.format() {
            return Ok(None);
        }
        let (from, to) = (self.alike(&from)?, self.alike(&self.info)?);
        Ok(Some(Fit {
            converter: VideoConverter::new(&from, &to, config)?,
            from,
            to,
            scales,
        }))
    }

    /// A format, alike in everything that is not to be converted.
    fn alike(&self, info: &VideoInfo) -> Result<VideoInfo, BoolError> {
        let colorimetry = if info.is_rgb() {
            info.colorimetry()
        } else {
            colour::yuv(&self.said, self.info.height())
        };
        VideoInfo::builder(info.format(), info.width(), info.height())
            .interlace_mode(VideoInterlaceMode::Progressive)
            .colorimetry(&colorimetry)
            .build()
    }
}

impl Fit {
    fn convert(&self, picture: gst::Buffer) -> Result<gst::Buffer, BoolError> {
        let unmapped = || bool_error!("the memory of a picture cannot be used");
        let picture =
            VideoFrame::from_buffer_readable(picture, &self.from).map_err(|_| unmapped())?;
        let made = gst::Buffer::with_size(self.to.size())?;
        let mut made = VideoFrame::from_buffer_writable(made, &self.to).map_err(|_| unmapped())?;
        self.converter.frame(&picture, &mut made);
        Ok(made.into_buffer())
    }
}

/// The shape of the video's upright pictures, before pixels are made square.
fn upright(facts: &SourceFacts) -> Option<Shape> {
    let stored = Shape {
        size: facts.stored?,
        pixel_aspect: facts.pixel_aspect,
    };
    Some(if is_turned(facts) {
        stored.turned()
    } else {
        stored
    })
}

fn is_turned(facts: &SourceFacts) -> bool {
    facts.rotation % 180 == 90
}

/// A format in the size of a video.
fn sized(info: &VideoInfo, video: Shape) -> Result<VideoInfo, BoolError> {
    let size = video.size;
    if (info.width(), info.height()) == (size.width, size.height) {
        return Ok(info.clone());
    }
    VideoInfo::builder(info.format(), size.width, size.height)
        .fps(info.fps())
        .interlace_mode(info.interlace_mode())
        .chroma_site(info.chroma_site())
        .colorimetry(&info.colorimetry())
        .build()
}

fn caps_of(sample: &gst::Sample) -> Result<gst::Caps, ToolError> {
    let caps = sample.caps_owned();
    caps.ok_or_else(|| bug("a frame without a format"))
}
