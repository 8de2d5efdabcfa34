//! The highest bit rate of any run of segments.

use std::collections::VecDeque;

/// What sums of times may be off by, in seconds.
const ROUNDING_S: f64 = 1e-9;

/// Rounds of the search. Each finds a run of a higher rate, and five are usual.
const MAX_ROUNDS: usize = 50;

/// The highest bit rate of the runs that last from `shortest` to `longest` seconds; `None` if there
/// is none. Segments are their seconds and bits.
///
/// Trying each run would cost the square of their number where the target duration is long. This
/// looks for a run above a rate, and from its rate on for a better one (Dinkelbach's method), each
/// time along the segments once.
pub(super) fn of_runs(
    segments: impl Iterator<Item = (f64, f64)>,
    (shortest, longest): (f64, f64),
) -> Option<f64> {
    let mut ends = vec![(0.0, 0.0)];
    let (mut seconds, mut bits) = (0.0, 0.0);
    for segment in segments {
        seconds += segment.0;
        bits += segment.1;
        ends.push((seconds, bits));
    }
    let limits = (
        (shortest - ROUNDING_S).max(ROUNDING_S),
        longest + ROUNDING_S,
    );
    let mut best = None;
    for _ in 0..MAX_ROUNDS {
        match above(&ends, limits, best) {
            Some(rate) if best.is_none_or(|best| rate > best) => best = Some(rate),
            _ => break,
        }
    }
    best
}

/// The rate of the run that has most bits more than it would have at the rate `than`.
fn above(ends: &[(f64, f64)], (shortest, longest): (f64, f64), than: Option<f64>) -> Option<f64> {
    let than = than.unwrap_or(0.0);
    let excess = |at: usize| ends[at].1 - than * ends[at].0;
    // Where runs may begin, from the lowest excess on; behind each only later and higher ones.
    let mut starts: VecDeque<usize> = VecDeque::new();
    let mut best: Option<(f64, usize, usize)> = None;
    let mut next = 0;
    for end in 0..ends.len() {
        while next < end && ends[end].0 - ends[next].0 >= shortest {
            while starts
                .back()
                .is_some_and(|last| excess(*last) >= excess(next))
            {
                starts.pop_back();
            }
            starts.push_back(next);
            next += 1;
        }
        while starts
            .front()
            .is_some_and(|start| ends[end].0 - ends[*start].0 > longest)
        {
            starts.pop_front();
        }
        let Some(&start) = starts.front() else {
            continue;
        };
        let more = excess(end) - excess(start);
        if best.is_none_or(|(most, ..)| more > most) {
            best = Some((more, start, end));
        }
    }
    let (_, start, end) = best?;
    Some((ends[end].1 - ends[start].1) / (ends[end].0 - ends[start].0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every run, one after the other.
    fn tried(segments: &[(f64, f64)], (shortest, longest): (f64, f64)) -> Option<f64> {
        let mut best: Option<f64> = None;
        for from in 0..segments.len() {
            let (mut seconds, mut bits) = (0.0, 0.0);
            for segment in &segments[from..] {
                seconds += segment.0;
                bits += segment.1;
                if (shortest..=longest).contains(&seconds) {
                    best = Some(best.unwrap_or(0.0).max(bits / seconds));
                }
            }
        }
        best
    }

    #[test]
    fn the_peak_is_that_of_the_best_run() {
        let mut dice = 7_u64;
        let mut below = |limit: u64| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (dice >> 33) % limit
        };
        for _ in 0..500 {
            let count = below(40);
            let mut segment = || (below(16) as f64 / 2.0, below(1000) as f64);
            let segments: Vec<_> = (0..count).map(|_| segment()).collect();
            let limits = (3.0, 9.0);
            let found = of_runs(segments.iter().copied(), limits);
            let wanted = tried(&segments, limits);
            match (found, wanted) {
                (Some(found), Some(wanted)) => {
                    assert!((found - wanted).abs() < 1e-6, "{segments:?}")
                }
                _ => assert_eq!(found, wanted, "{segments:?}"),
            }
        }
    }

    #[test]
    fn segments_without_length_have_no_rate() {
        let nothing = (0..1000).map(|_| (0.0, 8.0));
        assert_eq!(of_runs(nothing, (0.0, 0.0)), None);
    }
}
