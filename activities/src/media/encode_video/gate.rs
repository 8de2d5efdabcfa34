//! Which decoded frames are shown, at which tick, and on which the encoders begin anew.

use crate::media::encoded::{seconds, ticks_of};
use crate::media::report::Ratio;
use crate::tool::ToolError;

use super::spec::{SourceFacts, Spec};

/// Frames per second of the fastest rendition.
const MAX_FRAME_RATE: u32 = 60;

/// How much of the end of a source may be missing. Containers round the last duration.
pub(super) const ALLOWED_LOSS_NS: u64 = 200_000_000;

/// How far containers round times: Matroska and FLV count milliseconds.
const ROUNDING_NS: u64 = 1_000_000;

/// How far frames of a variable rate may be reordered. Longer gaps begin with a keyframe, across
/// which nothing is reordered: below four frames per second, where that costs little.
const VARIABLE_REORDER_NS: u64 = 500_000_000;

/// Frames by which x264 reorders at most: one level of B-frames that are references themselves.
const REORDER_FRAMES: u64 = 2;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is outside of the chunk, or dropped to keep the frame rate within bounds.
    Skip,
    /// It is shown.
    Show {
        /// When, in ticks of the renditions.
        ticks: u64,
        /// Whether the encoders begin a closed group of pictures with it.
        keyframe: bool,
    },
    /// It and all that follow belong to the next chunk.
    Over,
}

/// Decides over the frames of one chunk, in order of time.
///
/// The first frame at or after the start of a segment begins that segment and is shown at the
/// start as planned, to the tick: so every rendition and every chunk agrees on the boundaries,
/// and the first frame of a video that begins late is held from 0.
#[derive(Debug)]
pub(super) struct Gate {
    starts_ns: Vec<u64>,
    seeks_ns: Vec<u64>,
    until_ns: Option<u64>,
    tolerance_ns: u64,
    timescale: u32,
    reorder_ticks: u64,
    thin: Option<Ratio>,
    /// The segment whose first frame comes next.
    next: usize,
    first: usize,
    slot: Option<u64>,
    last_ticks: Option<u64>,
    /// Ticks of the last two frames since the last keyframe, that one not included.
    since_keyframe: [Option<u64>; 2],
    over: bool,
}

impl Gate {
    pub(super) fn new(spec: &Spec) -> Self {
        let first = spec.first_segment().unwrap_or(0);
        let slow = output_frame_rate(spec.facts.frame_rate);
        Self {
            starts_ns: spec.chunk.starts_ns.clone(),
            seeks_ns: spec.chunk.seeks_ns.clone(),
            until_ns: spec.chunk.until_ns,
            tolerance_ns: tolerance_ns(&spec.facts),
            timescale: spec.timescale,
            reorder_ticks: reorder_ticks(&spec.facts, spec.timescale).into(),
            thin: (slow != spec.facts.frame_rate).then_some(slow),
            next: first,
            first,
            slot: None,
            last_ticks: None,
            since_keyframe: [None; 2],
            over: false,
        }
    }

    /// Start of the first segment that is needed.
    pub(super) fn starts_at_ns(&self) -> u64 {
        self.starts_ns[self.first]
    }

    /// Where decoding has to begin; `None` for the beginning of the file. The keyframe's time is
    /// rounded by the container, so aim a little behind it.
    pub(super) fn seek_ns(&self) -> Option<u64> {
        let keyframe_ns = self.seeks_ns[self.first];
        (keyframe_ns > 0).then(|| (keyframe_ns + ROUNDING_NS).min(self.starts_at_ns()))
    }

    /// Whether a frame lies behind the first one that is needed.
    pub(super) fn is_past_start(&self, at_ns: i64) -> bool {
        at_ns > signed(self.starts_at_ns() + self.tolerance_ns)
    }

    /// Whether a frame behind the chunk was seen, so that nothing of it can be missing.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether every segment has a frame.
    pub(super) fn all_begun(&self) -> bool {
        self.next == self.starts_ns.len()
    }

    /// Decides over the frame at stream time `at_ns`.
    ///
    /// # Errors
    /// `input` if a whole segment has no frame.
    pub(super) fn judge(&mut self, at_ns: i64) -> Result<Verdict, ToolError> {
        let reaches = |time_ns: u64| at_ns + signed(self.tolerance_ns) >= signed(time_ns);
        if self.until_ns.is_some_and(reaches) {
            self.over = true;
            return Ok(Verdict::Over);
        }
        if self
            .starts_ns
            .get(self.next + 1)
            .copied()
            .is_some_and(reaches)
        {
            return Err(self.hole());
        }
        if self.starts_ns.get(self.next).copied().is_some_and(reaches) {
            return Ok(self.begin_segment(at_ns));
        }
        if self.next == self.first {
            return Ok(Verdict::Skip);
        }
        Ok(self.go_on(u64::try_from(at_ns).unwrap_or(0)))
    }

    fn begin_segment(&mut self, at_ns: i64) -> Verdict {
        let ticks = ticks_of(self.starts_ns[self.next], self.timescale);
        self.next += 1;
        self.slot = self.slot_of(u64::try_from(at_ns).unwrap_or(0));
        self.show(ticks, true)
    }

    fn go_on(&mut self, at_ns: u64) -> Verdict {
        let slot = self.slot_of(at_ns);
        let ticks = ticks_of(at_ns, self.timescale);
        let crowded = slot.is_some() && slot <= self.slot;
        if crowded || Some(ticks) <= self.last_ticks {
            return Verdict::Skip;
        }
        self.slot = slot;
        let gap = self.since_keyframe[0].is_some_and(|ago| ticks - ago > self.reorder_ticks);
        self.show(ticks, gap)
    }

    fn show(&mut self, ticks: u64, keyframe: bool) -> Verdict {
        self.last_ticks = Some(ticks);
        self.since_keyframe = if keyframe {
            [None; 2]
        } else {
            [self.since_keyframe[1], Some(ticks)]
        };
        Verdict::Show { ticks, keyframe }
    }

    /// The place of a time in the grid of the slower rate; one frame is kept in each. The grid
    /// lies a quarter of a frame off, where rounded times cannot cross its lines.
    fn slot_of(&self, at_ns: u64) -> Option<u64> {
        let rate = self.thin?;
        let quarters =
            4 * u128::from(at_ns) * u128::from(rate.num) / (1_000_000_000 * u128::from(rate.den));
        u64::try_from((quarters + 1) / 4).ok()
    }

    fn hole(&self) -> ToolError {
        ToolError::input(
            "source_damaged",
            format!(
                "the source has no picture between {:.1} s and {:.1} s",
                seconds(self.starts_ns[self.next]),
                seconds(self.starts_ns[self.next + 1]),
            ),
        )
    }
}

/// The frame rate of the renditions of a source: its own up to 60, else the largest whole
/// fraction of it that is not above 60, so that frames stay evenly spaced.
#[must_use]
pub fn output_frame_rate(source: Ratio) -> Ratio {
    let too_fast = |divisor: u32| {
        u64::from(source.num)
            > u64::from(MAX_FRAME_RATE) * u64::from(source.den) * u64::from(divisor)
    };
    let divisor = (1..).find(|&divisor| !too_fast(divisor)).unwrap_or(1);
    Ratio {
        num: source.num,
        den: source.den.saturating_mul(divisor),
    }
}

/// How far the renditions reorder frames, in ticks: constant, so that segments of all chunks join.
pub(super) fn reorder_ticks(facts: &SourceFacts, timescale: u32) -> u32 {
    let rate = output_frame_rate(facts.frame_rate);
    let frame_ns = 1_000_000_000 * u64::from(rate.den) / u64::from(rate.num);
    let reorder_ns = if facts.variable_frame_rate {
        VARIABLE_REORDER_NS.max(REORDER_FRAMES * frame_ns)
    } else {
        REORDER_FRAMES * (frame_ns + ROUNDING_NS)
    };
    u32::try_from(ticks_of(reorder_ns, timescale) + 1).unwrap_or(u32::MAX)
}

/// How far a frame may lie before the start of a segment and still begin it: half a frame, or
/// only what containers round where frames come at any time.
fn tolerance_ns(facts: &SourceFacts) -> u64 {
    let half_ns = facts.frame_ns() / 2;
    if facts.variable_frame_rate {
        half_ns.min(ROUNDING_NS)
    } else {
        half_ns
    }
}

fn signed(ns: u64) -> i64 {
    i64::try_from(ns).unwrap_or(i64::MAX)
}
