//! Parameter sets and slice headers of H.264 (ITU-T H.264, 7.3), as far as rules need them.

mod picture;
mod pps;
mod sps;

pub(super) use picture::{Picture, read_picture};
pub(super) use pps::Pps;
pub(super) use sps::Sps;

/// Types of NAL units (table 7-1).
pub(super) const NAL_SLICE: u8 = 1;
pub(super) const NAL_IDR: u8 = 5;
pub(super) const NAL_SEI: u8 = 6;
pub(super) const NAL_SPS: u8 = 7;
pub(super) const NAL_PPS: u8 = 8;
pub(super) const NAL_AUD: u8 = 9;
pub(super) const NAL_FILLER: u8 = 12;

/// Table A-1: level_idc, macroblocks per second, macroblocks per picture, and those that the
/// decoded picture buffer holds.
const LEVELS: [(u8, u64, u64, u64); 20] = [
    (9, 1_485, 99, 396),
    (10, 1_485, 99, 396),
    (11, 3_000, 396, 900),
    (12, 6_000, 396, 2_376),
    (13, 11_880, 396, 2_376),
    (20, 11_880, 396, 2_376),
    (21, 19_800, 792, 4_752),
    (22, 20_250, 1_620, 8_100),
    (30, 40_500, 1_620, 8_100),
    (31, 108_000, 3_600, 18_000),
    (32, 216_000, 5_120, 20_480),
    (40, 245_760, 8_192, 32_768),
    (41, 245_760, 8_192, 32_768),
    (42, 522_240, 8_704, 34_816),
    (50, 589_824, 22_080, 110_400),
    (51, 983_040, 36_864, 184_320),
    (52, 2_073_600, 36_864, 184_320),
    (60, 4_177_920, 139_264, 696_320),
    (61, 8_355_840, 139_264, 696_320),
    (62, 16_711_680, 139_264, 696_320),
];

/// Why a stream is beyond its level; `None` if it is not.
pub(super) fn beyond_level(sps: &Sps, frames_per_second: f64) -> Option<String> {
    let level = LEVELS.iter().find(|(idc, ..)| *idc == sps.level);
    let Some((_, per_second, per_picture, buffered)) = level else {
        return Some(format!("there is no level {}", sps.level));
    };
    let picture = sps.macroblocks();
    if picture > *per_picture {
        return Some(format!(
            "{picture} macroblocks per picture, {per_picture} allowed"
        ));
    }
    let rate = picture as f64 * frames_per_second;
    if rate > *per_second as f64 * RATE_TOLERANCE {
        return Some(format!(
            "{rate:.0} macroblocks per second, {per_second} allowed"
        ));
    }
    let frames = (buffered / picture.max(1)).min(16);
    let references = u64::from(sps.reference_frames);
    (references > frames).then(|| format!("{references} reference frames, {frames} allowed"))
}

/// What the rounding of frame durations and the clock of a camera do to a rate: a telephone that
/// says 30 took 30.6 pictures a second.
const RATE_TOLERANCE: f64 = 1.05;
