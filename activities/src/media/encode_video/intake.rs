//! Decoded pictures as the encoders take them: of one size and format, in standard range.

use gstreamer as gst;
use gstreamer::glib::{BoolError, bool_error};
use gstreamer_video::{VideoConverter, VideoFrame, VideoInfo, VideoInterlaceMode};

use super::spec::Spec;
use crate::media::colour;
use crate::media::gst::bug;
use crate::media::letterbox::letterbox;
use crate::media::report::{Colour, Size};
use crate::media::tone::{self, Tone};
use crate::tool::ToolError;

/// Makes every picture of a chunk look like the others. Some sources change their size on the way, as recordings
/// of calls and of broadcasts do; what is of another size than the video began with is scaled into its frame.
#[derive(Debug)]
pub(super) struct Intake {
    /// Of a source with high dynamic range.
    tone: Option<Tone>,
    said: Colour,
    /// What the encoders take.
    info: VideoInfo,
    /// Width over height of the picture as it is shown.
    shape: f64,
    /// The format of the last picture.
    caps: gst::Caps,
    way: Way,
}

/// How pictures of one format get there.
#[derive(Debug)]
struct Way {
    from: VideoInfo,
    /// With the formats that it converts between, where they differ.
    fit: Option<(VideoInfo, VideoInfo, VideoConverter)>,
}

impl Intake {
    /// For the pictures of a chunk, the first of which is given.
    ///
    /// # Errors
    /// `bug` if it has no format that encoders could take.
    pub(super) fn new(spec: &Spec, first: &gst::Sample) -> Result<Self, ToolError> {
        let caps = caps_of(first)?;
        let from = VideoInfo::from_caps(&caps).map_err(bug)?;
        let tone = Tone::of(&spec.facts.colour);
        let size = upright_size(spec).unwrap_or(Size {
            width: from.width(),
            height: from.height(),
        });
        let mut info = sized(&from, size).map_err(bug)?;
        if tone.is_some() {
            info = Tone::info(&info).map_err(bug)?;
        }
        let shown = spec.unfinished().next().map(|work| work.rung.size);
        let Size { width, height } = shown.unwrap_or(size);
        let mut intake = Self {
            tone,
            said: tone::shown(&spec.facts.colour),
            info,
            shape: f64::from(width) / f64::from(height),
            caps,
            way: Way { from, fit: None },
        };
        intake.way.fit = intake.fit(&intake.way.from).map_err(bug)?;
        Ok(intake)
    }

    /// The format of what it makes.
    pub(super) fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Makes what the encoders take of a picture. Answers its size too if that is not the video's.
    ///
    /// # Errors
    /// `bug` if it is no picture.
    pub(super) fn picture(
        &mut self,
        decoded: &gst::Sample,
    ) -> Result<(gst::Buffer, Option<Size>), ToolError> {
        let caps = caps_of(decoded)?;
        if caps != self.caps {
            let from = VideoInfo::from_caps(&caps).map_err(bug)?;
            let fit = self.fit(&from).map_err(bug)?;
            (self.caps, self.way) = (caps, Way { from, fit });
        }
        let buffer = decoded.buffer_owned();
        let mut buffer = buffer.ok_or_else(|| bug("a frame without data"))?;
        let Way { from, fit } = &self.way;
        if let Some(tone) = &self.tone {
            (buffer, _) = tone.map(&buffer, from).map_err(bug)?;
        }
        if let Some((from, to, converter)) = fit {
            buffer = converted(buffer, from, to, converter).map_err(bug)?;
        }
        let size = Size {
            width: from.width(),
            height: from.height(),
        };
        let other = (size.width, size.height) != (self.info.width(), self.info.height());
        Ok((buffer, other.then_some(size)))
    }

    /// What brings pictures of a format to that of the encoders.
    fn fit(
        &self,
        from: &VideoInfo,
    ) -> Result<Option<(VideoInfo, VideoInfo, VideoConverter)>, BoolError> {
        let from = match self.tone {
            Some(_) => Tone::info(from)?,
            None => from.clone(),
        };
        let frame = Size {
            width: self.info.width(),
            height: self.info.height(),
        };
        let config = letterbox(&from, frame, self.shape);
        let (from, to) = (self.alike(&from)?, self.alike(&self.info)?);
        let same = |info: &VideoInfo| (info.format(), info.width(), info.height());
        if same(&from) == same(&to) {
            return Ok(None);
        }
        let converter = VideoConverter::new(&from, &to, Some(config))?;
        Ok(Some((from, to, converter)))
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

/// The size of the video's upright pictures, before pixels are made square.
fn upright_size(spec: &Spec) -> Option<Size> {
    let stored = spec.facts.stored?;
    let turned = spec.facts.rotation % 180 == 90;
    Some(if turned {
        Size {
            width: stored.height,
            height: stored.width,
        }
    } else {
        stored
    })
}

/// A format in another size.
fn sized(info: &VideoInfo, size: Size) -> Result<VideoInfo, BoolError> {
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

fn converted(
    picture: gst::Buffer,
    from: &VideoInfo,
    to: &VideoInfo,
    converter: &VideoConverter,
) -> Result<gst::Buffer, BoolError> {
    let unmapped = || bool_error!("the memory of a picture cannot be used");
    let picture = VideoFrame::from_buffer_readable(picture, from).map_err(|_| unmapped())?;
    let made = gst::Buffer::with_size(to.size())?;
    let mut made = VideoFrame::from_buffer_writable(made, to).map_err(|_| unmapped())?;
    converter.frame(&picture, &mut made);
    Ok(made.into_buffer())
}

fn caps_of(sample: &gst::Sample) -> Result<gst::Caps, ToolError> {
    let caps = sample.caps_owned();
    caps.ok_or_else(|| bug("a frame without a format"))
}
