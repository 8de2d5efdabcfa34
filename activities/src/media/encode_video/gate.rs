//! Which decoded frames are shown, at which tick, and on which the encoders begin anew.

use crate::media::encoded::{seconds, ticks_of};
use crate::media::report::Ratio;
use crate::tool::ToolError;

use super::spec::{SourceFacts, Spec};

/// Frames per second of the fastest rendition.
const MAX_FRAME_RATE: u32 = 60;

/// How much of the end of a source may be missing. Containers round the last duration.
pub(crate) const ALLOWED_LOSS_NS: u64 = 200_000_000;

/// How far containers round times: Matroska and FLV count milliseconds, so that two times may be
/// off by half of one each.
const ROUNDING_NS: u64 = 1_100_000;

/// How far x264 reorders frames at most: one level of B-frames that are references themselves.
const REORDER_FRAMES: usize = 2;

/// How much later than it is decoded a frame may be shown.
///
/// The edit of a track takes the delay away, but hls.js does not read edits: it takes all frames to
/// be that much later than the browser shows them. Up to 50 ms it forgives; two frames at 25 per
/// second made it now and then take a segment for lost, and with two seconds, at one frame per
/// second, it put segments in the wrong place. Without references among B-frames files are 1 to 2 %
/// larger at equal SSIM (three clips, preset veryfast), without B-frames 20 %.
const MAX_DELAY_NS: u64 = 50_000_000;

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
    ruler: Ruler,
    reordering: Reordering,
    thin: Option<Ratio>,
    /// The segment whose first frame comes next.
    next: usize,
    first: usize,
    slot: Option<u64>,
    last_ticks: Option<u64>,
    /// Ticks of the last two frames since the last keyframe, that one not included; newest first.
    since_keyframe: [Option<u64>; REORDER_FRAMES],
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
            ruler: Ruler::of(spec),
            reordering: Reordering::of(&spec.facts, spec.timescale),
            thin: (slow != spec.facts.frame_rate).then_some(slow),
            next: first,
            first,
            slot: None,
            last_ticks: None,
            since_keyframe: [None; REORDER_FRAMES],
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
        let ticks = self.ruler.ticks(self.starts_ns[self.next]);
        self.next += 1;
        self.slot = self.slot_of(u64::try_from(at_ns).unwrap_or(0));
        self.show(ticks, true)
    }

    fn go_on(&mut self, at_ns: u64) -> Verdict {
        let slot = self.slot_of(at_ns);
        let ticks = self.ruler.ticks(at_ns);
        let crowded = slot.is_some() && slot <= self.slot;
        if crowded || Some(ticks) <= self.last_ticks {
            return Verdict::Skip;
        }
        self.slot = slot;
        self.show(ticks, self.is_gap(ticks))
    }

    /// Whether a frame that is shown before this one, and may be decoded after it, would be decoded
    /// later than it is to be shown.
    fn is_gap(&self, ticks: u64) -> bool {
        let shown_before = self.since_keyframe[..self.reordering.frames].iter();
        let oldest = shown_before.flatten().last();
        oldest.is_some_and(|oldest| ticks - oldest > u64::from(self.reordering.ticks))
    }

    fn show(&mut self, ticks: u64, keyframe: bool) -> Verdict {
        self.last_ticks = Some(ticks);
        self.since_keyframe = if keyframe {
            [None; REORDER_FRAMES]
        } else {
            [Some(ticks), self.since_keyframe[0]]
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

/// Turns times into ticks.
///
/// Where frames are evenly spaced and last whole ticks, times within a container's rounding of
/// the grid of frames, which begins with the first one, are put onto it: 29.97 frames per second
/// in Matroska's milliseconds come out at exactly 1001 ticks of 1/30000 s each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ruler {
    timescale: u32,
    /// Tick of the first frame, on which the grid stands.
    first: u64,
    frame_ticks: Option<u64>,
}

impl Ruler {
    /// The ruler of all renditions.
    pub(super) fn of(spec: &Spec) -> Self {
        let rate = spec.facts.frame_rate;
        let unit = u64::from(spec.timescale) * u64::from(rate.den);
        let whole = !spec.facts.variable_frame_rate && unit % u64::from(rate.num) == 0;
        Self {
            timescale: spec.timescale,
            first: ticks_of(spec.facts.start_ns, spec.timescale),
            frame_ticks: whole.then(|| unit / u64::from(rate.num)),
        }
    }

    /// The tick of a time.
    pub(super) fn ticks(self, time_ns: u64) -> u64 {
        let ticks = ticks_of(time_ns, self.timescale);
        let nearest = self.frame_ticks.map(|frame| {
            let phase = self.first % frame;
            (ticks + frame - phase + frame / 2) / frame * frame + phase - frame
        });
        let rounding = ticks_of(ROUNDING_NS, self.timescale);
        nearest
            .filter(|nearest| nearest.abs_diff(ticks) <= rounding)
            .unwrap_or(ticks)
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

/// How far the renditions reorder frames: constant, so that segments of all chunks join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reordering {
    /// Frames that may be shown before one that is decoded before them.
    pub(super) frames: usize,
    /// How long they last at most, and the containers' rounding.
    pub(super) ticks: u32,
}

impl Reordering {
    /// As many frames as [`MAX_DELAY_NS`] allows.
    ///
    /// None where the rate varies. The depth would have to cover the slowest frames, and ffmpeg
    /// takes a decode time 0.1 s before what it has shown for a break in the stream: with 0.5 s for
    /// all it dropped 11 of 210 frames.
    pub(super) fn of(facts: &SourceFacts, timescale: u32) -> Self {
        let rate = output_frame_rate(facts.frame_rate);
        let frame_ns = 1_000_000_000 * u64::from(rate.den) / u64::from(rate.num) + ROUNDING_NS;
        let frames = match MAX_DELAY_NS / frame_ns {
            _ if facts.variable_frame_rate => 0,
            0 => 0,
            1 => 1,
            _ => REORDER_FRAMES,
        };
        let ticks = if frames == 0 {
            0
        } else {
            ticks_of(frames as u64 * frame_ns, timescale) + 1
        };
        Self {
            frames,
            ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::encode_video::RungWork;
    use crate::media::plan::{Chunk, Rung};
    use crate::media::report::{Colour, Size};

    const MS: u64 = 1_000_000;

    fn spec(num: u32, den: u32) -> Spec {
        Spec {
            source: "clip.mp4".into(),
            facts: SourceFacts {
                index: 0,
                origin_ns: 0,
                start_ns: 0,
                rotation: 0,
                mirrored: false,
                interlaced: false,
                frame_rate: Ratio { num, den },
                variable_frame_rate: false,
                guessed_times: false,
                stored: None,
                pixel_aspect: Ratio { num: 1, den: 1 },
                colour: Colour::default(),
            },
            chunk: Chunk {
                index: 0,
                first_segment: 1,
                starts_ns: vec![0, 6_000 * MS],
                seeks_ns: vec![0, 0],
                until_ns: Some(12_000 * MS),
                end_ns: 12_000 * MS,
            },
            rungs: vec![RungWork {
                rung: Rung {
                    name: "r90_h264".to_owned(),
                    size: Size {
                        width: 160,
                        height: 90,
                    },
                    crf: 23,
                    max_kbps: 500,
                    preset: "veryfast".to_owned(),
                },
                from_segment: 1,
            }],
            timescale: 30_000,
            frames_before: 0,
            out_dir: "segments".into(),
        }
    }

    fn shown(gate: &mut Gate, at_ns: u64) -> Option<(u64, bool)> {
        match gate.judge(at_ns as i64).unwrap() {
            Verdict::Show { ticks, keyframe } => Some((ticks, keyframe)),
            Verdict::Skip | Verdict::Over => None,
        }
    }

    #[test]
    fn a_boundary_is_not_moved_by_rounding() {
        let mut gate = Gate::new(&spec(25, 1));
        assert_eq!(shown(&mut gate, 0), Some((0, true)));
        assert_eq!(shown(&mut gate, 5_960 * MS), Some((178_800, false)));
        assert_eq!(shown(&mut gate, 5_999 * MS), Some((180_000, true)));
        assert_eq!(gate.judge(11_999 * MS as i64), Ok(Verdict::Over));
        assert!(gate.all_begun() && gate.is_over());
    }

    #[test]
    fn frames_before_the_first_segment_that_is_needed_are_skipped() {
        let mut spec = spec(25, 1);
        spec.rungs[0].from_segment = 2;
        let mut gate = Gate::new(&spec);
        assert_eq!(shown(&mut gate, 5_920 * MS), None);
        assert_eq!(shown(&mut gate, 6_000 * MS), Some((180_000, true)));
    }

    #[test]
    fn milliseconds_are_put_onto_the_grid_of_frames() {
        let mut gate = Gate::new(&spec(30_000, 1001));
        let ticks = [0, 33, 67, 100, 133].map(|ms| shown(&mut gate, ms * MS).unwrap().0);
        assert_eq!(ticks, [0, 1001, 2002, 3003, 4004]);
    }

    #[test]
    fn a_grid_that_begins_late_is_kept() {
        let mut spec = spec(30, 1);
        spec.facts.start_ns = 407 * MS;
        let mut gate = Gate::new(&spec);
        let ticks = [407, 440, 473, 507].map(|ms| shown(&mut gate, ms * MS).unwrap().0);
        assert_eq!(
            ticks,
            [0, 13_210, 14_210, 15_210],
            "the first is held from 0"
        );
    }

    #[test]
    fn nothing_is_reordered_across_a_long_gap() {
        let mut gate = Gate::new(&spec(25, 1));
        let at = |gate: &mut Gate, ms: u64| shown(gate, ms * MS).unwrap().1;
        assert!(at(&mut gate, 0));
        assert!(!at(&mut gate, 40) && !at(&mut gate, 80) && !at(&mut gate, 120));
        assert!(at(&mut gate, 400), "a keyframe behind the gap");
        assert!(!at(&mut gate, 440));
        assert!(at(&mut gate, 600), "also when only one frame came between");
    }

    #[test]
    fn frames_are_delayed_by_50_ms_at_most() {
        let of = |num, den| {
            let reordering = Reordering::of(&spec(num, den).facts, 90_000);
            (reordering.frames, reordering.ticks)
        };
        assert_eq!(of(60, 1), (2, 3199));
        assert_eq!(of(50, 1), (2, 3799));
        assert_eq!(of(30, 1), (1, 3100));
        assert_eq!(of(24_000, 1001), (1, 3854));
        assert_eq!(of(15, 1), (0, 0));
        assert_eq!(of(1, 1), (0, 0));
        assert_eq!(of(120, 1).0, 2, "after every second frame has gone");
    }

    #[test]
    fn a_second_frame_at_the_same_time_is_dropped() {
        let mut gate = Gate::new(&spec(25, 1));
        assert!(shown(&mut gate, 0).is_some());
        assert!(shown(&mut gate, 40 * MS).is_some());
        assert_eq!(shown(&mut gate, 40 * MS), None);
        assert_eq!(shown(&mut gate, 20 * MS), None);
    }

    #[test]
    fn a_segment_without_a_picture_is_damage() {
        let mut spec = spec(25, 1);
        spec.chunk.starts_ns.insert(1, 3_000 * MS);
        spec.chunk.seeks_ns.push(0);
        let mut gate = Gate::new(&spec);
        assert!(shown(&mut gate, 0).is_some());
        assert_eq!(
            gate.judge(6_500 * MS as i64).unwrap_err().code,
            "source_damaged"
        );
    }

    #[test]
    fn fast_rates_are_divided_by_a_whole_number() {
        let divided = |num, den| {
            let rate = output_frame_rate(Ratio { num, den });
            (rate.num, rate.den)
        };
        assert_eq!(divided(60, 1), (60, 1));
        assert_eq!(divided(60_000, 1001), (60_000, 1001));
        assert_eq!(divided(120, 1), (120, 2));
        assert_eq!(divided(120_000, 1001), (120_000, 2002));
        assert_eq!(divided(90, 1), (90, 2));
        assert_eq!(divided(240, 1), (240, 4));
    }

    #[test]
    fn one_frame_in_two_of_a_fast_source_is_shown() {
        let mut gate = Gate::new(&spec(120, 1));
        // Rounded to milliseconds, as Matroska has them.
        let times = (0..240_u64).map(|frame| (frame * 1000 + 60) / 120 * MS);
        let ticks: Vec<u64> = times
            .filter_map(|at| shown(&mut gate, at))
            .map(|s| s.0)
            .collect();
        let even: Vec<u64> = (0..120).map(|frame| frame * 500).collect();
        assert_eq!(ticks, even);
    }
}
