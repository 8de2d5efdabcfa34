//! Where the data of a movie ends: the first sample that lies beyond the end of the file.

use std::time::Duration;

use super::{be_u32, be_u64, child, children, duration, versioned};

/// A movie whose data ends too early.
#[derive(Debug, PartialEq)]
pub(super) struct DataEnd {
    /// Decode time of the first sample that is not whole.
    pub(super) at: Duration,
    /// Length of that sample's track.
    pub(super) promised: Duration,
}

/// The earliest loss over all tracks; `None` if every sample is inside the file.
pub(super) fn data_end(moov: &[u8], file_bytes: u64) -> Option<DataEnd> {
    children(moov)
        .filter(|(kind, _)| kind == b"trak")
        .filter_map(|(_, trak)| track_end(trak, file_bytes))
        .min_by_key(|end| end.at)
}

fn track_end(trak: &[u8], file_bytes: u64) -> Option<DataEnd> {
    let mdia = child(trak, b"mdia")?;
    let mdhd = child(mdia, b"mdhd")?;
    let stbl = child(child(mdia, b"minf")?, b"stbl")?;
    let timescale = be_u32(mdhd, versioned(mdhd, 12, 20)?)?;
    let sample = first_beyond(stbl, file_bytes)?;
    let (at, promised) = decode_time(child(stbl, b"stts")?, sample);
    Some(DataEnd {
        at: duration(at, timescale),
        promised: duration(promised, timescale),
    })
}

/// Number (from 0) of the first sample in decode order that ends beyond the file.
fn first_beyond(stbl: &[u8], file_bytes: u64) -> Option<u64> {
    let sizes = Sizes::read(stbl)?;
    let runs = runs(child(stbl, b"stsc")?);
    let mut sample = 0;
    let mut run = 0;
    for (chunk, offset) in chunk_offsets(stbl).enumerate() {
        while runs
            .get(run + 1)
            .is_some_and(|next| next.0 as usize <= chunk + 1)
        {
            run += 1;
        }
        let samples = u64::from(runs.get(run)?.1).min(sizes.count - sample);
        let mut end = offset;
        for n in sizes.steps(samples) {
            end = end.saturating_add(sizes.bytes(sample, n));
            if end > file_bytes {
                return Some(sample + sizes.whole_before(end, file_bytes, n));
            }
            sample += n;
        }
        if sample >= sizes.count {
            return None;
        }
    }
    None
}

/// Sizes of samples: one for all, or one each (`stsz`, `stz2`).
struct Sizes<'a> {
    count: u64,
    constant: u64,
    /// Bits per entry of `table`.
    bits: u32,
    table: &'a [u8],
}

impl<'a> Sizes<'a> {
    fn read(stbl: &'a [u8]) -> Option<Self> {
        let (sizes, bits) = match child(stbl, b"stsz") {
            Some(stsz) => (stsz, 32),
            None => {
                let stz2 = child(stbl, b"stz2")?;
                (stz2, u32::from(*stz2.get(7)?))
            }
        };
        let constant = if bits == 32 { be_u32(sizes, 4)? } else { 0 };
        Some(Self {
            count: u64::from(be_u32(sizes, 8)?),
            constant: u64::from(constant),
            bits,
            table: sizes.get(12..)?,
        })
    }

    /// How many samples to look at in each step: all at once if they are equal.
    fn steps(&self, samples: u64) -> impl Iterator<Item = u64> + use<> {
        let (steps, each) = if self.constant > 0 {
            (u64::from(samples > 0), samples)
        } else {
            (samples, 1)
        };
        (0..steps).map(move |_| each)
    }

    /// Bytes of `n` samples from `sample` on.
    fn bytes(&self, sample: u64, n: u64) -> u64 {
        if self.constant > 0 {
            return self.constant.saturating_mul(n);
        }
        let Ok(index) = usize::try_from(sample) else {
            return 0;
        };
        let size = match self.bits {
            4 => self.table.get(index / 2).map(|pair| {
                let shift = if index % 2 == 0 { 4 } else { 0 };
                u32::from(pair >> shift & 15)
            }),
            8 => self.table.get(index).map(|byte| u32::from(*byte)),
            16 => (self.table.get(index * 2..index * 2 + 2))
                .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])),
            _ => be_u32(self.table, index * 4),
        };
        u64::from(size.unwrap_or(0))
    }

    /// How many of the last `n` samples, which end at `end`, are whole.
    fn whole_before(&self, end: u64, file_bytes: u64, n: u64) -> u64 {
        if self.constant == 0 {
            return 0;
        }
        let missing = (end - file_bytes).div_ceil(self.constant);
        n.saturating_sub(missing)
    }
}

/// `(first chunk, samples per chunk)` in order.
fn runs(stsc: &[u8]) -> Vec<(u32, u32)> {
    stsc.get(8..)
        .unwrap_or_default()
        .chunks_exact(12)
        .filter_map(|entry| Some((be_u32(entry, 0)?, be_u32(entry, 4)?)))
        .collect()
}

fn chunk_offsets(stbl: &[u8]) -> impl Iterator<Item = u64> {
    let stco = child(stbl, b"stco").and_then(|stco| stco.get(8..));
    let co64 = child(stbl, b"co64").and_then(|co64| co64.get(8..));
    let short = stco.unwrap_or_default().chunks_exact(4);
    let long = co64.unwrap_or_default().chunks_exact(8);
    short
        .filter_map(|entry| be_u32(entry, 0).map(u64::from))
        .chain(long.filter_map(|entry| be_u64(entry, 0)))
}

/// Decode time of a sample, and of the end of the track, in ticks (`stts`).
fn decode_time(stts: &[u8], sample: u64) -> (u64, u64) {
    let (mut time, mut total, mut before) = (0u64, 0u64, 0u64);
    for entry in stts.get(8..).unwrap_or_default().chunks_exact(8) {
        let (Some(count), Some(delta)) = (be_u32(entry, 0), be_u32(entry, 4)) else {
            break;
        };
        let (count, delta) = (u64::from(count), u64::from(delta));
        let counted = sample.saturating_sub(before).min(count);
        time = time.saturating_add(counted.saturating_mul(delta));
        total = total.saturating_add(count.saturating_mul(delta));
        before += count;
    }
    (time, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let size = u32::try_from(body.len() + 8).unwrap();
        [&size.to_be_bytes()[..], kind, body].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    /// Six samples of one second in chunks of two, at 1000, 2000 and 3000.
    fn moov(stsz: &[u32]) -> Vec<u8> {
        let stbl = [
            boxed(b"stts", &words(&[0, 1, 6, 10])),
            boxed(b"stsc", &words(&[0, 1, 1, 2, 1])),
            boxed(b"stsz", &words(stsz)),
            boxed(b"stco", &words(&[0, 3, 1000, 2000, 3000])),
        ]
        .concat();
        let minf = boxed(b"minf", &boxed(b"stbl", &stbl));
        let mdhd = boxed(b"mdhd", &words(&[0, 0, 0, 10, 60, 0]));
        let mdia = boxed(b"mdia", &[mdhd, minf].concat());
        boxed(b"trak", &mdia)
    }

    const EACH: [u32; 9] = [0, 0, 6, 100, 200, 100, 200, 100, 200];
    const CONSTANT: [u32; 3] = [0, 150, 6];

    #[test]
    fn a_movie_whose_last_sample_ends_with_the_file_is_whole() {
        assert_eq!(data_end(&moov(&EACH), 3300), None);
        assert_eq!(data_end(&moov(&CONSTANT), 3300), None);
    }

    #[test]
    fn the_first_sample_that_is_not_whole_says_where_the_data_ends() {
        for (file_bytes, second) in [(3299, 5), (3100, 5), (3099, 4), (2050, 2), (500, 0)] {
            let end = data_end(&moov(&EACH), file_bytes).unwrap();
            assert_eq!(end.at, Duration::from_secs(second), "{file_bytes} bytes");
            assert_eq!(end.promised, Duration::from_secs(6));
        }
    }

    #[test]
    fn samples_of_one_size_are_counted_without_a_table() {
        for (file_bytes, second) in [(3299, 5), (3149, 4), (2150, 3), (2149, 2)] {
            let end = data_end(&moov(&CONSTANT), file_bytes).unwrap();
            assert_eq!(end.at, Duration::from_secs(second), "{file_bytes} bytes");
        }
    }
}
