//! Caps of GStreamer in the words of a report.

use gstreamer as gst;
use gstreamer_video as gst_video;

use crate::media::report::Ratio;

/// A media type, a field that must have a value where one is named, and the codec's name.
type Row = (&'static str, Option<(&'static str, i32)>, &'static str);

const CODECS: &[Row] = &[
    ("video/x-h264", None, "h264"),
    ("video/x-h265", None, "hevc"),
    ("video/x-h266", None, "vvc"),
    ("video/x-av1", None, "av1"),
    ("video/x-vp8", None, "vp8"),
    ("video/x-vp9", None, "vp9"),
    ("video/mpeg", Some(("mpegversion", 1)), "mpeg1"),
    ("video/mpeg", Some(("mpegversion", 2)), "mpeg2"),
    ("video/mpeg", Some(("mpegversion", 4)), "mpeg4"),
    ("video/x-h263", None, "h263"),
    ("video/x-prores", None, "prores"),
    ("video/x-dnxhd", None, "dnxhd"),
    ("video/x-theora", None, "theora"),
    ("video/x-wmv", None, "wmv"),
    ("video/x-raw", None, "raw"),
    ("image/jpeg", None, "mjpeg"),
    ("audio/mpeg", Some(("mpegversion", 4)), "aac"),
    ("audio/mpeg", Some(("mpegversion", 2)), "aac"),
    ("audio/mpeg", Some(("layer", 3)), "mp3"),
    ("audio/mpeg", Some(("layer", 2)), "mp2"),
    ("audio/mpeg", Some(("layer", 1)), "mp1"),
    ("audio/x-ac3", None, "ac3"),
    ("audio/x-eac3", None, "eac3"),
    ("audio/x-dts", None, "dts"),
    ("audio/x-opus", None, "opus"),
    ("audio/x-vorbis", None, "vorbis"),
    ("audio/x-flac", None, "flac"),
    ("audio/x-alac", None, "alac"),
    ("audio/x-wma", None, "wma"),
    ("audio/x-raw", None, "pcm"),
    ("audio/AMR", None, "amr_nb"),
    ("audio/AMR-WB", None, "amr_wb"),
];

/// `h264`, `aac`, ...; the media type itself for what is not in the table.
pub(super) fn codec(caps: &gst::CapsRef) -> String {
    let Some(structure) = caps.structure(0) else {
        return "unknown".to_owned();
    };
    let name = structure.name().as_str();
    let known = CODECS.iter().find(|(media_type, field, _)| {
        *media_type == name
            && field.is_none_or(|(field, value)| structure.get::<i32>(field) == Ok(value))
    });
    known.map_or_else(
        || {
            name.trim_start_matches("video/x-")
                .trim_start_matches("audio/x-")
                .trim_start_matches("gst-fourcc-")
                .to_owned()
        },
        |(_, _, codec)| (*codec).to_owned(),
    )
}

/// A fraction field, if it is there and positive.
pub(super) fn fraction(caps: &gst::CapsRef, field: &str) -> Option<Ratio> {
    let value = caps.structure(0)?.get::<gst::Fraction>(field).ok()?;
    let (num, den) = (
        u32::try_from(value.numer()).ok()?,
        u32::try_from(value.denom()).ok()?,
    );
    (num > 0 && den > 0).then_some(Ratio { num, den })
}

/// Whether packets hold single fields.
pub(super) fn codes_fields(caps: &gst::CapsRef) -> bool {
    let structure = caps.structure(0);
    let coded = structure.and_then(|s| s.get::<&str>("coded-picture-structure").ok());
    coded == Some("field")
}

/// A field that counts something, 0 if it is absent.
pub(super) fn count(caps: &gst::CapsRef, field: &str) -> u32 {
    let value = caps
        .structure(0)
        .and_then(|structure| structure.get::<i32>(field).ok());
    value
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(0)
}

/// `4:2:0`, ... of a decoded picture.
pub(super) fn chroma(format: gst_video::VideoFormatInfo) -> &'static str {
    if format.is_gray() {
        return "4:0:0";
    }
    if format.is_rgb() {
        return "4:4:4";
    }
    match (format.w_sub().get(1), format.h_sub().get(1)) {
        (Some(0), Some(0)) => "4:4:4",
        (Some(1), Some(0)) => "4:2:2",
        (Some(2), Some(0)) => "4:1:1",
        (Some(0), Some(1)) => "4:4:0",
        _ => "4:2:0",
    }
}

/// The usual name of a number of channels.
pub(super) fn layout(channels: u32) -> Option<&'static str> {
    Some(match channels {
        1 => "mono",
        2 => "stereo",
        3 => "3.0",
        4 => "4.0",
        5 => "5.0",
        6 => "5.1",
        7 => "6.1",
        8 => "7.1",
        _ => return None,
    })
}
