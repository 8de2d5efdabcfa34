//! Pictures of another shape than the rest of a video, inside its frame.

use gstreamer_video::{VideoConverterConfig, VideoInfo};

use super::report::Size;

/// Shapes that differ by less are the same: sizes are whole and even numbers of pixels.
const SAME_SHAPE: f64 = 0.02;

/// Part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    x: u32,
    y: u32,
    size: Size,
}

/// How a picture of a format is scaled into a frame that is shown with a shape (width over height): as large as it
/// fits, in the middle, with black around it.
pub(crate) fn letterbox(picture: &VideoInfo, frame: Size, shape: f64) -> VideoConverterConfig {
    let (across, down) = (f64::from(picture.width()), f64::from(picture.height()));
    let pixel = f64::from(picture.par().numer()) / f64::from(picture.par().denom());
    let place = place(across * pixel / down, frame, shape);
    let edge = |edge: u32| i32::try_from(edge).unwrap_or(i32::MAX);
    let mut config = VideoConverterConfig::new();
    config.set_dest_x(edge(place.x));
    config.set_dest_y(edge(place.y));
    config.set_dest_width(Some(edge(place.size.width)));
    config.set_dest_height(Some(edge(place.size.height)));
    config
}

/// Where a picture with a shape goes. Everything is even, as chroma is.
fn place(picture: f64, frame: Size, shape: f64) -> Place {
    let part = picture / shape;
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

    #[test]
    fn pictures_are_as_large_as_they_fit_and_in_the_middle() {
        let frame = Size {
            width: 640,
            height: 360,
        };
        let at = |picture: f64| {
            let Place { x, y, size } = place(picture, frame, 16.0 / 9.0);
            (x, y, size.width, size.height)
        };
        assert_eq!(at(16.0 / 9.0), (0, 0, 640, 360));
        assert_eq!(at(854.0 / 480.0), (0, 0, 640, 360));
        assert_eq!(at(4.0 / 3.0), (80, 0, 480, 360));
        assert_eq!(at(9.0 / 16.0), (218, 0, 202, 360));
        assert_eq!(at(32.0 / 9.0), (0, 90, 640, 180));
        assert_eq!(at(1000.0), (0, 178, 640, 2));
    }

    #[test]
    fn the_shape_of_the_frame_is_what_is_shown_of_it() {
        // A frame of 4:3 whose pixels are wider than high, shown as 16:9.
        let frame = Size {
            width: 720,
            height: 576,
        };
        assert_eq!(place(16.0 / 9.0, frame, 16.0 / 9.0).size, frame);
        let narrow = place(4.0 / 3.0, frame, 16.0 / 9.0);
        assert_eq!((narrow.x, narrow.size.width), (90, 540));
    }
}
