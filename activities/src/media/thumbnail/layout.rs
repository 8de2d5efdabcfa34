//! Sizes on the way from a picture to an output. Pure.

use super::output::{Fit, Output};
use crate::media::report::Size;

/// How a picture becomes an output: it is scaled, cut to its middle, and put in the middle of a
/// canvas. Sizes that follow each other are equal where there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) scaled: Size,
    pub(super) cropped: Size,
    pub(super) canvas: Size,
}

impl Layout {
    /// The layout of an output for an upright source.
    pub(super) fn of(source: Size, output: &Output) -> Self {
        let free = Size {
            width: output.width.unwrap_or(source.width),
            height: output.height.unwrap_or(source.height),
        };
        match (output.fit, output.width, output.height) {
            (Fit::Cover, Some(_), Some(_)) => Self::cover(source, free),
            (Fit::Contain, Some(_), Some(_)) => Self {
                canvas: free,
                ..Self::inside(source, free)
            },
            // A box that is open on one side is filled and not exceeded at the same time.
            _ => Self::inside(source, free),
        }
    }

    fn inside(source: Size, within: Size) -> Self {
        let scaled = fit(source, within);
        Self {
            scaled,
            cropped: scaled,
            canvas: scaled,
        }
    }

    fn cover(source: Size, wanted: Size) -> Self {
        // The largest box of that shape that the source can fill.
        let filled = fit(wanted, source);
        let scaled = around(source, filled);
        Self {
            scaled,
            cropped: filled,
            canvas: filled,
        }
    }
}

/// The largest size of the shape of `size` inside a box; not larger than it is.
fn fit(size: Size, within: Size) -> Size {
    if size.width <= within.width && size.height <= within.height {
        return size;
    }
    if within.width as u64 * u64::from(size.height) <= within.height as u64 * u64::from(size.width)
    {
        Size {
            width: within.width,
            height: scaled(size.height, within.width, size.width),
        }
    } else {
        Size {
            width: scaled(size.width, within.height, size.height),
            height: within.height,
        }
    }
}

/// The smallest size of the shape of `size` that fills a box.
fn around(size: Size, filled: Size) -> Size {
    let by_width = scaled(size.height, filled.width, size.width);
    if by_width >= filled.height {
        Size {
            width: filled.width,
            height: by_width,
        }
    } else {
        Size {
            width: scaled(size.width, filled.height, size.height).max(filled.width),
            height: filled.height,
        }
    }
}

/// `edge * num / den`, rounded, at least 1.
fn scaled(edge: u32, num: u32, den: u32) -> u32 {
    let (edge, num, den) = (u64::from(edge), u64::from(num), u64::from(den.max(1)));
    u32::try_from(((edge * num + den / 2) / den).max(1)).unwrap_or(u32::MAX)
}

/// The smallest size of the shape of `source` from which all of `sizes` can be scaled down.
pub(super) fn covering(source: Size, sizes: impl Iterator<Item = Size>) -> Size {
    sizes.fold(
        Size {
            width: 1,
            height: 1,
        },
        |largest, size| Size {
            width: largest.width.max(size.width).min(source.width),
            height: largest.height.max(size.height).min(source.height),
        },
    )
}

/// Where something begins that is in the middle of something larger.
pub(super) fn centred(outer: Size, inner: Size) -> (u32, u32) {
    let margin = |outer: u32, inner: u32| outer.saturating_sub(inner) / 2;
    (
        margin(outer.width, inner.width),
        margin(outer.height, inner.height),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::thumbnail::output::{Animation, Format};

    const fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    fn layout(source: Size, fit: Fit, (width, height): (Option<u32>, Option<u32>)) -> Layout {
        let output = Output {
            variant: "test".to_owned(),
            width,
            height,
            fit,
            format: Format::Png,
            quality: None,
            animation: Animation::Keep,
        };
        Layout::of(source, &output)
    }

    #[test]
    fn each_way_to_fit_gives_its_sizes() {
        let photo = size(4000, 3000);
        let square = (Some(300), Some(300));
        let inside = layout(photo, Fit::Inside, square);
        assert_eq!(inside.canvas, size(300, 225));
        let cover = layout(photo, Fit::Cover, square);
        assert_eq!(
            (cover.scaled, cover.canvas),
            (size(400, 300), size(300, 300))
        );
        let contain = layout(photo, Fit::Contain, square);
        assert_eq!(
            (contain.cropped, contain.canvas),
            (size(300, 225), size(300, 300))
        );
        let by_width = layout(photo, Fit::Cover, (Some(400), None));
        assert_eq!(by_width.canvas, size(400, 300));
        let as_it_is = layout(photo, Fit::Inside, (None, None));
        assert_eq!(as_it_is.canvas, photo);
    }

    #[test]
    fn nothing_is_enlarged() {
        let small = size(100, 50);
        let large = (Some(400), Some(400));
        assert_eq!(layout(small, Fit::Inside, large).canvas, small);
        assert_eq!(layout(small, Fit::Cover, large).canvas, size(50, 50));
        let contain = layout(small, Fit::Contain, large);
        assert_eq!((contain.cropped, contain.canvas), (small, size(400, 400)));
    }

    #[test]
    fn extreme_shapes_keep_a_pixel() {
        let line = layout(size(10_000, 1), Fit::Inside, (Some(100), Some(100)));
        assert_eq!(line.canvas, size(100, 1));
        for fit in [Fit::Inside, Fit::Cover, Fit::Contain] {
            for source in [size(1, 1), size(3, 7), size(9999, 2)] {
                let Layout {
                    scaled,
                    cropped,
                    canvas,
                } = layout(source, fit, (Some(5), Some(3)));
                assert!(scaled.width >= cropped.width && scaled.height >= cropped.height);
                assert!(canvas.width >= cropped.width && canvas.height >= cropped.height);
            }
        }
    }
}
