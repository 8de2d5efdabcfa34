//! What follows from the times of a video's frames: rate, cuts, where to seek. Pure.

use crate::media::report::Ratio;

const SECOND_NS: u64 = 1_000_000_000;

/// How far a frame may be from an even grid. Matroska and FLV round to 1 ms, so the first frame
/// and any other may each be off by half of it.
const GRID_TOLERANCE_NS: u64 = 1_100_000;

/// Rates in use, each also in its NTSC form (times 1000/1001).
const NOMINAL_RATES: [u32; 9] = [24, 25, 30, 48, 50, 60, 90, 100, 120];

/// How long a single frame is shown when nothing says it: that of a frame at 25 fps.
const STILL_NS: u64 = SECOND_NS / 25;

/// How often frames are shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rate {
    /// Frames per second: exact if constant, else the average.
    pub(super) frames: Ratio,
    /// Whether frames are unevenly spaced.
    pub(super) variable: bool,
}

/// The rate of frames shown at `times` (ascending) until `end`, or 0 if nothing says how long the
/// last one is shown. `stated` is what the container or the stream claims; it is believed if the
/// frames agree.
pub(super) fn rate(times: &[u64], end: u64, stated: Option<Ratio>) -> Rate {
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return Rate {
            frames: Ratio { num: 0, den: 1 },
            variable: false,
        };
    };
    if times.len() == 1 {
        let shown = end.checked_sub(*first).filter(|shown| *shown > 0);
        let frames = stated.unwrap_or_else(|| ratio(1, shown.unwrap_or(STILL_NS)));
        return Rate {
            frames,
            variable: false,
        };
    }
    // A cut without re-encoding may leave only a part of the first frame.
    let cut = times.len() > 2 && times[1] - first < times[2] - times[1];
    let after_cut = &times[usize::from(cut)..];
    let steps = times.len() as u64 - 1;
    let average = ratio(steps, last - first);
    let simplest = convergents(steps, last - first);
    let constant = (stated.into_iter().chain(nominal()).chain(simplest))
        .filter(|rate| nearly_equal(*rate, average))
        .find(|rate| on_grid(times, *rate) || on_grid(after_cut, *rate));
    match constant {
        Some(frames) => Rate {
            frames,
            variable: false,
        },
        None => Rate {
            frames: if end > *last {
                ratio(steps + 1, end - first)
            } else {
                average
            },
            variable: true,
        },
    }
}

/// The usual rates.
fn nominal() -> impl Iterator<Item = Ratio> {
    NOMINAL_RATES
        .into_iter()
        .flat_map(|fps| {
            [
                Ratio { num: fps, den: 1 },
                Ratio {
                    num: fps * 1000,
                    den: 1001,
                },
            ]
        })
        .chain((1..=23).map(|fps| Ratio { num: fps, den: 1 }))
}

/// Within 1 %; the grid decides the rest.
fn nearly_equal(a: Ratio, b: Ratio) -> bool {
    let (a, b) = (
        u64::from(a.num) * u64::from(b.den),
        u64::from(b.num) * u64::from(a.den),
    );
    a.abs_diff(b) <= b / 100
}

fn on_grid(times: &[u64], rate: Ratio) -> bool {
    let first = times[0];
    times.iter().zip(0..).all(|(time, n)| {
        let expected = first.saturating_add(frames_ns(n, rate));
        time.abs_diff(expected) <= GRID_TOLERANCE_NS
    })
}

/// `count` events in a time, as a fraction with a denominator of at most 1001.
pub(super) fn ratio(count: u64, time_ns: u64) -> Ratio {
    convergents(count, time_ns)
        .take_while(|ratio| ratio.den <= 1001)
        .last()
        .unwrap_or(Ratio { num: 0, den: 1 })
}

/// Ever better fractions for `count` events in a time: the convergents of the continued fraction,
/// simplest first.
fn convergents(count: u64, time_ns: u64) -> impl Iterator<Item = Ratio> {
    let mut value = (
        u128::from(count) * u128::from(SECOND_NS),
        u128::from(time_ns),
    );
    let (mut before, mut best) = ((0u128, 1u128), (1u128, 0u128));
    std::iter::from_fn(move || {
        let whole = value.0.checked_div(value.1)?;
        let next = (whole * best.0 + before.0, whole * best.1 + before.1);
        (before, best) = (best, next);
        value = (value.1, value.0 % value.1);
        Some(Ratio {
            num: u32::try_from(next.0).ok()?,
            den: u32::try_from(next.1).ok()?,
        })
    })
    .filter(|ratio| ratio.num > 0)
}

/// How long one frame is shown at a rate.
pub(super) fn frame_ns(rate: Ratio) -> u64 {
    frames_ns(1, rate)
}

/// How long some frames are shown at a rate; 0 for a rate of 0.
pub(super) fn frames_ns(frames: u64, rate: Ratio) -> u64 {
    let ns = u128::from(frames) * u128::from(SECOND_NS) * u128::from(rate.den);
    let ns = ns.checked_div(rate.num.into()).unwrap_or(0);
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// The first frame at or after each multiple of the segment length, from the second segment on.
/// A frame that is first after several multiples is named once.
pub(super) fn cuts(times: &[u64], segment_ns: u64) -> Vec<u64> {
    let mut cuts = Vec::new();
    let mut border = segment_ns.max(1);
    for time in times {
        if *time >= border {
            cuts.push(*time);
            border = (time / segment_ns.max(1) + 1) * segment_ns.max(1);
        }
    }
    cuts
}

/// For each cut the last keyframe at or before it; 0 where there is none.
pub(super) fn seeks(cuts: &[u64], keyframes: &[u64]) -> Vec<u64> {
    cuts.iter()
        .map(|cut| {
            let after = keyframes.partition_point(|keyframe| keyframe <= cut);
            after.checked_sub(1).map_or(0, |last| keyframes[last])
        })
        .collect()
}

/// The longest time from one keyframe to the next, or to the end.
pub(super) fn longest_gop(keyframes: &[u64], end: u64) -> u64 {
    let next = keyframes.iter().skip(1).chain([&end]);
    keyframes
        .iter()
        .zip(next)
        .map(|(keyframe, next)| next.saturating_sub(*keyframe))
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(num: u64, den: u64, frames: u64) -> Vec<u64> {
        (0..frames).map(|n| n * SECOND_NS * den / num).collect()
    }

    fn rounded_to_ms(times: &[u64]) -> Vec<u64> {
        times
            .iter()
            .map(|time| (time + 500_000) / 1_000_000 * 1_000_000)
            .collect()
    }

    #[test]
    fn ntsc_rates_survive_millisecond_timestamps() {
        for (num, den) in [
            (24000, 1001),
            (30000, 1001),
            (60000, 1001),
            (24, 1),
            (30, 1),
        ] {
            let times = rounded_to_ms(&grid(num, den, 1000));
            let found = rate(&times, 0, None);
            let expected = Ratio {
                num: u32::try_from(num).unwrap(),
                den: u32::try_from(den).unwrap(),
            };
            assert_eq!((found.frames, found.variable), (expected, false));
        }
    }

    #[test]
    fn an_unusual_constant_rate_is_kept_exactly() {
        let times = grid(179, 6, 1189);
        let found = rate(&times, 0, None);
        assert_eq!(found.frames, Ratio { num: 179, den: 6 });
        assert!(!found.variable);
    }

    #[test]
    fn a_stated_rate_that_the_frames_contradict_is_not_believed() {
        let times = grid(25, 1, 100);
        let found = rate(
            &times,
            0,
            Some(Ratio {
                num: 90_000,
                den: 1,
            }),
        );
        assert_eq!(found.frames, Ratio { num: 25, den: 1 });
    }

    #[test]
    fn one_missing_frame_makes_a_rate_variable() {
        let mut times = grid(25, 1, 100);
        times.remove(50);
        let found = rate(&times, 4 * SECOND_NS, None);
        assert!(found.variable);
        assert_eq!(found.frames, Ratio { num: 99, den: 4 });
    }

    #[test]
    fn cuts_are_the_first_frames_of_segments() {
        let times = [0, 2, 4, 7, 8, 11, 12, 25, 26].map(|s| s * SECOND_NS);
        let cuts = cuts(&times, 6 * SECOND_NS);
        assert_eq!(cuts, [7, 12, 25].map(|s| s * SECOND_NS));
        let keyframes = [0, 8, 12].map(|s| s * SECOND_NS);
        assert_eq!(seeks(&cuts, &keyframes), [0, 12, 12].map(|s| s * SECOND_NS));
        assert_eq!(longest_gop(&keyframes, 26 * SECOND_NS), 14 * SECOND_NS);
    }

    #[test]
    fn a_video_shorter_than_a_segment_has_no_cuts() {
        assert!(cuts(&grid(25, 1, 100), 6 * SECOND_NS).is_empty());
    }
}
