//! Which renditions a video gets. Pure.

use crate::media::plan::Rung;
use crate::media::report::{Ratio, Size};

/// x264 preset. `veryfast` costs a third of `medium` for about 10 % more bytes; workers are paid
/// for by the hour.
const PRESET: &str = "veryfast";

/// Constant rate factor: x264's own default, visually transparent for most on a phone.
const CRF: u32 = 23;

/// The longest edge of a rendition: what H.264 level 5.1 decoders take.
const MAX_LONG_EDGE: u32 = 4096;

/// Short edge, and the cap of the rate in kbit/s at up to 30 frames per second: the usual
/// 5000/2800/1400/800 ladder, and one rung for bad connections.
const RUNGS: [(u32, u32); 5] = [
    (1080, 5000),
    (720, 2800),
    (480, 1400),
    (360, 800),
    (240, 400),
];

/// The renditions of a video of that display size and output frame rate, largest first: every
/// standard short edge up to the source's own. Never upscaled; a source below the smallest gets
/// one rendition of its own size. Aspect is kept, edges are even.
#[must_use]
pub fn ladder(display: Size, frame_rate: Ratio) -> Vec<Rung> {
    let limit = largest_short_edge(display);
    let mut rungs: Vec<Rung> = RUNGS
        .iter()
        .filter(|(short, _)| *short <= limit)
        .map(|(short, kbps)| rung(display, *short, scaled_rate(*kbps, frame_rate)))
        .collect();
    if rungs.is_empty() {
        let (_, kbps) = RUNGS[RUNGS.len() - 1];
        rungs.push(rung(display, even(limit), scaled_rate(kbps, frame_rate)));
    }
    rungs
}

/// The short edge at which nothing is upscaled and the long edge is within [`MAX_LONG_EDGE`].
fn largest_short_edge(display: Size) -> u32 {
    let (short, long) = (
        display.short_edge(),
        display.width.max(display.height).max(1),
    );
    if long <= MAX_LONG_EDGE {
        return short;
    }
    u32::try_from(u64::from(short) * u64::from(MAX_LONG_EDGE) / u64::from(long)).unwrap_or(short)
}

/// More than 30 frames per second get half as much again: the frames are more, but more alike.
fn scaled_rate(kbps: u32, frame_rate: Ratio) -> u32 {
    if frame_rate.num > 31 * frame_rate.den {
        kbps * 3 / 2
    } else {
        kbps
    }
}

fn rung(display: Size, short: u32, max_kbps: u32) -> Rung {
    let of = u64::from(display.short_edge().max(1));
    let scale = |edge: u32| {
        let nearest = (u64::from(edge) * u64::from(short) + of) / (2 * of) * 2;
        u32::try_from(nearest)
            .unwrap_or(MAX_LONG_EDGE)
            .clamp(2, even(edge))
    };
    let size = Size {
        width: scale(display.width),
        height: scale(display.height),
    };
    Rung {
        name: format!("r{}_h264", size.short_edge()),
        size,
        crf: CRF,
        max_kbps,
        preset: PRESET.to_owned(),
    }
}

/// The even number at or below, but at least 2.
fn even(edge: u32) -> u32 {
    (edge & !1).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILM: Ratio = Ratio { num: 24, den: 1 };

    fn sizes(width: u32, height: u32) -> Vec<(u32, u32)> {
        ladder(Size { width, height }, FILM)
            .iter()
            .map(|rung| (rung.size.width, rung.size.height))
            .collect()
    }

    #[test]
    fn a_720p_source_gets_every_rung_up_to_its_size() {
        assert_eq!(
            sizes(1280, 720),
            [(1280, 720), (854, 480), (640, 360), (426, 240)]
        );
    }

    #[test]
    fn a_portrait_source_is_measured_by_its_short_edge() {
        assert_eq!(sizes(1080, 1920)[..2], [(1080, 1920), (720, 1280)]);
    }

    #[test]
    fn a_source_between_two_rungs_is_not_upscaled() {
        assert_eq!(sizes(518, 488), [(510, 480), (382, 360), (254, 240)]);
    }

    #[test]
    fn a_source_below_the_smallest_rung_keeps_its_size() {
        assert_eq!(sizes(161, 121), [(160, 120)]);
        assert_eq!(sizes(1, 1), [(2, 2)]);
    }

    #[test]
    fn a_panorama_stays_within_what_decoders_take() {
        assert!(
            sizes(16_384, 1080)
                .iter()
                .all(|(width, _)| *width <= MAX_LONG_EDGE)
        );
    }

    #[test]
    fn fast_video_gets_more_bits() {
        let size = Size {
            width: 1280,
            height: 720,
        };
        assert_eq!(
            ladder(
                size,
                Ratio {
                    num: 60_000,
                    den: 1001
                }
            )[0]
            .max_kbps,
            4200
        );
        assert_eq!(
            ladder(
                size,
                Ratio {
                    num: 30_000,
                    den: 1001
                }
            )[0]
            .max_kbps,
            2800
        );
    }
}
