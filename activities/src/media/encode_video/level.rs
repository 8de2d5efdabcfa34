//! Which level of H.264 a rendition of varying frame rate is.
//!
//! x264 finds the level by itself from the frame rate it is told, and is told none where the rate
//! varies: it then supposes 25, and a recording with 60 promises less than it asks of a decoder.

use crate::media::plan::Rung;
use crate::media::report::Ratio;

/// Level times ten, macroblocks per second, per picture and in the decoded picture buffer, kbit
/// in the coded picture buffer: ITU-T H.264, table A-1, High profile.
const LEVELS: [(u8, u64, u64, u64, u64); 14] = [
    (11, 3_000, 396, 900, 625),
    (12, 6_000, 396, 2_376, 1_250),
    (13, 11_880, 396, 2_376, 2_500),
    (20, 11_880, 396, 2_376, 2_500),
    (21, 19_800, 792, 4_752, 5_000),
    (22, 20_250, 1_620, 8_100, 5_000),
    (30, 40_500, 1_620, 8_100, 12_500),
    (31, 108_000, 3_600, 18_000, 17_500),
    (32, 216_000, 5_120, 20_480, 25_000),
    (40, 245_760, 8_192, 32_768, 31_250),
    (42, 522_240, 8_704, 34_816, 78_125),
    (50, 589_824, 22_080, 110_400, 168_750),
    (51, 983_040, 36_864, 184_320, 300_000),
    (52, 2_073_600, 36_864, 184_320, 300_000),
];

/// Pictures that a decoder keeps for B-frames in a pyramid, the most that any preset asks for.
const KEPT_PICTURES: u64 = 4;

/// By how much the rate may exceed what the container said, in percent.
const MARGIN: u64 = 5;

/// The lowest level that takes a rendition at about that rate, times ten.
pub(super) fn level(rung: &Rung, rate: Ratio, buffer_ms: u32) -> u8 {
    let blocks = |edge: u32| u64::from(edge.div_ceil(16));
    let picture = blocks(rung.size.width) * blocks(rung.size.height);
    let per_second =
        picture * u64::from(rate.num) * (100 + MARGIN) / (100 * u64::from(rate.den.max(1)));
    let buffer_kbit = u64::from(rung.max_kbps) * u64::from(buffer_ms) / 1000;
    let fits = LEVELS.iter().find(|(_, rate, size, kept, coded)| {
        per_second <= *rate
            && picture <= *size
            && picture * KEPT_PICTURES <= *kept
            && buffer_kbit <= *coded
    });
    fits.unwrap_or(&LEVELS[LEVELS.len() - 1]).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::report::Size;

    #[test]
    fn the_level_follows_size_and_rate() {
        let level = |width, height, num| {
            let rung = Rung {
                name: "r".to_owned(),
                size: Size { width, height },
                crf: 23,
                max_kbps: 2800,
                preset: "veryfast".to_owned(),
            };
            super::level(&rung, Ratio { num, den: 1 }, 2000)
        };
        assert_eq!(level(1280, 720, 24), 31);
        assert_eq!(level(1280, 720, 30), 32);
        assert_eq!(level(1920, 1080, 24), 40);
        assert_eq!(level(1920, 1080, 60), 42);
        assert_eq!(level(426, 240, 25), 30);
        assert_eq!(level(4096, 2160, 60), 52);
    }
}
