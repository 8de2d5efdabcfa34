//! What a picture is, by its first bytes, before any library opens it.
//!
//! Only kinds that hold their pixels themselves pass. A drawing (SVG, PDF, PostScript, MVG, ...) is
//! a program: it names other files and addresses, and takes as long as it likes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::complete;
use crate::tool::ToolError;

/// How much of a file is looked at: drawings declare themselves behind comments, HEIC and AVIF
/// describe their colours behind a list of all tiles.
const HEAD_BYTES: u64 = 64 << 10;

/// Transfer functions of high dynamic range in the numbers of ITU-T H.273: PQ and HLG.
const HDR_TRANSFERS: [u8; 2] = [16, 18];

/// A kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Jpeg,
    Png,
    Gif,
    Webp,
    Heif,
    Tiff,
}

/// Brands of HEIC and AVIF, and the general ones that come before them.
const HEIF_BRANDS: [&[u8; 4]; 12] = [
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis",
    b"mif2", b"1pic",
];

/// How drawings begin.
const DRAWINGS: [&str; 8] = [
    "%pdf",
    "%!",
    "<svg",
    "<!doctype svg",
    "push graphic-context",
    "viewbox ",
    "<?xml",
    "gimp xcf",
];

impl Kind {
    /// Its name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Heif => "heif",
            Self::Tiff => "tiff",
        }
    }

    /// Whether its pictures are an animation, if there are several.
    pub(super) fn may_move(self) -> bool {
        matches!(self, Self::Gif | Self::Webp)
    }

    /// Holds libvips to the same view of the file.
    ///
    /// # Errors
    /// `not_image` if it would read the file as something else.
    pub(super) fn check_loader(self, loader: &str) -> Result<(), ToolError> {
        let expected = match self {
            Self::Jpeg => "VipsForeignLoadJpeg",
            Self::Png => "VipsForeignLoadPng",
            Self::Gif => "VipsForeignLoadNsgif",
            Self::Webp => "VipsForeignLoadWebp",
            Self::Heif => "VipsForeignLoadHeif",
            Self::Tiff => "VipsForeignLoadTiff",
        };
        if loader.starts_with(expected) {
            return Ok(());
        }
        Err(not_image())
    }
}

/// The kind of a file.
///
/// # Errors
/// `empty_source`, `vector_refused`, `not_image`, `hdr_unsupported`, `image_damaged`, and those of
/// [`ToolError::io`].
pub(super) fn of(path: &Path) -> Result<Kind, ToolError> {
    let failed = |error| ToolError::io("read the source", error);
    let mut head = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(HEAD_BYTES)
        .read_to_end(&mut head)
        .map_err(failed)?;
    if head.is_empty() {
        return Err(ToolError::input("empty_source", "the source has no bytes"));
    }
    match raster(&head) {
        Some(Kind::Heif) if is_hdr(&head) => Err(hdr_unsupported()),
        Some(Kind::Jpeg) if !complete::jpeg(path).map_err(failed)? => Err(cut_off()),
        Some(Kind::Png) if !complete::png(path).map_err(failed)? => Err(cut_off()),
        Some(kind) => Ok(kind),
        None if is_drawing(&head) => Err(vector_refused()),
        None => Err(not_image()),
    }
}

/// Whether the first picture of a HEIC or AVIF has a high dynamic range. Its colours are described
/// first; those that follow belong to previews, alpha and gain maps.
fn is_hdr(head: &[u8]) -> bool {
    let described = head.windows(4).position(|name| name == b"colr");
    let colours = described.map(|at| &head[at + 4..]);
    matches!(
        colours,
        Some([b'n', b'c', b'l', b'x', _, _, 0, transfer, ..]) if HDR_TRANSFERS.contains(transfer)
    )
}

fn raster(head: &[u8]) -> Option<Kind> {
    match head {
        [0xff, 0xd8, 0xff, ..] => Some(Kind::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Kind::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Kind::Gif),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some(Kind::Webp),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Kind::Tiff),
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => {
            let brand = brand.first_chunk::<4>()?;
            HEIF_BRANDS.contains(&brand).then_some(Kind::Heif)
        }
        _ => None,
    }
}

/// Whether text begins like a drawing, or has one in it that a reader would find.
fn is_drawing(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n', '\0']);
    DRAWINGS.iter().any(|begin| text.starts_with(begin)) || text.contains("<svg")
}

fn vector_refused() -> ToolError {
    ToolError::input(
        "vector_refused",
        "the source is a drawing (SVG, PDF, PostScript or the like), which may name other files \
         and addresses; submit it as PNG or WebP",
    )
}

fn hdr_unsupported() -> ToolError {
    ToolError::input(
        "hdr_unsupported",
        "the picture has a high dynamic range (PQ or HLG), which is not handled yet; submit it in \
         standard dynamic range",
    )
}

fn cut_off() -> ToolError {
    ToolError::input(
        "image_damaged",
        "the picture ends before its end marker; upload it again",
    )
}

fn not_image() -> ToolError {
    ToolError::input(
        "not_image",
        "the source is no picture that is read: JPEG, PNG, GIF, WebP, HEIC, AVIF or TIFF",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_by_their_bytes() {
        let kinds: [(&[u8], Kind); 7] = [
            (b"\xff\xd8\xff\xe0", Kind::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Kind::Png),
            (b"GIF89a", Kind::Gif),
            (b"RIFF\0\0\0\0WEBPVP8X", Kind::Webp),
            (b"\0\0\0\x20ftypheic", Kind::Heif),
            (b"\0\0\0\x20ftypavif", Kind::Heif),
            (b"MM\0*", Kind::Tiff),
        ];
        for (head, kind) in kinds {
            assert_eq!(raster(head), Some(kind));
        }
        for head in [&b"\0\0\0\x20ftypisom"[..], b"RIFF\0\0\0\0WAVE", b"GIF", b""] {
            assert_eq!(raster(head), None);
        }
    }

    #[test]
    fn drawings_are_told_from_other_text() {
        for drawing in [
            "<svg xmlns='http://www.w3.org/2000/svg'/>",
            "\u{feff}  <?xml version='1.0'?><!-- --><svg/>",
            "<html><body><svg onload='x()'/></body></html>",
            "%PDF-1.7",
            "%!PS-Adobe-3.0 EPSF-3.0",
            "push graphic-context\nimage over 0,0 0,0 'https://example.org/x'",
        ] {
            assert!(is_drawing(drawing.as_bytes()), "{drawing}");
        }
        for other in ["<html><script>x()</script></html>", "#!/bin/sh\n", "MZ"] {
            assert!(!is_drawing(other.as_bytes()), "{other}");
        }
    }
}
