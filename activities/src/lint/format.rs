//! Tells what a media segment is by its first bytes (RFC 8216bis, section 3).

/// The kinds of media segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    FragmentedMp4,
    TransportStream,
    PackedAudio,
    WebVtt,
    Unknown,
}

impl Format {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FragmentedMp4 => "fragmented MP4",
            Self::TransportStream => "MPEG transport streams",
            Self::PackedAudio => "packed audio",
            Self::WebVtt => "WebVTT",
            Self::Unknown => "of a kind that is not known",
        }
    }
}

/// Boxes with which a segment of fragmented MP4 may begin.
const FIRST_BOXES: [&[u8]; 9] = [
    b"ftyp", b"styp", b"sidx", b"emsg", b"prft", b"moof", b"moov", b"mdat", b"free",
];

/// Bytes of a packet of a transport stream, and what each begins with.
const PACKET_BYTES: usize = 188;
const SYNC_BYTE: u8 = 0x47;

/// The kind of a segment that begins with these bytes.
pub(super) fn of(bytes: &[u8]) -> Format {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let second = bytes.get(PACKET_BYTES).copied().unwrap_or(SYNC_BYTE);
    match bytes {
        _ if text.starts_with(b"WEBVTT") => Format::WebVtt,
        [_, _, _, _, kind @ ..] if FIRST_BOXES.iter().any(|first| kind.starts_with(first)) => {
            Format::FragmentedMp4
        }
        [SYNC_BYTE, ..] if second == SYNC_BYTE => Format::TransportStream,
        // A tag with the time, or the start of a frame of AAC, MPEG audio (twelve ones) or AC-3.
        [b'I', b'D', b'3', ..] | [0xff, 0xe0..=0xff, ..] | [0x0b, 0x77, ..] => Format::PackedAudio,
        _ => Format::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_told_by_how_they_begin() {
        let mut packets = vec![0; 2 * PACKET_BYTES];
        packets[0] = SYNC_BYTE;
        assert_eq!(of(&packets), Format::Unknown);
        packets[PACKET_BYTES] = SYNC_BYTE;
        assert_eq!(of(&packets), Format::TransportStream);
        assert_eq!(of(b"\0\0\0\x18stypmsdh"), Format::FragmentedMp4);
        assert_eq!(of(b"\xef\xbb\xbfWEBVTT\n"), Format::WebVtt);
        assert_eq!(of(b"ID3\x04"), Format::PackedAudio);
        assert_eq!(of(b"\xff\xf1\x50\x80"), Format::PackedAudio);
        assert_eq!(of(b""), Format::Unknown);
    }
}
