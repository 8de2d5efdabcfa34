//! When tiles are taken. Pure.

use super::MAX_TILES;
use crate::media::footage::bad_option;
use crate::tool::ToolError;

const SECOND_NS: u64 = 1_000_000_000;

/// Seconds from one tile to the next, of which the shortest is taken that keeps to
/// [`MAX_TILES`]. The last one is for a source of 24 hours, the longest there is.
const INTERVALS_S: [u64; 15] = [1, 2, 3, 5, 10, 15, 20, 30, 40, 60, 90, 120, 180, 300, 450];

/// Tiles at equal distances, the first for the time from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    pub(super) interval_ns: u64,
    pub(super) tiles: u32,
}

impl Schedule {
    /// Tiles for a video that ends at a time.
    ///
    /// # Errors
    /// `bad_option` if the interval that was given makes more than [`MAX_TILES`].
    pub(super) fn of(end_ns: u64, interval_ns: Option<u64>) -> Result<Self, ToolError> {
        let tiles = |interval_ns: u64| end_ns.div_ceil(interval_ns.max(1)).max(1);
        let fits = |interval_ns: &u64| tiles(*interval_ns) <= u64::from(MAX_TILES);
        let steps = INTERVALS_S.map(|seconds| seconds * SECOND_NS);
        let longest = steps[steps.len() - 1];
        let usual = steps.into_iter().find(fits).unwrap_or(longest);
        let interval_ns = interval_ns.unwrap_or(usual);
        if !fits(&interval_ns) {
            return Err(bad_option(format!(
                "there would be {} tiles, and at most {MAX_TILES} are made: take one every {} s \
                 or less often",
                tiles(interval_ns),
                end_ns.div_ceil(u64::from(MAX_TILES)).div_ceil(SECOND_NS)
            )));
        }
        Ok(Self {
            interval_ns,
            tiles: u32::try_from(tiles(interval_ns)).unwrap_or(MAX_TILES),
        })
    }

    /// The middle of each interval.
    pub(super) fn times_ns(self) -> impl Iterator<Item = u64> {
        let interval_ns = self.interval_ns;
        (0..u64::from(self.tiles)).map(move |n| n * interval_ns + interval_ns / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_tiles_is_bounded_whatever_the_length() {
        for (end_s, interval_s, tiles) in [
            (0, 1, 1),
            (3, 1, 3),
            (200, 1, 200),
            (201, 2, 101),
            (7200, 40, 180),
            (24 * 3600, 450, 192),
        ] {
            let schedule = Schedule::of(end_s * SECOND_NS, None).unwrap();
            assert_eq!(schedule.interval_ns, interval_s * SECOND_NS, "{end_s}");
            assert_eq!(schedule.tiles, tiles, "{end_s}");
        }
    }

    #[test]
    fn an_interval_that_makes_too_many_tiles_is_refused() {
        let hour_ns = 3600 * SECOND_NS;
        let refused = Schedule::of(hour_ns, Some(SECOND_NS)).unwrap_err();
        assert!(
            refused.message.contains("every 18 s"),
            "{}",
            refused.message
        );
        assert!(Schedule::of(hour_ns, Some(18 * SECOND_NS)).is_ok());
        assert!(Schedule::of(hour_ns, Some(0)).is_err());
    }
}
