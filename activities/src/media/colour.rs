//! Colour descriptions in the words of a report and in GStreamer's.

use std::str::FromStr;

use gstreamer as gst;
use gstreamer_video::{
    VideoColorMatrix as Matrix, VideoColorPrimaries as Primaries, VideoColorRange as Range,
    VideoColorimetry, VideoContentLightLevel, VideoMasteringDisplayInfo,
    VideoTransferFunction as Transfer,
};

use super::report::Colour;

const RANGES: &[(Range, &str)] = &[(Range::Range0_255, "full"), (Range::Range16_235, "limited")];

const PRIMARIES: &[(Primaries, &str)] = &[
    (Primaries::Bt709, "bt709"),
    (Primaries::Bt470m, "bt470m"),
    (Primaries::Bt470bg, "bt470bg"),
    (Primaries::Smpte170m, "smpte170m"),
    (Primaries::Smpte240m, "smpte240m"),
    (Primaries::Film, "film"),
    (Primaries::Bt2020, "bt2020"),
    (Primaries::Smptest428, "smpte428"),
    (Primaries::Smpterp431, "smpte431"),
    (Primaries::Smpteeg432, "smpte432"),
];

const TRANSFERS: &[(Transfer, &str)] = &[
    (Transfer::Bt709, "bt709"),
    (Transfer::Bt601, "smpte170m"),
    (Transfer::Gamma22, "gamma22"),
    (Transfer::Gamma28, "gamma28"),
    (Transfer::Gamma10, "linear"),
    (Transfer::Smpte240m, "smpte240m"),
    (Transfer::Srgb, "iec61966-2-1"),
    (Transfer::Bt202010, "bt2020-10"),
    (Transfer::Bt202012, "bt2020-12"),
    (Transfer::Smpte2084, "smpte2084"),
    (Transfer::AribStdB67, "arib-std-b67"),
];

const MATRICES: &[(Matrix, &str)] = &[
    (Matrix::Rgb, "gbr"),
    (Matrix::Fcc, "fcc"),
    (Matrix::Bt709, "bt709"),
    (Matrix::Bt601, "smpte170m"),
    (Matrix::Smpte240m, "smpte240m"),
    (Matrix::Bt2020, "bt2020nc"),
];

/// Pictures above this height are taken for BT.709 when nothing says otherwise, as players do.
/// GStreamer alone would take those of 2160 lines for BT.2020.
const LARGEST_SD_HEIGHT: u32 = 576;

/// What caps say; `None` where they say nothing.
pub(crate) fn stated(caps: &gst::CapsRef) -> Colour {
    let said = caps
        .structure(0)
        .and_then(|structure| structure.get::<&str>("colorimetry").ok())
        .and_then(|text| VideoColorimetry::from_str(text).ok())
        .map_or_else(Colour::default, |colorimetry| names(&colorimetry));
    Colour {
        peak_nits: peak_nits(caps),
        ..said
    }
}

/// The level of the brightest pixel, or what the display could show on which the video was made.
fn peak_nits(caps: &gst::CapsRef) -> Option<u32> {
    /// Mastering displays are described in these parts of a cd/m².
    const PARTS: u32 = 10_000;
    let brightest = VideoContentLightLevel::from_caps(caps).ok();
    let brightest = brightest.map(|levels| u32::from(levels.max_content_light_level()));
    let display = || {
        let display = VideoMasteringDisplayInfo::from_caps(caps).ok()?;
        Some(display.max_display_mastering_luminance() / PARTS)
    };
    let said = brightest.filter(|nits| *nits > 0).or_else(display);
    said.filter(|nits| *nits > 0)
}

/// A colorimetry in words; `None` for what has no name.
pub(crate) fn names(colorimetry: &VideoColorimetry) -> Colour {
    Colour {
        primaries: name(PRIMARIES, colorimetry.primaries()),
        transfer: name(TRANSFERS, colorimetry.transfer()),
        matrix: name(MATRICES, colorimetry.matrix()),
        range: name(RANGES, colorimetry.range()),
        peak_nits: None,
    }
}

/// Takes what `first` says, and from `second` what it leaves open.
pub(crate) fn or(first: Colour, second: Colour) -> Colour {
    Colour {
        primaries: first.primaries.or(second.primaries),
        transfer: first.transfer.or(second.transfer),
        matrix: first.matrix.or(second.matrix),
        range: first.range.or(second.range),
        peak_nits: first.peak_nits.or(second.peak_nits),
    }
}

/// How to read YUV pictures of a stored height: what is stated, completed as players do.
pub(crate) fn yuv(colour: &Colour, height: u32) -> VideoColorimetry {
    let hd = height > LARGEST_SD_HEIGHT;
    let (matrix, transfer, primaries) = if hd {
        (Matrix::Bt709, Transfer::Bt709, Primaries::Bt709)
    } else {
        (Matrix::Bt601, Transfer::Bt601, Primaries::Smpte170m)
    };
    VideoColorimetry::new(
        value(RANGES, colour.range.as_deref()).unwrap_or(Range::Range16_235),
        value(MATRICES, colour.matrix.as_deref()).unwrap_or(matrix),
        value(TRANSFERS, colour.transfer.as_deref()).unwrap_or(transfer),
        value(PRIMARIES, colour.primaries.as_deref()).unwrap_or(primaries),
    )
}

fn name<T: Copy + PartialEq>(table: &[(T, &str)], value: T) -> Option<String> {
    let row = table.iter().find(|row| row.0 == value)?;
    Some(row.1.to_owned())
}

fn value<T: Copy>(table: &[(T, &str)], name: Option<&str>) -> Option<T> {
    let row = table.iter().find(|row| Some(row.1) == name)?;
    Some(row.0)
}
