//! What a file is, by its first bytes, before any media library opens it.
//!
//! Only containers that hold their media themselves pass. A playlist makes a demuxer open other
//! files and addresses, so it never reaches one.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::tool::ToolError;

/// How much of a file is looked at. Playlists and containers declare themselves far earlier; an
/// MPEG transport stream needs five packets of 204 bytes.
const HEAD_BYTES: u64 = 64 * 1024;

/// Packets in a row that must begin with the sync byte before a file counts as a transport
/// stream: a chance of 2^-40 in other data.
const TS_PACKETS: usize = 5;

/// A kind of file that holds media itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// ISO base media file (MP4, M4V).
    Mp4,
    /// QuickTime.
    Mov,
    /// 3GPP profile of MP4.
    ThreeGp,
    /// MP4 with audio alone.
    M4a,
    /// Matroska.
    Matroska,
    /// WebM.
    Webm,
    /// AVI.
    Avi,
    /// Flash video.
    Flv,
    /// MPEG-2 transport stream, with packets of 188, 192 (Blu-ray, AVCHD) or 204 bytes.
    MpegTs {
        /// Bytes per packet.
        packet: usize,
    },
    /// MPEG program stream.
    MpegPs,
    /// ASF (WMV, WMA).
    Asf,
    /// Ogg.
    Ogg,
    /// MPEG audio, layers 1 to 3.
    Mp3,
    /// RIFF or RF64 WAVE.
    Wav,
    /// FLAC.
    Flac,
    /// AAC in ADTS frames.
    Adts,
}

impl Container {
    /// The name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::ThreeGp => "3gp",
            Self::M4a => "m4a",
            Self::Matroska => "matroska",
            Self::Webm => "webm",
            Self::Avi => "avi",
            Self::Flv => "flv",
            Self::MpegTs { .. } => "mpegts",
            Self::MpegPs => "mpegps",
            Self::Asf => "asf",
            Self::Ogg => "ogg",
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Adts => "aac",
        }
    }

    /// Whether it is made of ISO base media boxes.
    #[must_use]
    pub fn is_isobmff(self) -> bool {
        matches!(self, Self::Mp4 | Self::Mov | Self::ThreeGp | Self::M4a)
    }
}

/// Looks at the first bytes of a file.
///
/// # Errors
/// Class `input`: `empty_source`, `playlist_refused`, `not_video` (a picture) or `not_media`.
/// The classes of [`ToolError::io`] when the file cannot be read.
pub fn sniff(source: &Path) -> Result<Container, ToolError> {
    let unreadable = |error: std::io::Error| match error.kind() {
        ErrorKind::IsADirectory => {
            ToolError::input("not_media", "the source is a directory, not a media file")
        }
        _ => ToolError::io("read the source", error),
    };
    let mut file = File::open(source).map_err(unreadable)?;
    let mut head = read_head(&mut file, 0).map_err(unreadable)?;
    if let Some(end) = id3_tag_bytes(&head) {
        head = read_head(&mut file, end).map_err(unreadable)?;
        return frames_behind_tag(&head);
    }
    identify(&head)
}

fn read_head(file: &mut File, at: u64) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok(head)
}

/// Length of the ID3v2 tag at the start, with its cover picture, in 7 bits per byte.
pub(super) fn id3_tag_bytes(head: &[u8]) -> Option<u64> {
    const HEADER: u64 = 10;
    if !head.starts_with(b"ID3") {
        return None;
    }
    let size = head.get(6..10)?.iter();
    Some(HEADER + size.fold(0, |size, byte| size << 7 | u64::from(byte & 0x7f)))
}

/// Only bare audio frames may follow an ID3 tag.
fn frames_behind_tag(head: &[u8]) -> Result<Container, ToolError> {
    // Some writers pad the tag beyond its stated size.
    let padding = head.iter().take_while(|byte| **byte == 0).count();
    match container(&head[padding..]) {
        Some(found @ (Container::Mp3 | Container::Adts)) => Ok(found),
        _ => Err(not_media()),
    }
}

fn identify(head: &[u8]) -> Result<Container, ToolError> {
    if head.is_empty() {
        return Err(ToolError::input(
            "empty_source",
            "the source is empty (0 bytes); upload it again",
        ));
    }
    if let Some(kind) = picture(head) {
        return Err(ToolError::input(
            "not_video",
            format!("the source is a picture ({kind}), not a video"),
        ));
    }
    if let Some(container) = container(head) {
        return Ok(container);
    }
    if let Some(kind) = playlist(head) {
        return Err(ToolError::input(
            "playlist_refused",
            format!(
                "the source is a playlist ({kind}) that points to media elsewhere; \
                 submit the media file itself"
            ),
        ));
    }
    Err(not_media())
}

fn not_media() -> ToolError {
    ToolError::input(
        "not_media",
        "the source is not a media file of a known kind \
         (mp4, mov, mkv, webm, avi, flv, ts, mpg, wmv, ogg, mp3, wav, flac, aac)",
    )
}

fn container(head: &[u8]) -> Option<Container> {
    let starts = |magic: &[u8]| head.starts_with(magic);
    let riff = |form: &[u8]| {
        (starts(b"RIFF") || starts(b"RF64") || starts(b"BW64")) && head.get(8..12) == Some(form)
    };
    let found = if let Some(container) = isobmff(head) {
        container
    } else if starts(&[0x1a, 0x45, 0xdf, 0xa3]) {
        matroska(head)
    } else if riff(b"AVI ") {
        Container::Avi
    } else if riff(b"WAVE") {
        Container::Wav
    } else if starts(b"FLV\x01") {
        Container::Flv
    } else if starts(&[0, 0, 1, 0xba]) {
        Container::MpegPs
    } else if starts(&[
        0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, 0xa6, 0xd9, 0, 0xaa, 0, 0x62, 0xce, 0x6c,
    ]) {
        Container::Asf
    } else if starts(b"OggS\0") {
        Container::Ogg
    } else if starts(b"fLaC") {
        Container::Flac
    } else if mpeg_audio_frames(head) {
        Container::Mp3
    } else if adts_frames(head) {
        Container::Adts
    } else {
        Container::MpegTs {
            packet: transport_packet(head)?,
        }
    };
    Some(found)
}

/// Brands of `ftyp`; files older than `ftyp` (QuickTime) begin with one of a few boxes.
fn isobmff(head: &[u8]) -> Option<Container> {
    match head.get(4..8)? {
        b"ftyp" => Some(match head.get(8..12)? {
            b"qt  " => Container::Mov,
            b"M4A " | b"M4B " | b"M4P " => Container::M4a,
            brand if brand.starts_with(b"3g") => Container::ThreeGp,
            _ => Container::Mp4,
        }),
        b"moov" | b"mdat" | b"wide" | b"pnot" => Some(Container::Mov),
        b"styp" | b"free" | b"skip" => Some(Container::Mp4),
        _ => None,
    }
}

/// The document type is among the first elements of the EBML header.
fn matroska(head: &[u8]) -> Container {
    let header = &head[..head.len().min(128)];
    if header.windows(4).any(|bytes| bytes == b"webm") {
        Container::Webm
    } else {
        Container::Matroska
    }
}

/// The packet size of a transport stream, which may begin in the middle of a packet.
fn transport_packet(head: &[u8]) -> Option<usize> {
    [188, 192, 204].into_iter().find(|&packet| {
        (0..packet)
            .any(|first| (0..TS_PACKETS).all(|n| head.get(first + n * packet) == Some(&0x47)))
    })
}

/// Two MPEG audio frames, the second where the first one ends.
fn mpeg_audio_frames(head: &[u8]) -> bool {
    let bytes = |at: &[u8]| mpeg_audio_frame(at).map(|frame| frame.bytes);
    bytes(head)
        .and_then(|first| head.get(first..))
        .is_some_and(|next| bytes(next).is_some())
}

/// What the header of an MPEG audio frame says.
#[derive(Debug, Clone, Copy)]
pub(super) struct MpegAudioFrame {
    /// Length of the frame.
    pub(super) bytes: usize,
    /// Samples of each channel.
    pub(super) samples: u32,
    /// Samples per second.
    pub(super) hertz: u32,
}

/// The frame at the start, by its header (ISO 11172-3 section 2.4.2.3, layer 3 and 2).
pub(super) fn mpeg_audio_frame(at: &[u8]) -> Option<MpegAudioFrame> {
    const LAYER3: [u32; 15] = [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ];
    const LAYER2: [u32; 15] = [
        0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384,
    ];
    const LOW_RATE: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let header = at.get(..4)?;
    if header[0] != 0xff || header[1] & 0xe0 != 0xe0 {
        return None;
    }
    let (version, layer) = ((header[1] >> 3) & 3, (header[1] >> 1) & 3);
    let (rate, padding) = ((header[2] >> 2) & 3, u32::from((header[2] >> 1) & 1));
    let halvings = match version {
        3 => 0,
        2 => 1,
        0 => 2,
        _ => return None,
    };
    let kbps = match (layer, halvings) {
        (1, 0) => &LAYER3,
        (2, 0) => &LAYER2,
        (1 | 2, _) => &LOW_RATE,
        _ => return None,
    }
    .get(usize::from(header[2] >> 4))
    .filter(|kbps| **kbps > 0)?;
    let hertz = [44_100, 48_000, 32_000].get(usize::from(rate))? >> halvings;
    let samples = if layer == 1 && halvings > 0 {
        576
    } else {
        1152
    };
    Some(MpegAudioFrame {
        bytes: (samples / 8 * kbps * 1000 / hertz + padding) as usize,
        samples,
        hertz,
    })
}

/// Two ADTS frames, the second where the first one ends.
fn adts_frames(head: &[u8]) -> bool {
    adts_frame_bytes(head)
        .and_then(|bytes| head.get(bytes..))
        .is_some_and(|next| adts_frame_bytes(next).is_some())
}

/// Length of the ADTS frame at the start, by its header.
pub(super) fn adts_frame_bytes(at: &[u8]) -> Option<usize> {
    let header = at.get(..7)?;
    let is_sync = header[0] == 0xff && header[1] & 0xf6 == 0xf0;
    let bytes = usize::from(header[3] & 3) << 11
        | usize::from(header[4]) << 3
        | usize::from(header[5] >> 5);
    (is_sync && bytes > 7).then_some(bytes)
}

fn picture(head: &[u8]) -> Option<&'static str> {
    const MAGIC: [(&[u8], &str); 10] = [
        (&[0xff, 0xd8, 0xff], "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF8", "GIF"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"BM", "BMP"),
        (b"8BPS", "PSD"),
        (&[0xff, 0x0a], "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    ];
    if let Some((_, kind)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Some(kind);
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Some("WebP");
    }
    if head.get(4..8) == Some(b"ftyp") {
        return match head.get(8..12)? {
            b"avif" | b"avis" => Some("AVIF"),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => {
                Some("HEIF")
            }
            b"crx " => Some("CR3"),
            _ => None,
        };
    }
    text(head)
        .filter(|text| text.contains("<svg"))
        .map(|_| "SVG")
}

fn playlist(head: &[u8]) -> Option<&'static str> {
    const STARTS: [(&str, &str); 8] = [
        ("#extm3u", "M3U"),
        ("ffconcat", "concat list"),
        ("file ", "concat list"),
        ("[playlist]", "PLS"),
        ("[reference]", "ASX"),
        ("rtsptext", "RTSP"),
        ("smiltext", "SMIL"),
        ("v=0", "SDP"),
    ];
    const TAGS: [(&str, &str); 5] = [
        ("<mpd", "MPEG-DASH"),
        ("<smil", "SMIL"),
        ("<smoothstreamingmedia", "Smooth Streaming"),
        ("<asx", "ASX"),
        ("<playlist", "XSPF"),
    ];
    let text = text(head)?;
    let first_line = text.lines().find(|line| !line.trim().starts_with('#'));
    STARTS
        .iter()
        .find(|(start, _)| text.starts_with(start))
        .or_else(|| TAGS.iter().find(|(tag, _)| text.contains(tag)))
        .map(|(_, kind)| *kind)
        .or_else(|| {
            let line = first_line?.trim();
            (line.contains("://") && !line.contains(char::is_whitespace)).then_some("M3U")
        })
}

/// The first 4 KiB in lower case without leading blanks, if they are text.
fn text(head: &[u8]) -> Option<String> {
    let head = &head[..head.len().min(4096)];
    let is_text = head
        .iter()
        .all(|byte| *byte >= 0x20 || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c));
    let text = String::from_utf8_lossy(head).to_lowercase();
    is_text.then(|| {
        text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(head: &[u8]) -> String {
        identify(head).unwrap_err().code
    }

    #[test]
    fn playlists_are_refused_whatever_they_are_called() {
        for list in [
            "#EXTM3U\n#EXT-X-VERSION:3\n",
            "\u{feff}#EXTM3U\n",
            "\n  #EXTM3U\nhttp://x/y.ts\n",
            "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\">",
            "<smil><body/></smil>",
            "ffconcat version 1.0\nfile a.mp4\n",
            "file '/etc/passwd'\n",
            "[playlist]\nFile1=http://x/\n",
            "https://example.com/video.mp4\n",
            "# a comment\nrtsp://example.com/live\n",
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
        ] {
            assert_eq!(code(list.as_bytes()), "playlist_refused", "{list:?}");
        }
    }

    #[test]
    fn text_zeros_and_archives_are_not_media() {
        for head in [
            &b"hello, this is a text\n"[..],
            &[0; 4096],
            b"PK\x03\x04",
            b"G",
        ] {
            assert_eq!(code(head), "not_media");
        }
    }

    #[test]
    fn pictures_are_named_as_pictures() {
        for head in [
            &b"\xff\xd8\xff\xe0"[..],
            b"\x89PNG\r\n\x1a\n",
            b"\0\0\0\x1cftypheic",
            b"RIFF\0\0\0\0WEBPVP8 ",
            b"<?xml version=\"1.0\"?><svg xmlns=\"x\"/>",
        ] {
            assert_eq!(code(head), "not_video");
        }
    }

    #[test]
    fn a_transport_stream_is_found_by_its_rhythm_not_by_one_letter() {
        for packet in [188, 192, 204] {
            let mut head = vec![0u8; packet * 6];
            for n in 0..6 {
                head[n * packet + 4] = 0x47;
            }
            assert_eq!(identify(&head).unwrap(), Container::MpegTs { packet });
        }
        assert_eq!(code(b"GGGG is how this text begins"), "not_media");
    }

    #[test]
    fn an_mpeg_audio_frame_needs_a_second_one_behind_it() {
        // Layer 3, 128 kbit/s, 44.1 kHz: 417 bytes.
        let mut head = vec![0u8; 421];
        head[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        assert_eq!(code(&head), "not_media");
        head[417..].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        assert_eq!(identify(&head).unwrap(), Container::Mp3);
    }
}
