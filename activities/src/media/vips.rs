//! The few calls of libvips that telecine makes, made safe.
//!
//! Pictures come as plain rows of RGB bytes and leave as encoded files. The crate `libvips` 2.3
//! offers savers of its own, but passes them options that libvips 8.14 refuses; suffixes with
//! options (`.jpg[Q=80]`) work with every version.
#![expect(
    unsafe_code,
    reason = "libvips is a C library; this is its only wrapper"
)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use libvips::bindings as ffi;
use telecine_engine::activity::ErrorClass;

use super::report::Size;
use crate::tool::ToolError;

/// A picture in memory, or several of one size below each other.
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
        const BANDS: c_int = 3;
        start()?;
        let coordinate = |pixels| c_int::try_from(pixels).map_err(|_| failed("too large"));
        let (width, height) = (coordinate(size.width)?, coordinate(size.height)?);
        // SAFETY: `bytes` outlives the call, which copies them; libvips refuses a length that does
        // not fit the size.
        let raw = unsafe {
            ffi::vips_image_new_from_memory_copy(
                bytes.as_ptr().cast::<c_void>(),
                bytes.len() as ffi::size_t,
                width,
                height,
                BANDS,
                ffi::VipsBandFormat_VIPS_FORMAT_UCHAR,
            )
        };
        NonNull::new(raw)
            .map(|raw| Self { raw })
            .ok_or_else(last_error)
    }

    /// Makes it an animation that repeats for ever: pages of equal height from top to bottom, each
    /// shown for its delay in milliseconds.
    pub(crate) fn animate(&mut self, page_height: u32, delays_ms: &[u32]) {
        let clamped = |value: u32| c_int::try_from(value).unwrap_or(c_int::MAX);
        let delays: Vec<c_int> = delays_ms.iter().copied().map(clamped).collect();
        let image = self.raw.as_ptr();
        // SAFETY: nobody else holds the image, names are literals that end with NUL, and the array
        // is copied.
        unsafe {
            ffi::vips_image_set_int(image, c"page-height".as_ptr(), clamped(page_height));
            ffi::vips_image_set_int(image, c"loop".as_ptr(), 0);
            let count = clamped(u32::try_from(delays.len()).unwrap_or(u32::MAX));
            ffi::vips_image_set_array_int(image, c"delay".as_ptr(), delays.as_ptr(), count);
        }
    }

    /// Encodes it as `jpg`, `webp` or `gif`, with options of that saver (`Q=80,...`) and without
    /// metadata: otherwise libvips adds an EXIF block that says nothing, and some readers dislike.
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
        if result != 0 || buffer.is_null() {
            return Err(last_error());
        }
        // SAFETY: libvips gave `length` bytes that now belong to us; they are copied, then freed
        // by the allocator they came from.
        unsafe {
            let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), length as usize).to_vec();
            ffi::g_free(buffer);
            Ok(bytes)
        }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        // SAFETY: the one reference that the constructor was given.
        unsafe { ffi::g_object_unref(self.raw.as_ptr().cast()) }
    }
}

/// Starts libvips once: one thread (steps are what runs in parallel), no cache of operations (a
/// process makes few pictures), no loader that was never hardened.
fn start() -> Result<(), ToolError> {
    static STARTED: OnceLock<bool> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        // SAFETY: the name is a literal that ends with NUL; `OnceLock` runs this once.
        unsafe {
            let started = ffi::vips_init(c"telecine".as_ptr()) == 0;
            if started {
                ffi::vips_concurrency_set(1);
                ffi::vips_cache_set_max(0);
                ffi::vips_block_untrusted_set(1);
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

/// How the installed version is told to leave metadata out.
fn no_metadata() -> &'static str {
    // SAFETY: these only read two numbers of the library.
    let version = unsafe { (ffi::vips_version(0), ffi::vips_version(1)) };
    if version >= (8, 15) {
        "keep=none"
    } else {
        "strip"
    }
}

/// What libvips says went wrong.
fn last_error() -> ToolError {
    // SAFETY: the buffer is a string that ends with NUL; it is copied before it is cleared.
    let message = unsafe {
        let message = CStr::from_ptr(ffi::vips_error_buffer())
            .to_string_lossy()
            .into_owned();
        ffi::vips_error_clear();
        message
    };
    failed(message.trim())
}

fn failed(why: &str) -> ToolError {
    ToolError::new(
        ErrorClass::Bug,
        "vips_failed",
        format!("libvips could not make the picture: {why}"),
    )
}
