//! One picture as plain pixels, for activities that draw on it.

use std::path::Path;

use super::footage;
use super::report::Size;
use super::thumbnail::{self, Format, MAX_PIXELS};
use super::vips::{self, Image};
use crate::tool::ToolError;

/// Red, green, blue and alpha.
const RGBA: usize = 4;

/// A picture in memory: upright, in sRGB, with 8 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Still {
    size: Size,
    rgba: Vec<u8>,
}

impl Still {
    /// Reads the first picture of a JPEG, PNG, GIF, WebP, HEIC, AVIF or TIFF. What it is is told by
    /// its bytes, and nothing is decoded of one with more than `max_pixels`, or 100 million. Call it
    /// in a [`Tool`](crate::tool::Tool): files are hostile, and decoders have bugs.
    ///
    /// # Errors
    /// Class `input`: `empty_source`, `not_image`, `vector_refused`, `hdr_unsupported`,
    /// `too_many_pixels`, `image_damaged`.
    pub fn read(file: &Path, max_pixels: u64) -> Result<Self, ToolError> {
        let Size { width, height } = thumbnail::inspect(file)?.size;
        let max_pixels = max_pixels.min(MAX_PIXELS);
        if u64::from(width) * u64::from(height) > max_pixels {
            return Err(ToolError::input(
                "too_many_pixels",
                format!(
                    "the picture has {width} x {height} pixels; at most {max_pixels} are taken: \
                     scale it down"
                ),
            ));
        }
        Self::of(&vips::first_picture(file, Size { width, height })?)
    }

    fn of(image: &Image) -> Result<Self, ToolError> {
        let pixels = image.pixels()?;
        let rgba = if image.has_alpha() {
            pixels
        } else {
            let opaque = |rgb: &[u8]| [rgb[0], rgb[1], rgb[2], u8::MAX];
            pixels.chunks_exact(RGBA - 1).flat_map(opaque).collect()
        };
        Ok(Self {
            size: image.size(),
            rgba,
        })
    }

    /// Width and height.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }

    /// Red, green, blue and alpha of each pixel, row by row from the top; colours are not
    /// multiplied by alpha.
    #[must_use]
    pub fn rgba(&self) -> &[u8] {
        &self.rgba
    }

    /// The same to draw on.
    pub fn rgba_mut(&mut self) -> &mut [u8] {
        &mut self.rgba
    }

    /// The picture in another size; its shape may change.
    ///
    /// # Errors
    /// `vips_failed`.
    pub fn resized(&self, to: Size) -> Result<Self, ToolError> {
        Self::of(&self.image()?.resized(to)?)
    }

    /// Writes it in a format, on white where that cannot be seen through. `quality`, 1 to 100, is
    /// for those that lose something.
    ///
    /// # Errors
    /// `vips_failed`, and those of [`ToolError::io`].
    pub fn write(&self, file: &Path, format: Format, quality: Option<u8>) -> Result<(), ToolError> {
        let mut image = self.image()?;
        if !format.has_alpha() {
            image = image.on_white()?;
        }
        let encoded = image.encode(format.extension(), &format.saver_options(quality))?;
        footage::write(file, &encoded).map(drop)
    }

    fn image(&self) -> Result<Image, ToolError> {
        Image::from_pixels((self.size, RGBA as u32), &self.rgba)
    }
}
