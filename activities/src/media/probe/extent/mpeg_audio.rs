//! The length of a file of bare MPEG audio frames: MP3, and AAC in ADTS.

use std::fs::File;

use super::{Extent, HEADER_BYTES};
use crate::media::sniff::{self, MpegAudioFrame};
use crate::tool::ToolError;

/// How much of the end is looked at: some twenty frames of the largest size.
const TAIL_BYTES: u64 = 64 * 1024;

/// Frames in a row that must end where the next one begins before what begins there counts as a frame.
const FRAMES: usize = 4;

/// Compares an MP3 with the header in its first frame.
///
/// Writers differ in what they count. A file as long as the header says is whole, however it ends. One
/// that is shorter has to end within a frame as well, or lack time by the number of frames, to be cut.
/// Without a header, one that ends within a frame is told.
pub(super) fn inspect(file: &mut File, file_bytes: u64) -> Result<Extent, ToolError> {
    let head = super::read(file, 0, HEADER_BYTES)?;
    let tag = sniff::id3_tag_bytes(&head).unwrap_or(0);
    let head = super::read(file, tag, HEADER_BYTES)?;
    // As the sniffer does: some writers pad the tag beyond its stated size.
    let padding = head.iter().take_while(|byte| **byte == 0).count();
    let stated = Stated::in_first_frame(&head[padding..]).unwrap_or_default();
    let left = file_bytes.saturating_sub(tag + padding as u64);
    if stated.bytes.is_some_and(|bytes| bytes <= left) {
        return Ok(Extent::default());
    }
    let frame_bytes = |at: &[u8]| sniff::mpeg_audio_frame(at).map(|frame| frame.bytes);
    let tail = super::read_tail(file, file_bytes, TAIL_BYTES)?;
    let within_frame = ends_within_frame(&tail, frame_bytes);
    Ok(Extent {
        cut: within_frame && stated.bytes.is_some(),
        unmarked: within_frame,
        lasts_ns: stated.lasts_ns,
        ..Extent::default()
    })
}

/// Looks at the end of AAC in ADTS, which has no header for the whole.
pub(super) fn inspect_adts(file: &mut File, file_bytes: u64) -> Result<Extent, ToolError> {
    let tail = super::read_tail(file, file_bytes, TAIL_BYTES)?;
    Ok(Extent {
        unmarked: ends_within_frame(&tail, sniff::adts_frame_bytes),
        ..Extent::default()
    })
}

/// Whether the last of some frames that follow each other is not whole. Tags and what else may stand
/// behind the frames end their sequence.
fn ends_within_frame(tail: &[u8], frame_bytes: impl Fn(&[u8]) -> Option<usize>) -> bool {
    /// What every frame of a file begins with: the sync word, version and layer.
    const SYNC_BYTES: usize = 2;
    /// The longer of both headers.
    const HEADER_BYTES: usize = 7;
    let mut at = 0;
    while at < tail.len() {
        let (mut end, mut frames) = (at, 0);
        while let Some(bytes) = tail.get(end..).and_then(&frame_bytes) {
            end += bytes;
            frames += 1;
        }
        if frames <= FRAMES {
            at += 1;
            continue;
        }
        let Some(behind) = tail.get(end..) else {
            return true;
        };
        // One byte of a frame cannot be told from padding.
        if behind.len() < HEADER_BYTES && behind.starts_with(&tail[at..at + SYNC_BYTES]) {
            return true;
        }
        at = end + 1;
    }
    false
}

/// What a header in the first frame of an MP3 says of the whole.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stated {
    /// Bytes from that frame on.
    bytes: Option<u64>,
    /// Time of the frames behind it.
    lasts_ns: Option<u64>,
}

impl Stated {
    /// The header stands behind the side information of an otherwise silent frame: `Xing` or `Info` (LAME
    /// and most others), and at a fixed place `VBRI` (Fraunhofer).
    fn in_first_frame(frame: &[u8]) -> Option<Self> {
        const VBRI_AT: usize = 36;
        let header = sniff::mpeg_audio_frame(frame)?;
        let xing_at = 4 + side_information_bytes(frame)?;
        // Some writers leave room for the checksum that the header announces.
        for at in [xing_at, xing_at + 2] {
            if let Some(b"Xing" | b"Info") = frame.get(at..at + 4) {
                return Self::xing(frame.get(at + 4..)?, header);
            }
        }
        if frame.get(VBRI_AT..VBRI_AT + 4)? != b"VBRI" {
            return None;
        }
        Some(Self {
            bytes: count(frame, VBRI_AT + 10).map(u64::from),
            lasts_ns: count(frame, VBRI_AT + 14).map(|frames| time_ns(frames, header)),
        })
    }

    /// Flags say which of the two fields are there.
    fn xing(fields: &[u8], header: MpegAudioFrame) -> Option<Self> {
        const FRAMES: u32 = 1;
        const BYTES: u32 = 2;
        let flags = word(fields, 0)?;
        let bytes_at = if flags & FRAMES == 0 { 4 } else { 8 };
        let field = |flag, at| count(fields, at).filter(|_| flags & flag != 0);
        Some(Self {
            bytes: field(BYTES, bytes_at).map(u64::from),
            lasts_ns: field(FRAMES, 4).map(|frames| time_ns(frames, header)),
        })
    }
}

/// Length of the side information of a layer 3 frame (ISO 11172-3 section 2.4.1.7; ISO 13818-3).
fn side_information_bytes(frame: &[u8]) -> Option<usize> {
    let is_mpeg1 = frame.get(1)? & 0x18 == 0x18;
    let is_mono = frame.get(3)? >> 6 == 3;
    Some(match (is_mpeg1, is_mono) {
        (true, false) => 32,
        (true, true) | (false, false) => 17,
        (false, true) => 9,
    })
}

fn time_ns(frames: u32, header: MpegAudioFrame) -> u64 {
    let samples = u64::from(frames) * u64::from(header.samples);
    let ns = u128::from(samples) * 1_000_000_000 / u128::from(header.hertz);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// A number that a writer may leave at 0, for it writes the header before it knows.
fn count(bytes: &[u8], at: usize) -> Option<u32> {
    word(bytes, at).filter(|count| *count > 0)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Layer 3, 128 kbit/s, 44.1 kHz, stereo.
    const FRAME_BYTES: usize = 417;

    fn frame() -> Vec<u8> {
        let mut frame = vec![0; FRAME_BYTES];
        frame[..4].copy_from_slice(&[0xff, 0xfb, 0x90, 0]);
        frame
    }

    fn frames(count: usize) -> Vec<u8> {
        frame().repeat(count)
    }

    /// AAC-LC, 44.1 kHz, stereo, 96 bytes each.
    fn adts_frames(count: usize) -> Vec<u8> {
        let header = [0xff, 0xf1, 0x50, 0x80, 0x0c, 0x1f, 0xfc];
        [&header[..], &[0; 89]].concat().repeat(count)
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Ten frames, the first of which holds something at an offset.
    fn headed(at: usize, header: &[u8]) -> Vec<u8> {
        let mut bytes = frames(10);
        bytes[at..at + header.len()].copy_from_slice(header);
        bytes
    }

    fn xing(flags: u32, fields: &[u32]) -> Vec<u8> {
        let header = [b"Xing", &words(&[flags])[..], &words(fields)].concat();
        headed(36, &header)
    }

    fn extent(bytes: &[u8]) -> Extent {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        inspect(&mut file, bytes.len() as u64).unwrap()
    }

    fn adts(bytes: &[u8]) -> Extent {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        inspect_adts(&mut file, bytes.len() as u64).unwrap()
    }

    #[test]
    fn a_file_that_ends_within_a_frame_is_cut_if_a_header_promised_more_bytes() {
        let vbri = [b"VBRI", &[0; 6][..], &words(&[4170, 9])].concat();
        for (whole, promised) in [
            (xing(3, &[9, 4170]), true),
            (headed(36, &vbri), true),
            (xing(1, &[9]), false),
            (frames(10), false),
        ] {
            assert!(!extent(&whole).cut && !extent(&whole).unmarked);
            let ninth = 9 * FRAME_BYTES;
            // Of less than two bytes nobody can say that they are of a frame.
            for end in ninth + 2..whole.len() {
                let found = extent(&whole[..end]);
                assert_eq!(found.cut, promised, "{} bytes", end - ninth);
                assert!(found.unmarked, "{} bytes", end - ninth);
            }
        }
    }

    #[test]
    fn adts_that_ends_within_a_frame_is_told() {
        let whole = adts_frames(10);
        assert_eq!(adts(&whole), Extent::default());
        let ninth = whole.len() / 10 * 9;
        for end in ninth + 2..whole.len() {
            let found = adts(&whole[..end]);
            assert!(found.unmarked && !found.cut, "{} bytes", end - ninth);
        }
    }

    #[test]
    fn padding_behind_the_last_frame_is_no_frame() {
        for bytes in 1..10 {
            let padding = vec![0xff; bytes];
            let mp3 = [frames(10), padding.clone()].concat();
            assert_eq!(extent(&mp3), Extent::default(), "{bytes} bytes");
            let aac = [adts_frames(10), padding].concat();
            assert_eq!(adts(&aac), Extent::default(), "{bytes} bytes");
        }
    }

    #[test]
    fn the_number_of_frames_tells_of_a_cut_between_two() {
        let nine_frames = Some(9 * 1152 * 1_000_000_000 / 44_100);
        let half = 5 * FRAME_BYTES;
        for whole in [xing(3, &[9, 4170]), xing(1, &[9])] {
            let cut = extent(&whole[..half]);
            assert_eq!((cut.cut, cut.lasts_ns), (false, nine_frames));
        }
        assert_eq!(extent(&frames(5)), Extent::default());
        assert_eq!(extent(&xing(3, &[0, 0])), Extent::default());
    }

    #[test]
    fn tags_around_the_frames_and_a_second_file_behind_them_are_no_damage() {
        let whole = xing(3, &[9, 4170]);
        let id3v2 = [b"ID3\x04\0\0\0\0\0\x05", &[0; 15][..]].concat();
        let id3v1 = [&b"TAG"[..], &[b'x'; 125]].concat();
        for frames in [whole.clone(), frames(10)] {
            let tagged = [&id3v2[..], &frames, &id3v1].concat();
            assert_eq!(extent(&tagged), Extent::default());
        }
        assert_eq!(extent(&whole.repeat(2)), Extent::default());
    }

    #[test]
    fn a_header_that_counts_tags_as_well_is_no_proof_alone() {
        // 128 bytes that a trailer had before it was removed.
        assert!(!extent(&xing(3, &[9, 4298])).cut);
    }

    #[test]
    fn headers_of_other_rates_and_channels_stand_elsewhere() {
        for (version, mode, at) in [(0xfb, 0xc0, 21), (0xf3, 0, 21), (0xf3, 0xc0, 13)] {
            let mut bytes = headed(at, &[b"Info", &words(&[2, 77])[..]].concat());
            bytes[1] = version;
            bytes[3] = mode;
            let stated = Stated::in_first_frame(&bytes).unwrap();
            assert_eq!((stated.bytes, stated.lasts_ns), (Some(77), None));
        }
    }
}
