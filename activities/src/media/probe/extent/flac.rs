//! The last frame of a FLAC file (RFC 9639).

use std::fs::File;

use crate::tool::ToolError;

/// How much of the end is looked at where the file does not say how large its frames are. A frame of
/// usual sound has 16 KiB, the largest 16 MiB.
const TAIL_BYTES: u64 = 1 << 20;

/// What looks like the header of a frame, from the end of the file on. Chance makes one of 4 million bytes
/// look like that.
const CANDIDATES: usize = 16;

/// Room for tags behind the last frame.
const TAG_BYTES: u64 = 64 * 1024;

/// Whether a file ends otherwise than with the checksum of a frame, or with one that is not the last by
/// the number of samples that the file states.
pub(super) fn is_cut(head: &[u8], file: &mut File, file_bytes: u64) -> Result<bool, ToolError> {
    let Some(info) = Info::read(head) else {
        return Ok(false); // The demuxer says what is wrong.
    };
    let tail_bytes = match info.largest_frame_bytes {
        0 => TAIL_BYTES,
        largest => largest + TAG_BYTES,
    };
    let tail = super::read_tail(file, file_bytes, tail_bytes)?;
    let frames = without_tags(&tail);
    let ends = (0..frames.len())
        .rev()
        .filter_map(|at| Some((&frames[at..], end_sample(&frames[at..], &info)?)))
        .take(CANDIDATES)
        // The checksum follows what it is of, so that of both is 0.
        .find_map(|(frame, end)| (checksum(frame, 16, 0x8005) == 0).then_some(end));
    Ok(ends.is_none_or(|end| end < info.samples))
}

/// What the file says of itself at its start.
#[derive(Debug, Clone, Copy)]
struct Info {
    /// Samples of every frame but the last, where they are equal.
    block_samples: u64,
    /// 0 if it is not known.
    largest_frame_bytes: u64,
    /// Of each channel; 0 if it is not known.
    samples: u64,
}

impl Info {
    /// The first metadata block (section 8.2).
    fn read(head: &[u8]) -> Option<Self> {
        const SAMPLES: u64 = (1 << 36) - 1;
        let info = head.get(8..26)?;
        Some(Self {
            block_samples: number(&info[2..4]),
            largest_frame_bytes: number(&info[7..10]),
            samples: number(&info[10..18]) & SAMPLES,
        })
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
    if checksum(frame.get(..header_bytes)?, 8, 0x07) != 0 {
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

/// A cyclic redundancy check of so many bits, from 0 on.
fn checksum(bytes: &[u8], bits: u32, polynomial: u32) -> u32 {
    let mask = (1 << bits) - 1;
    bytes.iter().fold(0, |sum, byte| {
        let sum = sum ^ (u32::from(*byte) << (bits - 8));
        (0..8).fold(sum, |sum, _| {
            let carry = (sum >> (bits - 1)) & 1;
            ((sum << 1) ^ (carry * polynomial)) & mask
        })
    })
}

/// The end of a file without the tags that some programs put behind the sound: ID3v1, and APE before it.
fn without_tags(tail: &[u8]) -> &[u8] {
    const ID3V1_BYTES: usize = 128;
    const APE_FOOTER_BYTES: usize = 32;
    const APE_HAS_HEADER: u8 = 0x80;
    let tail = match tail.split_last_chunk::<ID3V1_BYTES>() {
        Some((before, tag)) if tag.starts_with(b"TAG") => before,
        _ => tail,
    };
    match tail.split_last_chunk::<APE_FOOTER_BYTES>() {
        Some((_, footer)) if footer.starts_with(b"APETAGEX") => {
            let bytes = u32::from_le_bytes([footer[12], footer[13], footer[14], footer[15]]);
            let header = usize::from(footer[23] & APE_HAS_HEADER != 0) * APE_FOOTER_BYTES;
            let end = tail.len().saturating_sub(bytes as usize + header);
            &tail[..end]
        }
        _ => tail,
    }
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
    fn checksums_are_those_of_the_standards() {
        // CRC-8 (SMBus) and CRC-16 (UMTS) of the usual nine digits.
        assert_eq!(checksum(b"123456789", 8, 0x07), 0xf4);
        assert_eq!(checksum(b"123456789", 16, 0x8005), 0xfee8);
    }
}
