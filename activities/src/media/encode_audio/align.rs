//! Puts decoded samples at their exact place: sample `n` of the rendition is heard at `n / rate`.

use crate::media::encoded::{seconds, ticks_of};
use crate::tool::ToolError;

/// Deviations of timestamps that are taken for rounding, in parts of a second: 20 ms. Larger ones
/// are gaps and overlaps, and corrected, so that sound never drifts from the picture.
const JITTER_PARTS: u64 = 50;

/// How far behind the promised end a timestamp may lie. Further ones are damage; silence up to
/// them could fill a disk.
const OVERRUN_NS: u64 = 60_000_000_000;

/// What becomes of a run of decoded samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placement {
    /// Samples of silence before it.
    pub(super) silence: u64,
    /// Samples cut from its start.
    pub(super) skip: u64,
    /// Samples used after those.
    pub(super) take: u64,
    /// Number, within the rendition, of the first sample used.
    pub(super) at: u64,
}

/// Where the next sample of a rendition comes from.
#[derive(Debug)]
pub(super) struct Aligner {
    rate: u32,
    position: u64,
    end: Option<u64>,
    limit: u64,
    heard: bool,
}

impl Aligner {
    /// An aligner for a rendition that ends at `end_ns`, or, without, where the sound does, which
    /// the source promises for `promised_ns`.
    pub(super) fn new(rate: u32, end_ns: Option<u64>, promised_ns: u64) -> Self {
        Self {
            rate,
            position: 0,
            end: end_ns.map(|end_ns| ticks_of(end_ns, rate)),
            limit: ticks_of(promised_ns.max(end_ns.unwrap_or(0)) + OVERRUN_NS, rate),
            heard: false,
        }
    }

    /// Samples placed so far.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Whether the end is reached.
    pub(super) fn is_full(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }

    /// Places the next samples, the first of which is heard at stream time `at_ns`; without a
    /// time they follow the ones before.
    ///
    /// # Errors
    /// `input` if the time makes no sense.
    pub(super) fn place(
        &mut self,
        at_ns: Option<i64>,
        samples: u64,
    ) -> Result<Placement, ToolError> {
        let gap = at_ns.map_or(0, |at_ns| self.gap(at_ns));
        if gap > 0 && self.position + gap as u64 > self.limit {
            return Err(damaged(at_ns.unwrap_or(0)));
        }
        let room = self
            .end
            .map_or(u64::MAX, |end| end.saturating_sub(self.position));
        let silence = u64::try_from(gap).unwrap_or(0).min(room);
        let skip = u64::try_from(-gap).unwrap_or(0).min(samples);
        let take = (samples - skip).min(room - silence);
        let at = self.position + silence;
        self.position = at + take;
        self.heard |= take > 0;
        Ok(Placement {
            silence,
            skip,
            take,
            at,
        })
    }

    /// Samples of silence up to the end.
    pub(super) fn fill(&mut self) -> u64 {
        let missing = self.end.map_or(0, |end| end.saturating_sub(self.position));
        self.position += missing;
        missing
    }

    /// Samples between the position and a time; 0 for deviations that are only rounding. The
    /// first sound is placed to the sample.
    fn gap(&self, at_ns: i64) -> i64 {
        let at = ticks_of(at_ns.unsigned_abs(), self.rate) as i64 * at_ns.signum();
        let gap = at - self.position as i64;
        let rounding = if self.heard {
            u64::from(self.rate) / JITTER_PARTS
        } else {
            0
        };
        if gap.unsigned_abs() <= rounding {
            0
        } else {
            gap
        }
    }
}

fn damaged(at_ns: i64) -> ToolError {
    ToolError::input(
        "source_damaged",
        format!(
            "the audio of the source is damaged: it has a time stamp of {:.0} s",
            seconds(at_ns.unsigned_abs())
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn aligner(end_ns: Option<u64>) -> Aligner {
        Aligner::new(48_000, end_ns, 10_000_000_000)
    }

    #[test]
    fn sound_that_begins_late_is_preceded_by_silence() {
        let place = aligner(None).place(Some(500 * MS), 1024).unwrap();
        assert_eq!(
            (place.silence, place.skip, place.take, place.at),
            (24_000, 0, 1024, 24_000)
        );
    }

    #[test]
    fn sound_before_zero_is_cut() {
        let mut aligner = aligner(None);
        let place = aligner.place(Some(-10 * MS), 1024).unwrap();
        assert_eq!(
            (place.silence, place.skip, place.take, place.at),
            (0, 480, 544, 0)
        );
        assert_eq!(aligner.position(), 544);
    }

    #[test]
    fn rounded_times_move_nothing_but_gaps_are_filled() {
        let mut aligner = aligner(None);
        aligner.place(Some(0), 48_000).unwrap();
        let rounded = aligner.place(Some(1_001 * MS), 48_000).unwrap();
        assert_eq!((rounded.silence, rounded.skip), (0, 0));
        let late = aligner.place(Some(3_000 * MS), 48_000).unwrap();
        assert_eq!((late.silence, late.at), (48_000, 144_000));
        let overlapping = aligner.place(Some(3_500 * MS), 48_000).unwrap();
        assert_eq!((overlapping.skip, overlapping.take), (24_000, 24_000));
    }

    #[test]
    fn the_rendition_ends_with_the_video() {
        let mut aligner = aligner(Some(2_000_000_000));
        let place = aligner.place(Some(0), 90_000).unwrap();
        assert_eq!(place.take, 90_000);
        assert_eq!(aligner.fill(), 6_000);
        assert!(aligner.is_full());
        assert_eq!(aligner.place(Some(2_000 * MS), 5).unwrap().take, 0);
    }

    #[test]
    fn a_senseless_time_is_refused() {
        let error = aligner(None)
            .place(Some(1_000_000_000 * MS), 1024)
            .unwrap_err();
        assert_eq!(error.code, "source_damaged");
    }
}
