//! The tags of RFC 8216bis, section 4.4, and what belongs to each.

use super::attributes::{Form, Spec};

/// In which kind of playlist a tag stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    Both,
    Media,
    Multivariant,
}

/// What is behind the colon.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Nothing,
    Integer,
    /// A duration, a comma, a title.
    Duration,
    /// `VOD` or `EVENT`.
    PlaylistType,
    /// `length[@offset]`.
    Range,
    Date,
    Attributes(&'static [Spec]),
}

impl Shape {
    pub(super) fn holds(self, value: Option<&str>) -> bool {
        let Some(value) = value else {
            return matches!(self, Self::Nothing);
        };
        match self {
            Self::Nothing => false,
            Self::Integer => is_integer(value),
            Self::Duration => duration(value).is_some(),
            Self::PlaylistType => matches!(value, "VOD" | "EVENT"),
            Self::Range => {
                let (len, offset) = value.split_once('@').unwrap_or((value, "0"));
                is_integer(len) && is_integer(offset)
            }
            Self::Date => is_date(value),
            // Judged attribute by attribute.
            Self::Attributes(_) => true,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "no value",
            Self::Integer => "a whole number",
            Self::Duration => "a duration and a comma",
            Self::PlaylistType => "VOD or EVENT",
            Self::Range => "a length and perhaps an offset",
            Self::Date => "a date and a time",
            Self::Attributes(_) => "attributes",
        }
    }
}

/// A date and a time of ISO 8601, of which the draft only recommends that it tells its zone; the
/// zone may be written with or without a colon.
fn is_date(text: &str) -> bool {
    const LOCAL: &str = "%Y-%m-%dT%H:%M:%S%.f";
    chrono::DateTime::parse_from_rfc3339(text).is_ok()
        || chrono::DateTime::parse_from_str(text, &format!("{LOCAL}%#z")).is_ok()
        || chrono::NaiveDateTime::parse_from_str(text, LOCAL).is_ok()
}

/// At most 20 digits, below 2^64.
pub(super) fn is_integer(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok()
}

/// A decimal number without sign or exponent.
pub(super) fn is_decimal(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once('.') {
        Some((whole, part)) => digits(whole) && digits(part),
        None => digits(text),
    }
}

/// The duration of `EXTINF`, as text.
pub(in crate::lint) fn duration(value: &str) -> Option<&str> {
    let (duration, _title) = value.split_once(',')?;
    is_decimal(duration).then_some(duration)
}

/// What is known of a tag.
#[derive(Debug)]
pub(super) struct TagSpec {
    pub(super) name: &'static str,
    pub(super) home: Home,
    /// Whether it stands in a playlist once at most.
    pub(super) once: bool,
    pub(super) shape: Shape,
}

/// Looks a tag up.
pub(super) fn find(name: &str) -> Option<&'static TagSpec> {
    TAGS.iter().find(|spec| spec.name == name)
}

const fn once(name: &'static str, home: Home, shape: Shape) -> TagSpec {
    TagSpec {
        name,
        home,
        once: true,
        shape,
    }
}

const fn many(name: &'static str, home: Home, shape: Shape) -> TagSpec {
    TagSpec {
        name,
        home,
        once: false,
        shape,
    }
}

const YES_NO: Form = Form::OneOf(&["YES", "NO"]);

const START: &[Spec] = &[
    Spec::needed("TIME-OFFSET", Form::Signed),
    Spec::free("PRECISE", YES_NO),
];

const DEFINE: &[Spec] = &[
    Spec::free("NAME", Form::Quoted),
    Spec::free("VALUE", Form::Quoted),
    Spec::free("IMPORT", Form::Quoted),
    Spec::free("QUERYPARAM", Form::Quoted),
];

const KEY: &[Spec] = &[
    Spec::needed("METHOD", Form::Word),
    Spec::free("URI", Form::Quoted),
    Spec::free("IV", Form::Hex),
    Spec::free("KEYFORMAT", Form::Quoted),
    Spec::free("KEYFORMATVERSIONS", Form::Quoted),
];

const MAP: &[Spec] = &[
    Spec::needed("URI", Form::Quoted),
    Spec::free("BYTERANGE", Form::Quoted),
];

const DATERANGE: &[Spec] = &[
    Spec::needed("ID", Form::Quoted),
    Spec::free("CLASS", Form::Quoted),
    Spec::free("START-DATE", Form::Quoted),
    Spec::free("CUE", Form::Quoted),
    Spec::free("END-DATE", Form::Quoted),
    Spec::free("DURATION", Form::Decimal),
    Spec::free("PLANNED-DURATION", Form::Decimal),
    Spec::free("SCTE35-CMD", Form::Hex),
    Spec::free("SCTE35-OUT", Form::Hex),
    Spec::free("SCTE35-IN", Form::Hex),
    Spec::free("END-ON-NEXT", Form::OneOf(&["YES"])),
];

const MEDIA: &[Spec] = &[
    Spec::needed(
        "TYPE",
        Form::OneOf(&["AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"]),
    ),
    Spec::free("URI", Form::Quoted),
    Spec::needed("GROUP-ID", Form::Quoted),
    Spec::free("LANGUAGE", Form::Quoted),
    Spec::free("ASSOC-LANGUAGE", Form::Quoted),
    Spec::needed("NAME", Form::Quoted),
    Spec::free("STABLE-RENDITION-ID", Form::Quoted),
    Spec::free("DEFAULT", YES_NO),
    Spec::free("AUTOSELECT", YES_NO),
    Spec::free("FORCED", YES_NO),
    Spec::free("INSTREAM-ID", Form::Quoted),
    Spec::free("BIT-DEPTH", Form::Integer),
    Spec::free("SAMPLE-RATE", Form::Integer),
    Spec::free("CHARACTERISTICS", Form::Quoted),
    Spec::free("CHANNELS", Form::Quoted),
];

const STREAM_INF: &[Spec] = &[
    Spec::needed("BANDWIDTH", Form::Integer),
    Spec::free("AVERAGE-BANDWIDTH", Form::Integer),
    Spec::free("SCORE", Form::Decimal),
    Spec::free("CODECS", Form::Quoted),
    Spec::free("SUPPLEMENTAL-CODECS", Form::Quoted),
    Spec::free("RESOLUTION", Form::Resolution),
    Spec::free("FRAME-RATE", Form::Decimal),
    Spec::free("HDCP-LEVEL", Form::OneOf(&["TYPE-0", "TYPE-1", "NONE"])),
    Spec::free("ALLOWED-CPC", Form::Quoted),
    Spec::free("VIDEO-RANGE", Form::OneOf(&["SDR", "HLG", "PQ"])),
    Spec::free("REQ-VIDEO-LAYOUT", Form::Quoted),
    Spec::free("STABLE-VARIANT-ID", Form::Quoted),
    Spec::free("PROGRAM-ID", Form::Integer),
    Spec::free("AUDIO", Form::Quoted),
    Spec::free("VIDEO", Form::Quoted),
    Spec::free("SUBTITLES", Form::Quoted),
    Spec::free("CLOSED-CAPTIONS", Form::QuotedOr("NONE")),
    Spec::free("PATHWAY-ID", Form::Quoted),
    Spec::free("NAME", Form::Quoted),
];

const I_FRAME_STREAM_INF: &[Spec] = &[
    Spec::needed("BANDWIDTH", Form::Integer),
    Spec::needed("URI", Form::Quoted),
    Spec::free("AVERAGE-BANDWIDTH", Form::Integer),
    Spec::free("SCORE", Form::Decimal),
    Spec::free("CODECS", Form::Quoted),
    Spec::free("SUPPLEMENTAL-CODECS", Form::Quoted),
    Spec::free("RESOLUTION", Form::Resolution),
    Spec::free("HDCP-LEVEL", Form::OneOf(&["TYPE-0", "TYPE-1", "NONE"])),
    Spec::free("ALLOWED-CPC", Form::Quoted),
    Spec::free("VIDEO-RANGE", Form::OneOf(&["SDR", "HLG", "PQ"])),
    Spec::free("REQ-VIDEO-LAYOUT", Form::Quoted),
    Spec::free("STABLE-VARIANT-ID", Form::Quoted),
    Spec::free("PROGRAM-ID", Form::Integer),
    Spec::free("VIDEO", Form::Quoted),
    Spec::free("PATHWAY-ID", Form::Quoted),
];

const SESSION_DATA: &[Spec] = &[
    Spec::needed("DATA-ID", Form::Quoted),
    Spec::free("VALUE", Form::Quoted),
    Spec::free("URI", Form::Quoted),
    Spec::free("FORMAT", Form::OneOf(&["JSON", "RAW"])),
    Spec::free("LANGUAGE", Form::Quoted),
];

const STEERING: &[Spec] = &[
    Spec::needed("SERVER-URI", Form::Quoted),
    Spec::free("PATHWAY-ID", Form::Quoted),
];

const SERVER_CONTROL: &[Spec] = &[
    Spec::free("CAN-SKIP-UNTIL", Form::Decimal),
    Spec::free("CAN-SKIP-DATERANGES", YES_NO),
    Spec::free("HOLD-BACK", Form::Decimal),
    Spec::free("PART-HOLD-BACK", Form::Decimal),
    Spec::free("CAN-BLOCK-RELOAD", YES_NO),
];

const PART_INF: &[Spec] = &[Spec::needed("PART-TARGET", Form::Decimal)];

const PART: &[Spec] = &[
    Spec::needed("URI", Form::Quoted),
    Spec::needed("DURATION", Form::Decimal),
    Spec::free("INDEPENDENT", YES_NO),
    Spec::free("BYTERANGE", Form::Quoted),
    Spec::free("GAP", YES_NO),
];

const TAGS: &[TagSpec] = &[
    once("#EXTM3U", Home::Both, Shape::Nothing),
    once("#EXT-X-VERSION", Home::Both, Shape::Integer),
    once("#EXT-X-INDEPENDENT-SEGMENTS", Home::Both, Shape::Nothing),
    once("#EXT-X-START", Home::Both, Shape::Attributes(START)),
    many("#EXT-X-DEFINE", Home::Both, Shape::Attributes(DEFINE)),
    once("#EXT-X-TARGETDURATION", Home::Media, Shape::Integer),
    once("#EXT-X-MEDIA-SEQUENCE", Home::Media, Shape::Integer),
    once("#EXT-X-DISCONTINUITY-SEQUENCE", Home::Media, Shape::Integer),
    once("#EXT-X-ENDLIST", Home::Media, Shape::Nothing),
    once("#EXT-X-PLAYLIST-TYPE", Home::Media, Shape::PlaylistType),
    once("#EXT-X-I-FRAMES-ONLY", Home::Media, Shape::Nothing),
    once("#EXT-X-PART-INF", Home::Media, Shape::Attributes(PART_INF)),
    once(
        "#EXT-X-SERVER-CONTROL",
        Home::Media,
        Shape::Attributes(SERVER_CONTROL),
    ),
    many("#EXTINF", Home::Media, Shape::Duration),
    many("#EXT-X-BYTERANGE", Home::Media, Shape::Range),
    many("#EXT-X-DISCONTINUITY", Home::Media, Shape::Nothing),
    many("#EXT-X-KEY", Home::Media, Shape::Attributes(KEY)),
    many("#EXT-X-MAP", Home::Media, Shape::Attributes(MAP)),
    many("#EXT-X-PROGRAM-DATE-TIME", Home::Media, Shape::Date),
    many("#EXT-X-GAP", Home::Media, Shape::Nothing),
    many("#EXT-X-BITRATE", Home::Media, Shape::Integer),
    many("#EXT-X-PART", Home::Media, Shape::Attributes(PART)),
    many(
        "#EXT-X-DATERANGE",
        Home::Media,
        Shape::Attributes(DATERANGE),
    ),
    many("#EXT-X-MEDIA", Home::Multivariant, Shape::Attributes(MEDIA)),
    many(
        "#EXT-X-STREAM-INF",
        Home::Multivariant,
        Shape::Attributes(STREAM_INF),
    ),
    many(
        "#EXT-X-I-FRAME-STREAM-INF",
        Home::Multivariant,
        Shape::Attributes(I_FRAME_STREAM_INF),
    ),
    many(
        "#EXT-X-SESSION-DATA",
        Home::Multivariant,
        Shape::Attributes(SESSION_DATA),
    ),
    many(
        "#EXT-X-SESSION-KEY",
        Home::Multivariant,
        Shape::Attributes(KEY),
    ),
    once(
        "#EXT-X-CONTENT-STEERING",
        Home::Multivariant,
        Shape::Attributes(STEERING),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_may_leave_their_zone_open_and_its_colon_out() {
        for date in [
            "2026-11-21T10:40:06.979Z",
            "2026-11-21T10:40:06.979+00:00",
            "2026-11-21T10:40:06.979+0000",
            "2026-11-21T10:40:06-0530",
            "2026-11-21T10:40:06.979",
        ] {
            assert!(is_date(date), "{date}");
        }
        for date in ["", "yesterday", "2026-11-21", "2026-13-21T10:40:06Z"] {
            assert!(!is_date(date), "{date}");
        }
    }
}
