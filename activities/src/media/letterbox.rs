//! Pictures of another shape than the rest of a video, inside its frame.

use gstreamer_video::{VideoConverterConfig, VideoInfo};

use super::report::{Ratio, Size, VideoTrack};

/// Pixels that are said to be this many times as wide as high, or as high as wide, are taken for square.
const MAX_PIXEL_ASPECT: u32 = 10;

/// Shapes that differ by less are the same: sizes are whole and even numbers of pixels.
const SAME_SHAPE: f64 = 0.02;

/// What a picture measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Pixels as they are stored.
    pub(crate) size: Size,
    /// Width over height of a pixel.
    pub(crate) pixel_aspect: Ratio,
}

/// Part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    x: u32,
    y: u32,
    size: Size,
}

impl Shape {
    /// That of the pictures that a video began with, before they are turned.
    pub(crate) fn of_video(video: &VideoTrack) -> Self {
        Self {
            size: video.stored,
            pixel_aspect: video.pixel_aspect,
        }
    }

    pub(crate) fn of_picture(info: &VideoInfo) -> Self {
        Self {
            size: Size {
                width: info.width(),
                height: info.height(),
            },
            pixel_aspect: pixel_aspect(info),
        }
    }

    /// After a quarter turn.
    pub(crate) fn turned(self) -> Self {
        Self {
            size: self.size.turned(),
            pixel_aspect: Ratio {
                num: self.pixel_aspect.den,
                den: self.pixel_aspect.num,
            },
        }
    }

    /// Width over height of what is shown.
    fn ratio(self) -> f64 {
        let Ratio { num, den } = self.pixel_aspect;
        let across = f64::from(self.size.width) * f64::from(num);
        across / (f64::from(self.size.height) * f64::from(den))
    }
}

/// Width over height of a picture's pixels; nonsense counts as square.
pub(crate) fn pixel_aspect(info: &VideoInfo) -> Ratio {
    let par = info.par();
    let (num, den) = (
        u32::try_from(par.numer()).unwrap_or(0),
        u32::try_from(par.denom()).unwrap_or(0),
    );
    if num == 0 || den == 0 || num / den >= MAX_PIXEL_ASPECT || den / num >= MAX_PIXEL_ASPECT {
        return Ratio { num: 1, den: 1 };
    }
    Ratio { num, den }
}

/// How a picture is scaled into a frame that is for those of a video: as large as it fits, in the middle, with black
/// around it. `None` if it fills the frame.
pub(crate) fn letterbox(picture: Shape, video: Shape, frame: Size) -> Option<VideoConverterConfig> {
    let place = place(picture.ratio() / video.ratio(), frame);
    if place.size == frame {
        return None;
    }
    let edge = |edge: u32| i32::try_from(edge).unwrap_or(i32::MAX);
    let mut config = VideoConverterConfig::new();
    config.set_dest_x(edge(place.x));
    config.set_dest_y(edge(place.y));
    config.set_dest_width(Some(edge(place.size.width)));
    config.set_dest_height(Some(edge(place.size.height)));
    Some(config)
}

/// Where a picture goes that is this many times as wide as the frame, if it is as high. Everything is even, as chroma
/// is.
fn place(part: f64, frame: Size) -> Place {
    let Size {
        mut width,
        mut height,
    } = frame;
    let even = |edge: u32, part: f64| ((f64::from(edge) * part / 2.0).round() as u32 * 2).max(2);
    if part > 1.0 + SAME_SHAPE {
        height = even(height, 1.0 / part).min(height);
    } else if part < 1.0 - SAME_SHAPE {
        width = even(width, part).min(width);
    }
    let margin = |whole: u32, part: u32| (whole - part) / 4 * 2;
    Place {
        x: margin(frame.width, width),
        y: margin(frame.height, height),
        size: Size { width, height },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(width: u32, height: u32, (num, den): (u32, u32)) -> Shape {
        Shape {
            size: Size { width, height },
            pixel_aspect: Ratio { num, den },
        }
    }

    #[test]
    fn pictures_are_as_large_as_they_fit_and_in_the_middle() {
        let video = shape(1280, 720, (1, 1));
        let frame = shape(640, 360, (1, 1)).size;
        let at = |picture: Shape| {
            let Place { x, y, size } = place(picture.ratio() / video.ratio(), frame);
            (x, y, size.width, size.height)
        };
        assert_eq!(at(video), (0, 0, 640, 360));
        assert_eq!(at(shape(854, 480, (1, 1))), (0, 0, 640, 360));
        assert_eq!(at(shape(400, 300, (1, 1))), (80, 0, 480, 360));
        assert_eq!(at(shape(720, 1280, (1, 1))), (218, 0, 202, 360));
        assert_eq!(at(shape(3200, 900, (1, 1))), (0, 90, 640, 180));
        assert_eq!(at(shape(8000, 8, (1, 1))), (0, 178, 640, 2));
    }

    #[test]
    fn the_shape_of_a_picture_is_what_is_shown_of_it() {
        // Television of 16:9 and of 4:3 has as many pixels.
        let (wide, narrow) = (shape(720, 576, (64, 45)), shape(720, 576, (16, 15)));
        let place = place(narrow.ratio() / wide.ratio(), wide.size);
        assert_eq!((place.x, place.size.width), (90, 540));
        assert!(letterbox(wide, wide, narrow.size).is_none());
        let turned = wide.turned();
        assert!((turned.ratio() * wide.ratio() - 1.0).abs() < 1e-9);
    }
}
