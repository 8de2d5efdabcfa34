//! The few calls of libvips that telecine makes, made safe.
//!
//! Pictures come as plain rows of RGB bytes or from files of the few kinds whose loaders are fit
//! for hostile input, and leave as encoded files. The crate `libvips` 2.3 offers savers and a
//! thumbnailer of its own, but passes them options that libvips 8.14 refuses; suffixes with
//! options (`.jpg[Q=80]`) and the calls of C work with every version.
#![expect(
    unsafe_code,
    reason = "libvips is a C library; this is its only wrapper"
)]

mod load;
mod webp;

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use libvips::bindings as ffi;
use telecine_engine::activity::ErrorClass;

use super::report::Size;
use crate::tool::ToolError;

pub(crate) use load::{Header, Timing, first_picture, frames, header};

/// Loaders that may run: the formats of photographs and animations on the web, all of which hold
/// their pixels themselves and are fuzzed for years. Everything else that libvips was built with
/// (SVG, PDF, ImageMagick and its delegates, ...) stays blocked.
const LOADERS: [&CStr; 6] = [
    c"VipsForeignLoadJpeg",
    c"VipsForeignLoadPng",
    c"VipsForeignLoadWebp",
    c"VipsForeignLoadNsgif",
    c"VipsForeignLoadHeif",
    c"VipsForeignLoadTiff",
];

/// How errors of operations begin.
const FAILED: &str = "libvips could not make the picture: ";

/// Red, green and blue.
const RGB_BANDS: u32 = 3;

/// A picture, or several of one size below each other. Made when its pixels are needed, unless it
/// is [in memory](Image::in_memory).
#[derive(Debug)]
pub(crate) struct Image {
    raw: NonNull<ffi::VipsImage>,
}

impl Image {
    /// A picture of `3 * width * height` bytes: red, green and blue (sRGB) of each pixel.
    ///
    /// # Errors
    /// `vips_missing` if libvips does not start, `vips_failed` if it refuses the picture.
    pub(crate) fn from_rgb(size: Size, bytes: &[u8]) -> Result<Self, ToolError> {
        Self::from_pixels((size, RGB_BANDS), bytes)
    }

    /// A picture of `bands * width * height` bytes in sRGB: three bands, or a fourth that is alpha.
    /// There is no metadata about it.
    ///
    /// # Errors
    /// As [`Image::from_rgb`].
    pub(crate) fn from_pixels((size, bands): (Size, u32), bytes: &[u8]) -> Result<Self, ToolError> {
        start()?;
        let (width, height) = (coordinate(size.width)?, coordinate(size.height)?);
        let bands = coordinate(bands)?;
        // SAFETY: `bytes` outlives the call, which copies them; libvips refuses a length that does
        // not fit the size.
        let raw = unsafe {
            ffi::vips_image_new_from_memory_copy(
                bytes.as_ptr().cast::<c_void>(),
                bytes.len() as ffi::size_t,
                width,
                height,
                bands,
                ffi::VipsBandFormat_VIPS_FORMAT_UCHAR,
            )
        };
        // SAFETY: both images are valid, the name is a literal that ends with NUL, it is followed
        // by a value of its type, and the list ends with NULL.
        Self::owned(raw)?.derived(|image, out| unsafe {
            ffi::vips_copy(
                image,
                out,
                c"interpretation".as_ptr(),
                ffi::VipsInterpretation_VIPS_INTERPRETATION_sRGB,
                ptr::null::<c_void>(),
            )
        })
    }

    /// Takes a reference that libvips gave away.
    fn owned(raw: *mut ffi::VipsImage) -> Result<Self, ToolError> {
        NonNull::new(raw)
            .map(|raw| Self { raw })
            .ok_or_else(last_error)
    }

    /// The result of an operation on this picture.
    fn derived(
        &self,
        operation: impl FnOnce(*mut ffi::VipsImage, *mut *mut ffi::VipsImage) -> c_int,
    ) -> Result<Self, ToolError> {
        let mut out = ptr::null_mut();
        if operation(self.raw.as_ptr(), &raw mut out) != 0 {
            return Err(last_error());
        }
        Self::owned(out)
    }

    /// Size of the picture; of the whole stack, if there are several.
    pub(crate) fn size(&self) -> Size {
        // SAFETY: the image lives; both only read its header.
        let (width, height) = unsafe {
            let image = self.raw.as_ptr();
            (
                ffi::vips_image_get_width(image),
                ffi::vips_image_get_height(image),
            )
        };
        Size {
            width: width.unsigned_abs(),
            height: height.unsigned_abs(),
        }
    }

    /// Bytes of each pixel, of pictures in 8 bits.
    pub(crate) fn bands(&self) -> u32 {
        // SAFETY: the image lives; this only reads its header.
        unsafe { ffi::vips_image_get_bands(self.raw.as_ptr()) }.unsigned_abs()
    }

    /// Whether it can be seen through in places.
    pub(crate) fn has_alpha(&self) -> bool {
        // SAFETY: the image lives; this only reads its header.
        unsafe { ffi::vips_image_hasalpha(self.raw.as_ptr()) != 0 }
    }

    /// A copy whose pixels are computed now.
    ///
    /// # Errors
    /// `vips_failed`, also for what is wrong with the file that the picture comes from.
    pub(crate) fn in_memory(&self) -> Result<Self, ToolError> {
        // SAFETY: the image lives; the result is a new reference or null.
        Self::owned(unsafe { ffi::vips_image_copy_memory(self.raw.as_ptr()) })
    }

    /// The picture in another size, in sRGB with 8 bits; its shape may change.
    ///
    /// # Errors
    /// `vips_failed`.
    pub(crate) fn resized(&self, to: Size) -> Result<Self, ToolError> {
        let (width, height) = (coordinate(to.width)?, coordinate(to.height)?);
        // SAFETY: both images are valid, names are literals that end with NUL, each is followed
        // by a value of its type, and the list ends with NULL.
        self.derived(|image, out| unsafe {
            ffi::vips_thumbnail_image(
                image,
                out,
                width,
                c"height".as_ptr(),
                height,
                c"size".as_ptr(),
                ffi::VipsSize_VIPS_SIZE_FORCE,
                ptr::null::<c_void>(),
            )
        })
    }

    /// The picture in sRGB with 8 bits, taken as it is: profiles are not looked at.
    ///
    /// # Errors
    /// `vips_failed`.
    pub(crate) fn in_srgb(&self) -> Result<Self, ToolError> {
        // SAFETY: both images are valid and the list ends with NULL.
        self.derived(|image, out| unsafe {
            ffi::vips_colourspace(
                image,
                out,
                ffi::VipsInterpretation_VIPS_INTERPRETATION_sRGB,
                ptr::null::<c_void>(),
            )
        })
    }

    /// A part of the picture.
    ///
    /// # Errors
    /// `vips_failed` if it is not inside.
    pub(crate) fn part(&self, (left, top): (u32, u32), size: Size) -> Result<Self, ToolError> {
        let (left, top) = (coordinate(left)?, coordinate(top)?);
        let (width, height) = (coordinate(size.width)?, coordinate(size.height)?);
        // SAFETY: both images are valid and the list ends with NULL.
        self.derived(|image, out| unsafe {
            let end = ptr::null::<c_void>();
            ffi::vips_extract_area(image, out, left, top, width, height, end)
        })
    }

    /// The picture on a larger canvas, which can be seen through around it.
    ///
    /// # Errors
    /// `vips_failed`.
    pub(crate) fn on_canvas(&self, (left, top): (u32, u32), size: Size) -> Result<Self, ToolError> {
        let (left, top) = (coordinate(left)?, coordinate(top)?);
        let (width, height) = (coordinate(size.width)?, coordinate(size.height)?);
        // SAFETY: both images are valid and the list ends with NULL.
        let with_alpha = |image, out| unsafe {
            let end = ptr::null::<c_void>();
            ffi::vips_addalpha(image, out, end)
        };
        let place = |image, out| {
            let end = ptr::null::<c_void>();
            // SAFETY: as above; what is around is 0 in every band, alpha included.
            unsafe { ffi::vips_embed(image, out, left, top, width, height, end) }
        };
        if self.has_alpha() {
            return self.derived(place);
        }
        self.derived(with_alpha)?.derived(place)
    }

    /// The picture on white, without alpha.
    ///
    /// # Errors
    /// `vips_failed`.
    pub(crate) fn on_white(&self) -> Result<Self, ToolError> {
        let white = [255.0_f64; 3];
        // SAFETY: the array is copied and then belongs to us alone.
        let background = unsafe { ffi::vips_array_double_new(white.as_ptr(), 3) };
        // SAFETY: both images and the array are valid, and the list ends with NULL.
        let flat = self.derived(|image, out| unsafe {
            ffi::vips_flatten(
                image,
                out,
                c"background".as_ptr(),
                background,
                ptr::null::<c_void>(),
            )
        });
        // SAFETY: the reference that the constructor gave; the operation has its own.
        unsafe { ffi::vips_area_unref(background.cast()) };
        flat
    }

    /// Its pixels, row by row without padding; for pictures in 8 bits.
    ///
    /// # Errors
    /// `vips_failed`.
    pub(crate) fn pixels(&self) -> Result<Vec<u8>, ToolError> {
        let mut length: ffi::size_t = 0;
        // SAFETY: the image lives, and the length is set when the call succeeds.
        let pixels = unsafe { ffi::vips_image_write_to_memory(self.raw.as_ptr(), &raw mut length) };
        // SAFETY: libvips gave `length` bytes that now belong to us.
        unsafe { taken(pixels, length) }
    }

    /// Makes it an animation: pages of equal height from top to bottom, each shown for its delay in
    /// milliseconds, so many times; 0 is for ever.
    pub(crate) fn animate(&mut self, page_height: u32, delays_ms: &[u32], times: u32) {
        let clamped = |value: u32| c_int::try_from(value).unwrap_or(c_int::MAX);
        let delays: Vec<c_int> = delays_ms.iter().copied().map(clamped).collect();
        let image = self.raw.as_ptr();
        // SAFETY: nobody else holds the image, names are literals that end with NUL, and the array
        // is copied.
        unsafe {
            ffi::vips_image_set_int(image, c"page-height".as_ptr(), clamped(page_height));
            ffi::vips_image_set_int(image, c"loop".as_ptr(), clamped(times));
            let count = clamped(u32::try_from(delays.len()).unwrap_or(u32::MAX));
            ffi::vips_image_set_array_int(image, c"delay".as_ptr(), delays.as_ptr(), count);
        }
    }

    /// Encodes it as `jpg`, `webp`, `avif`, `png` or `gif`, with options of that saver (`Q=80,...`)
    /// and without metadata.
    ///
    /// # Errors
    /// `vips_failed`.
    pub(crate) fn encode(&self, format: &str, options: &str) -> Result<Vec<u8>, ToolError> {
        let suffix = CString::new(format!(".{format}[{options},{}]", no_metadata()))
            .map_err(|_| failed("bad option"))?;
        let mut buffer: *mut c_void = ptr::null_mut();
        let mut length: ffi::size_t = 0;
        // SAFETY: the image lives, the variadic list ends with NULL, and both results are set when
        // the call succeeds.
        let result = unsafe {
            ffi::vips_image_write_to_buffer(
                self.raw.as_ptr(),
                suffix.as_ptr(),
                &raw mut buffer,
                &raw mut length,
                ptr::null::<c_void>(),
            )
        };
        if result != 0 {
            return Err(last_error());
        }
        // SAFETY: libvips gave `length` bytes that now belong to us.
        let encoded = unsafe { taken(buffer, length) }?;
        Ok(match format {
            "webp" => webp::without_metadata(encoded),
            _ => encoded,
        })
    }
}

/// Copies bytes that libvips gave away, and frees them.
///
/// # Safety
/// `buffer` is null, or `length` bytes of the allocator of GLib that nobody else uses.
unsafe fn taken(buffer: *mut c_void, length: ffi::size_t) -> Result<Vec<u8>, ToolError> {
    if buffer.is_null() {
        return Err(last_error());
    }
    // SAFETY: as the caller promises.
    unsafe {
        let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), length as usize).to_vec();
        ffi::g_free(buffer);
        Ok(bytes)
    }
}

fn coordinate(pixels: u32) -> Result<c_int, ToolError> {
    c_int::try_from(pixels).map_err(|_| failed("too large"))
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: the one reference that the constructor was given.
        unsafe { ffi::g_object_unref(self.raw.as_ptr().cast()) }
    }
}

/// Starts libvips once: one thread (steps are what runs in parallel), no cache of operations (a
/// process makes few pictures), no loader but [`LOADERS`].
fn start() -> Result<(), ToolError> {
    static STARTED: OnceLock<bool> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        // SAFETY: names are literals that end with NUL; `OnceLock` runs this once.
        unsafe {
            let started = ffi::vips_init(c"telecine".as_ptr()) == 0;
            if started {
                ffi::vips_concurrency_set(1);
                ffi::vips_cache_set_max(0);
                ffi::vips_block_untrusted_set(1);
                ffi::vips_operation_block_set(c"VipsForeignLoad".as_ptr(), 1);
                for loader in LOADERS {
                    ffi::vips_operation_block_set(loader.as_ptr(), 0);
                }
            }
            started
        }
    });
    if *started {
        return Ok(());
    }
    Err(ToolError::new(
        ErrorClass::Config,
        "vips_missing",
        "libvips does not start; run `telecine doctor`",
    ))
}

/// Whether the installed library starts and is new enough.
pub(super) fn is_usable() -> bool {
    start().is_ok() && version_numbers() >= OLDEST
}

/// The oldest version that will do.
const OLDEST: [c_int; 3] = [8, 14, 0];

/// The version of the installed library: `libvips 8.14.1`.
pub(crate) fn version() -> String {
    let [major, minor, micro] = version_numbers();
    format!("libvips {major}.{minor}.{micro}")
}

fn version_numbers() -> [c_int; 3] {
    // SAFETY: this only reads numbers of the library.
    [0, 1, 2].map(|part| unsafe { ffi::vips_version(part) })
}

/// How the installed version is told to leave metadata out.
fn no_metadata() -> &'static str {
    if version_numbers() >= [8, 15, 0] {
        "keep=none"
    } else {
        "strip"
    }
}

/// What libvips says went wrong.
fn last_error() -> ToolError {
    failed(take_message().trim())
}

/// Takes what libvips has said since it was last asked.
fn take_message() -> String {
    // SAFETY: the buffer is a string that ends with NUL; it is copied before it is cleared.
    unsafe {
        let message = CStr::from_ptr(ffi::vips_error_buffer())
            .to_string_lossy()
            .into_owned();
        ffi::vips_error_clear();
        message
    }
}

fn failed(why: &str) -> ToolError {
    ToolError::new(ErrorClass::Bug, "vips_failed", format!("{FAILED}{why}"))
}
