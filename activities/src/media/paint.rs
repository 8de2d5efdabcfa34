//! Upright pictures with square pixels from decoded frames.

use gstreamer as gst;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;

use super::colour;
use super::frames::{self, Frame};
use super::letterbox::{Shape, letterbox};
use super::report::{Colour, Size, VideoTrack};
use super::tone::{self, Tone};
use crate::tool::ToolError;

/// A picture as rows of red, green and blue bytes without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rgb {
    /// Picture size.
    pub(crate) size: Size,
    /// `3 * width * height` bytes.
    pub(crate) bytes: Vec<u8>,
}

/// Makes upright pictures with square pixels from frames of one video.
#[derive(Debug)]
pub(crate) struct Painter {
    /// Size before turning.
    lying: Size,
    /// Shape of the frames that the video began with.
    video: Shape,
    rotation: u16,
    mirrored: bool,
    colour: Colour,
    /// Of a video with high dynamic range.
    tone: Option<Tone>,
}

impl Painter {
    /// Pictures of a video inside a box, never larger than it is shown.
    pub(crate) fn new(video: &VideoTrack, within: Size) -> Self {
        let upright = fit(video.display, within);
        let turned = video.rotation % 180 == 90;
        Self {
            lying: if turned { upright.turned() } else { upright },
            video: Shape::of_video(video),
            rotation: video.rotation,
            mirrored: video.mirrored,
            colour: tone::shown(&video.colour),
            tone: Tone::of(&video.colour),
        }
    }

    /// Size of the pictures it makes.
    pub(crate) fn size(&self) -> Size {
        if self.rotation % 180 == 90 {
            self.lying.turned()
        } else {
            self.lying
        }
    }

    /// Converts one frame.
    ///
    /// # Errors
    /// `decoder_broken`, class `bug`.
    pub(crate) fn paint(&self, frame: &Frame) -> Result<Rgb, ToolError> {
        let lying = self
            .scale(frame)
            .map_err(|error| frames::broken(&error.message))?;
        Ok(upright(&lying, self.rotation, self.mirrored))
    }

    fn scale(&self, frame: &Frame) -> Result<Rgb, gst::glib::BoolError> {
        let unmapped = || gst::glib::bool_error!("its memory cannot be read");
        let mut decoded = gst_video::VideoInfo::from_caps(&frame.caps)?;
        let mut picture = frame.buffer.clone();
        if let Some(tone) = &self.tone {
            (picture, decoded) = tone.map(&picture, &decoded)?;
        }
        let source = if decoded.format_info().is_yuv() {
            let colorimetry = colour::yuv(&self.colour, self.video.size.height);
            gst_video::VideoInfo::builder_from_info(&decoded)
                .colorimetry(&colorimetry)
                .build()?
        } else {
            decoded
        };
        let Size { width, height } = self.lying;
        // A converter refuses formats that differ in what it does not convert.
        let target = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height)
            .fps(source.fps())
            .interlace_mode(source.interlace_mode())
            .build()?;
        let input = gst_video::VideoFrame::from_buffer_readable(picture, &source)
            .map_err(|_| unmapped())?;
        let mut output = gst_video::VideoFrame::from_buffer_writable(
            gst::Buffer::with_size(target.size())?,
            &target,
        )
        .map_err(|_| unmapped())?;
        let config = letterbox(Shape::of_picture(&source), self.video, self.lying);
        let converter = gst_video::VideoConverter::new(&source, &target, config)?;
        converter.frame(&input, &mut output);
        packed(&output, self.lying)
    }
}

/// Copies rows out of a frame whose rows are padded to four bytes.
fn packed(
    frame: &gst_video::VideoFrame<gst_video::video_frame::Writable>,
    size: Size,
) -> Result<Rgb, gst::glib::BoolError> {
    let row = size.width as usize * 3;
    let stride = usize::try_from(frame.plane_stride()[0]).unwrap_or(row);
    let bytes = frame
        .plane_data(0)?
        .chunks(stride)
        .take(size.height as usize)
        .flat_map(|padded| &padded[..row])
        .copied()
        .collect();
    Ok(Rgb { size, bytes })
}

/// The largest size of the same shape inside a box, at least one pixel, never larger than it is.
fn fit(size: Size, within: Size) -> Size {
    let (width, height) = (u64::from(size.width.max(1)), u64::from(size.height.max(1)));
    let (wide, high) = (u64::from(within.width), u64::from(within.height));
    if width <= wide && height <= high {
        return size;
    }
    let scaled = |edge: u64, num: u64, den: u64| {
        u32::try_from(((edge * num + den / 2) / den).max(1)).unwrap_or(u32::MAX)
    };
    if wide * height <= high * width {
        Size {
            width: within.width,
            height: scaled(height, wide, width),
        }
    } else {
        Size {
            width: scaled(width, high, height),
            height: within.height,
        }
    }
}

/// Turns a picture clockwise, then mirrors it left to right.
fn upright(picture: &Rgb, rotation: u16, mirrored: bool) -> Rgb {
    let size = if rotation % 180 == 90 {
        picture.size.turned()
    } else {
        picture.size
    };
    let (width, height) = (size.width as usize, size.height as usize);
    let lying_width = picture.size.width as usize;
    let mut bytes = Vec::with_capacity(picture.bytes.len());
    for y in 0..height {
        for x in 0..width {
            let x = if mirrored { width - 1 - x } else { x };
            let (from_x, from_y) = match rotation {
                90 => (y, width - 1 - x),
                180 => (width - 1 - x, height - 1 - y),
                270 => (height - 1 - y, x),
                _ => (x, y),
            };
            let at = (from_y * lying_width + from_x) * 3;
            bytes.extend_from_slice(&picture.bytes[at..at + 3]);
        }
    }
    Rgb { size, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two wide, three high; every pixel has its number in all bytes.
    fn numbered() -> Rgb {
        Rgb {
            size: Size {
                width: 2,
                height: 3,
            },
            bytes: (0..6).flat_map(|n| [n; 3]).collect(),
        }
    }

    fn numbers(picture: &Rgb) -> Vec<u8> {
        picture.bytes.iter().step_by(3).copied().collect()
    }

    #[test]
    fn pictures_turn_clockwise_and_then_mirror() {
        let turned = |rotation, mirrored| numbers(&upright(&numbered(), rotation, mirrored));
        assert_eq!(turned(0, false), [0, 1, 2, 3, 4, 5]);
        assert_eq!(turned(90, false), [4, 2, 0, 5, 3, 1]);
        assert_eq!(turned(180, false), [5, 4, 3, 2, 1, 0]);
        assert_eq!(turned(270, false), [1, 3, 5, 0, 2, 4]);
        assert_eq!(turned(0, true), [1, 0, 3, 2, 5, 4]);
        assert_eq!(turned(90, true), [0, 2, 4, 1, 3, 5]);
    }

    #[test]
    fn a_picture_fits_its_box_and_never_grows() {
        let size = |width, height| Size { width, height };
        assert_eq!(fit(size(1920, 1080), size(1280, 1280)), size(1280, 720));
        assert_eq!(fit(size(1080, 1920), size(1280, 1280)), size(720, 1280));
        assert_eq!(fit(size(640, 360), size(1280, 1280)), size(640, 360));
        assert_eq!(fit(size(10_000, 1), size(320, 320)), size(320, 1));
    }
}
