//! The length of a FLAC file (RFC 9639).

use std::fs::File;

use super::Extent;
use crate::tool::ToolError;

/// How much of the end is looked at. A frame of usual sound has 16 KiB.
const TAIL_BYTES: u64 = 1 << 20;

/// Compares the number of samples that the file states with what the frames at its end say of themselves.
///
/// The parser that reads all packets finds the last frame behind any tag or junk, but counts from the
/// first one that is there: the end of a file, copied to another one, states the length of the whole.
/// Frames are numbered from the beginning of the whole as well.
pub(super) fn inspect(head: &[u8], file: &mut File, file_bytes: u64) -> Result<Extent, ToolError> {
    let Some(info) = Info::read(head) else {
        return Ok(Extent::default());
    };
    let tail = super::read_tail(file, file_bytes, TAIL_BYTES)?;
    let ends = (0..tail.len()).filter_map(|at| end_sample(&tail[at..], &info));
    // Chance makes one of 4 million bytes look like a header, but hardly one of the last frame.
    let last = ends.filter(|end| *end <= info.samples).max();
    Ok(Extent {
        lasts_ns: Some(info.time_ns(info.samples)),
        seen_ns: last.map_or(0, |end| info.time_ns(end)),
        ..Extent::default()
    })
}

/// What the file says of itself at its start.
#[derive(Debug, Clone, Copy)]
struct Info {
    /// Samples of every frame but the last, where they are equal.
    block_samples: u64,
    /// Samples per second.
    hertz: u64,
    /// Of each channel.
    samples: u64,
}

impl Info {
    /// The first metadata block (section 8.2), if it states how long the file is: a writer that could
    /// not go back leaves 0.
    fn read(head: &[u8]) -> Option<Self> {
        let info = head.get(8..26)?;
        let rate_and_samples = number(&info[10..18]);
        let info = Self {
            block_samples: number(&info[2..4]),
            hertz: rate_and_samples >> 44,
            samples: rate_and_samples & ((1 << 36) - 1),
        };
        (info.hertz > 0 && info.samples > 0).then_some(info)
    }

    fn time_ns(&self, samples: u64) -> u64 {
        let ns = u128::from(samples) * 1_000_000_000 / u128::from(self.hertz);
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// The sample behind the frame that begins here, if one does (section 9.1).
fn end_sample(frame: &[u8], info: &Info) -> Option<u64> {
    let (&[sync, strategy, sizes, format], rest) = frame.split_first_chunk()?;
    if sync != 0xff || strategy & 0xfe != 0xf8 || format & 1 != 0 {
        return None;
    }
    let (coded, rest) = coded_number(rest)?;
    let (size_bytes, rate_bytes) = (extra_size_bytes(sizes >> 4), extra_rate_bytes(sizes & 15)?);
    let samples = match sizes >> 4 {
        0 => return None,
        1 => 192,
        code @ 2..=5 => 576 << (code - 2),
        6 | 7 => number(rest.get(..size_bytes)?) + 1,
        code => 256 << (code - 8),
    };
    let header_bytes = frame.len() - rest.len() + size_bytes + rate_bytes + 1;
    // The checksum follows what it is of, so that of both is 0.
    if checksum(frame.get(..header_bytes)?) != 0 {
        return None;
    }
    let is_variable = strategy & 1 == 1;
    let first = if is_variable {
        coded
    } else {
        coded * info.block_samples
    };
    Some(first + samples)
}

fn extra_size_bytes(code: u8) -> usize {
    match code {
        6 => 1,
        7 => 2,
        _ => 0,
    }
}

fn extra_rate_bytes(code: u8) -> Option<usize> {
    match code {
        12 => Some(1),
        13 | 14 => Some(2),
        15 => None,
        _ => Some(0),
    }
}

/// A number of up to 36 bits, written as UTF-8 writes characters, and what follows it.
fn coded_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let length = match first.leading_ones() as usize {
        0 => 1,
        length @ 2..=7 => length,
        _ => return None,
    };
    let more = bytes.get(1..length)?;
    let own = if length == 1 {
        u64::from(first)
    } else {
        u64::from(first) & (0x7f >> length)
    };
    let coded = more
        .iter()
        .fold(own, |coded, byte| coded << 6 | u64::from(byte & 0x3f));
    Some((coded, &bytes[length..]))
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The cyclic redundancy check of a header, from 0 on.
fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ byte, |sum, _| {
            let carry = sum >> 7;
            (sum << 1) ^ (carry * 0x07)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_frames_are_read_at_any_length() {
        assert_eq!(coded_number(&[0x7f, 9]).unwrap().0, 127);
        assert_eq!(coded_number(&[0xc2, 0x80]).unwrap().0, 128);
        assert_eq!(coded_number(&[0xe1, 0x80, 0x80]).unwrap().0, 4096);
        let largest = [0xfe, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf, 0xbf];
        assert_eq!(coded_number(&largest).unwrap().0, (1 << 36) - 1);
        assert!(coded_number(&[0x80]).is_none() && coded_number(&[0xc2]).is_none());
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // CRC-8 (SMBus) of the usual nine digits.
        assert_eq!(checksum(b"123456789"), 0xf4);
    }

    const HERTZ: u64 = 8000;
    const FIXED: u8 = 0xf8;
    const VARIABLE: u8 = 0xf9;

    /// The start of a file of frames of up to 400 samples, and what it says of the largest frame.
    fn start(samples: u64, largest_frame_bytes: u8) -> Vec<u8> {
        let mut start = b"fLaC\x80\0\0\x22".to_vec();
        start.extend([1, 144, 1, 144, 0, 0, 0, 0, 0, largest_frame_bytes]);
        start.extend((HERTZ << 44 | samples).to_be_bytes());
        start.extend([0; 16]);
        start
    }

    /// A frame, whose number is that of itself or of its first sample. Nobody decodes what it holds.
    fn frame(strategy: u8, number: u8, samples: u16) -> Vec<u8> {
        let (high, low) = (0xc0 | number >> 6, 0x80 | number & 0x3f);
        let mut frame = vec![0xff, strategy, 0x70, 0x02, high, low];
        frame.extend((samples - 1).to_be_bytes());
        frame.push(checksum(&frame));
        frame.extend([0x55; 500]);
        frame
    }

    /// Ten seconds: two hundred frames of 400 samples.
    fn fixed() -> Vec<u8> {
        let frames = (0..200).flat_map(|number| frame(FIXED, number, 400));
        start(80_000, 0).into_iter().chain(frames).collect()
    }

    fn extent(bytes: &[u8]) -> Extent {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        inspect(bytes, &mut file, bytes.len() as u64).unwrap()
    }

    fn seconds(bytes: &[u8]) -> (f64, Option<f64>) {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let extent = extent(bytes);
        (seconds(extent.seen_ns), extent.lasts_ns.map(seconds))
    }

    #[test]
    fn frames_say_where_they_end_whatever_the_file_says_of_their_size() {
        let whole = fixed();
        assert_eq!(seconds(&whole), (10.0, Some(10.0)));
        for largest_frame_bytes in [1, 255] {
            let mut stated = start(80_000, largest_frame_bytes);
            stated.extend(&whole[42..]);
            assert_eq!(seconds(&stated), (10.0, Some(10.0)));
        }
        let half = &whole[..42 + (whole.len() - 42) / 2];
        assert_eq!(seconds(half), (5.0, Some(10.0)));
        // The last frame is there by its header, which is all that is left of it.
        assert_eq!(seconds(&whole[..whole.len() - 500]).0, 10.0);
        assert_eq!(seconds(&whole[..whole.len() - 501]).0, 9.95);
    }

    #[test]
    fn frames_of_varying_size_count_samples() {
        let sizes = [40, 100, 7, 33, 20];
        let mut bytes = start(200, 0);
        let mut first = 0;
        for samples in sizes {
            bytes.extend(frame(VARIABLE, first, samples));
            first += u8::try_from(samples).unwrap();
        }
        assert_eq!(seconds(&bytes), (0.025, Some(0.025)));
        let two = &bytes[..42 + 2 * 509];
        assert_eq!(seconds(two), (0.0175, Some(0.025)));
    }

    #[test]
    fn damage_and_what_stands_behind_the_sound_hide_no_frame() {
        let whole = fixed();
        let mut flipped = whole.clone();
        let last = flipped.len() - 100;
        flipped[last] ^= 4;
        let trailers = [&b"TAG"[..], &[b'x'; 125]].concat();
        let junk: Vec<u8> = (0..100_000_u32)
            .map(|n| (n.wrapping_mul(n) >> 7) as u8)
            .collect();
        for bytes in [
            flipped,
            [&whole[..], &trailers].concat(),
            [&whole[..], &junk].concat(),
        ] {
            assert_eq!(seconds(&bytes).0, 10.0);
        }
        // A tag larger than what is looked at leaves the parser alone with it.
        let tagged = [&whole[..], &vec![0; 2 << 20]].concat();
        assert_eq!(seconds(&tagged), (0.0, Some(10.0)));
    }

    #[test]
    fn what_looks_like_a_frame_behind_the_stated_end_is_none() {
        let bytes = [fixed(), frame(FIXED, 255, 400)].concat();
        assert_eq!(seconds(&bytes).0, 10.0);
    }

    #[test]
    fn a_file_that_does_not_state_its_length_promises_nothing() {
        let mut bytes = start(0, 0);
        bytes.extend(frame(FIXED, 0, 400));
        assert_eq!(extent(&bytes), Extent::default());
        assert_eq!(extent(&bytes[..20]), Extent::default());
    }
}
