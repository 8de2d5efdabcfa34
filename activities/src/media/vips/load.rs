//! Pictures from files. Nothing is decoded before its pixels are asked for, and files are read
//! from top to bottom, so that memory does not grow with a picture where its format allows that.

use std::ffi::{CStr, CString, c_int, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};

use libvips::bindings as ffi;

use super::{FAILED, Image, coordinate, last_error, start, take_message};
use crate::media::report::Size;
use crate::tool::ToolError;

/// What libvips says may stand in an error's message.
const MAX_QUOTE_CHARS: usize = 200;

/// What a file says of its pictures before anything is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The class of libvips that reads it: `VipsForeignLoadPngSource`.
    pub(crate) loader: String,
    /// As stored.
    pub(crate) stored: Size,
    /// Number of pictures in the file.
    pub(crate) pages: u32,
    /// Whether it lies on its side, as EXIF says.
    pub(crate) lying: bool,
}

/// Reads the header of a file; the name needs no extension.
///
/// # Errors
/// `image_damaged`, class `input`, if no loader that may run takes it, or its header makes no sense.
pub(crate) fn header(path: &Path) -> Result<Header, ToolError> {
    let source = Source::open(path)?;
    let loader = source.loader()?;
    let image = source.image(c"")?;
    let raw = image.raw.as_ptr();
    // SAFETY: the image lives; these read its header.
    let (pages, orientation) = unsafe {
        (
            ffi::vips_image_get_n_pages(raw),
            ffi::vips_image_get_orientation(raw),
        )
    };
    Ok(Header {
        loader,
        stored: image.size(),
        pages: pages.unsigned_abs().max(1),
        // EXIF counts the eight ways to lie from 1; the last four are on a side.
        lying: (5..=8).contains(&orientation),
    })
}

/// The first picture of a file, upright, in sRGB with 8 bits, not larger than a box and not larger
/// than it is; in memory.
///
/// # Errors
/// `image_damaged`, class `input`.
pub(crate) fn first_picture(path: &Path, within: Size) -> Result<Image, ToolError> {
    let source = Source::open(path)?;
    let (width, height) = (coordinate(within.width)?, coordinate(within.height)?);
    let managed = needs_profile(&source.image(c"")?);
    // One that was read from is not at its start any more.
    let source = Source::open(path)?;
    let mut out = ptr::null_mut();
    // SAFETY: the source lives, names and texts are literals that end with NUL, each name is
    // followed by a value of its type, and the list ends with NULL. A list that ends after
    // `fail-on` leaves colours to `in_srgb`.
    let result = unsafe {
        let profile = if managed {
            c"export-profile".as_ptr()
        } else {
            ptr::null()
        };
        ffi::vips_thumbnail_source(
            source.raw.as_ptr(),
            &raw mut out,
            width,
            c"height".as_ptr(),
            height,
            c"size".as_ptr(),
            ffi::VipsSize_VIPS_SIZE_DOWN,
            c"fail-on".as_ptr(),
            ffi::VipsFailOn_VIPS_FAIL_ON_TRUNCATED,
            profile,
            c"srgb".as_ptr(),
            ptr::null::<c_void>(),
        )
    };
    if result != 0 {
        return Err(damaged(path));
    }
    let image = Image::owned(out)?.in_srgb()?;
    image.in_memory().map_err(|error| blame_file(&error, path))
}

/// Whether colours mean something else than sRGB: there is a profile, or the picture is CMYK,
/// which always needs one.
fn needs_profile(image: &Image) -> bool {
    let raw = image.raw.as_ptr();
    // SAFETY: the image lives and the name is a literal that ends with NUL.
    unsafe {
        ffi::vips_image_get_typeof(raw, c"icc-profile-data".as_ptr()) != 0
            || ffi::vips_image_get_interpretation(raw)
                == ffi::VipsInterpretation_VIPS_INTERPRETATION_CMYK
    }
}

/// When the pictures of an animation are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How long each is shown, in milliseconds.
    pub(crate) delays_ms: Vec<u32>,
    /// How often it is shown; 0 is for ever.
    pub(crate) times: u32,
}

/// The pictures of an animation, in order.
#[derive(Debug)]
pub(crate) struct Frames {
    path: PathBuf,
    stack: Image,
    size: Size,
    count: u32,
    next: u32,
    /// When they are shown.
    pub(crate) timing: Timing,
}

/// Opens an animation of so many pictures.
///
/// # Errors
/// `image_damaged`, class `input`.
pub(crate) fn frames(path: &Path, count: u32) -> Result<Frames, ToolError> {
    let stack = Source::open(path)?.image(c"n=-1")?;
    let Size { width, height } = stack.size();
    let size = Size {
        width,
        height: height / count.max(1),
    };
    let timing = Timing {
        delays_ms: delays(&stack, count),
        times: integer(&stack, c"loop"),
    };
    let stack = if needs_profile(&stack) {
        to_srgb_by_profile(&stack)?
    } else {
        stack
    };
    Ok(Frames {
        path: path.to_owned(),
        stack: stack.in_srgb()?,
        size,
        count,
        next: 0,
        timing,
    })
}

impl Iterator for Frames {
    type Item = Result<Image, ToolError>;

    /// The next picture, in sRGB with 8 bits, in memory.
    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.count {
            return None;
        }
        let top = self.next * self.size.height;
        self.next += 1;
        let frame = self.stack.part((0, top), self.size);
        let frame = frame.and_then(|frame| frame.in_memory());
        Some(
            frame
                .map_err(|error| blame_file(&error, &self.path))
                .map(single),
        )
    }
}

/// A picture that does not count itself among others.
fn single(image: Image) -> Image {
    for name in [c"n-pages", c"page-height", c"delay", c"loop"] {
        // SAFETY: nobody else holds the image, which is in memory; names end with NUL.
        unsafe { ffi::vips_image_remove(image.raw.as_ptr(), name.as_ptr()) };
    }
    image
}

fn to_srgb_by_profile(image: &Image) -> Result<Image, ToolError> {
    // SAFETY: both images are valid, names and texts are literals that end with NUL, each name is
    // followed by a value of its type, and the list ends with NULL.
    image.derived(|image, out| unsafe {
        ffi::vips_icc_transform(
            image,
            out,
            c"srgb".as_ptr(),
            c"embedded".as_ptr(),
            1 as c_int,
            ptr::null::<c_void>(),
        )
    })
}

/// A number of the header; 0 if it is not there.
fn integer(image: &Image, name: &CStr) -> u32 {
    let mut value: c_int = 0;
    // SAFETY: the image lives, the name ends with NUL, and the value is only written on success.
    let result = unsafe {
        let raw = image.raw.as_ptr();
        if ffi::vips_image_get_typeof(raw, name.as_ptr()) == 0 {
            return 0;
        }
        ffi::vips_image_get_int(raw, name.as_ptr(), &raw mut value)
    };
    if result == 0 {
        value.max(0).unsigned_abs()
    } else {
        0
    }
}

/// How long each of so many pictures is shown; 100 ms, as browsers do, where nothing says.
fn delays(image: &Image, count: u32) -> Vec<u32> {
    const USUAL_MS: u32 = 100;
    let (mut array, mut length) = (ptr::null_mut::<c_int>(), 0);
    // SAFETY: the image lives, the name ends with NUL; on success the array has `length` numbers
    // and belongs to the image, so it is copied at once.
    let stated: Vec<u32> = unsafe {
        let (raw, name) = (image.raw.as_ptr(), c"delay".as_ptr());
        let known = ffi::vips_image_get_typeof(raw, name) != 0
            && ffi::vips_image_get_array_int(raw, name, &raw mut array, &raw mut length) == 0;
        let length = usize::try_from(length).unwrap_or(0);
        let numbers = if known && !array.is_null() {
            std::slice::from_raw_parts(array, length)
        } else {
            &[]
        };
        numbers
            .iter()
            .map(|delay| delay.max(&0).unsigned_abs())
            .collect()
    };
    let rest = std::iter::repeat(USUAL_MS);
    stated
        .into_iter()
        .chain(rest)
        .take(count as usize)
        .collect()
}

/// A file that libvips reads.
#[derive(Debug)]
struct Source<'a> {
    path: &'a Path,
    raw: NonNull<ffi::VipsSource>,
}

impl<'a> Source<'a> {
    /// The path is taken as it is: options in brackets, which libvips reads from names of files,
    /// are part of the name.
    fn open(path: &'a Path) -> Result<Self, ToolError> {
        start()?;
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|_| last_error())?;
        // SAFETY: the name ends with NUL and is copied.
        let raw = unsafe { ffi::vips_source_new_from_file(name.as_ptr()) };
        NonNull::new(raw)
            .map(|raw| Self { path, raw })
            .ok_or_else(last_error)
    }

    /// The loader that takes it, among those that may run.
    fn loader(&self) -> Result<String, ToolError> {
        // SAFETY: the source lives; the result is null or a name that is never freed.
        let name = unsafe { ffi::vips_foreign_find_load_source(self.raw.as_ptr()) };
        if name.is_null() {
            take_message();
            return Err(ToolError::input(
                "image_damaged",
                "no decoder takes the picture: it is damaged, or the one for HEIC and AVIF is not \
                 installed; export it again, as JPEG, PNG or WebP",
            ));
        }
        // SAFETY: it is a string that ends with NUL.
        Ok(unsafe { CStr::from_ptr(name) }
            .to_string_lossy()
            .into_owned())
    }

    /// Opens its pictures. `options` are those of its loader.
    fn image(&self, options: &CStr) -> Result<Image, ToolError> {
        // SAFETY: the source lives, the options are copied, names are literals that end with NUL,
        // each is followed by a value of its type, and the list ends with NULL.
        let raw = unsafe {
            ffi::vips_image_new_from_source(
                self.raw.as_ptr(),
                options.as_ptr(),
                c"access".as_ptr(),
                ffi::VipsAccess_VIPS_ACCESS_SEQUENTIAL,
                c"fail-on".as_ptr(),
                ffi::VipsFailOn_VIPS_FAIL_ON_TRUNCATED,
                ptr::null::<c_void>(),
            )
        };
        NonNull::new(raw)
            .map(|raw| Image { raw })
            .ok_or_else(|| damaged(self.path))
    }
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        // SAFETY: the one reference that the constructor was given; images hold their own.
        unsafe { ffi::g_object_unref(self.raw.as_ptr().cast()) }
    }
}

/// A file that cannot be decoded, in the words of libvips.
fn damaged(path: &Path) -> ToolError {
    explain(&take_message(), path)
}

/// What went wrong while pixels were computed lies in the file that they come from.
fn blame_file(error: &ToolError, path: &Path) -> ToolError {
    let said = error.message.strip_prefix(FAILED);
    explain(said.unwrap_or(&error.message), path)
}

fn explain(said: &str, path: &Path) -> ToolError {
    let line = said.lines().find(|line| !line.trim().is_empty());
    // Where the worker keeps its files is nobody's business.
    let line = line.map(|line| line.replace(&*path.to_string_lossy(), "source"));
    let line = line.unwrap_or_else(|| "no reason was given".to_owned());
    let why: String = line.trim().chars().take(MAX_QUOTE_CHARS).collect();
    ToolError::input(
        "image_damaged",
        format!("the picture cannot be decoded: {why}; export or upload it again"),
    )
}
