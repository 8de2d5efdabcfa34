//! `video.plan_chunks`: which renditions a video gets, where its segments are cut, and in which
//! parts it is encoded. Sound without video is cut on the same grid.

use schemars::JsonSchema;
use serde::Deserialize;
use telecine_engine::activity::{Activity, ActivityError, Context};

use crate::audio::main_track;
use crate::ladder::ladder;
use crate::media::encode_video::{SourceFacts, output_frame_rate};
use crate::media::plan::{Chunk, EncodePlan, SEGMENT_NS};
use crate::media::report::{Ratio, Report, VideoTrack};

/// A segment shorter than this is joined to the one before it: players stumble over slivers.
const SHORTEST_SEGMENT_NS: u64 = 500_000_000;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// Shortest chunk. Restarting rate control costs 1.3 % of the bytes at 4-8 s and nothing that can
/// be measured at 30 s; starting a decoder costs 0.15 s.
const SHORTEST_CHUNK_NS: u64 = 30 * NS_PER_SECOND;

/// A chunk spans at least so many of the source's longest GOP: what is decoded in vain before its
/// first frame is then at most a quarter of it.
const GOPS_PER_CHUNK: u64 = 4;

/// Ticks per second where no other number makes frames whole ticks.
const USUAL_TIMESCALE: u32 = 90_000;

/// A timescale below this would round segment times visibly.
const LOWEST_TIMESCALE: u32 = 10_000;

/// A timescale above this overflows nothing but is of no use: the rate is an average anyway.
const HIGHEST_TIMESCALE: u32 = 1_000_000;

/// See the module.
#[derive(Debug)]
pub struct PlanChunks;

/// Input of [`PlanChunks`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Output of `media.probe`.
    probe: Report,
    /// Shortest length of a chunk in seconds; 30 if not given. More than the video lasts makes one
    /// chunk of it.
    #[schemars(range(min = 6, max = 86_400))]
    chunk_s: Option<u32>,
}

impl Activity for PlanChunks {
    const NAME: &'static str = "video.plan_chunks";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Chooses the ladder of a video and the chunks in which it is encoded.";
    type Input = Input;
    type Output = EncodePlan;

    async fn run(&self, _ctx: &Context, input: Input) -> Result<EncodePlan, ActivityError> {
        let shortest_ns = input.chunk_s.map_or(SHORTEST_CHUNK_NS, |seconds| {
            u64::from(seconds) * NS_PER_SECOND
        });
        match &input.probe.video {
            Some(video) => Ok(plan(video, input.probe.chunkable, shortest_ns)),
            None => Ok(plan_sound(main_track(&input.probe.audio)?.end_ns)),
        }
    }
}

/// Plans the encoding of a video track, in chunks of `shortest_ns` or more if it can be divided.
#[must_use]
pub fn plan(video: &VideoTrack, chunkable: bool, shortest_ns: u64) -> EncodePlan {
    let frame_rate = output_frame_rate(video.frame_rate);
    let cuts = cuts(video);
    let chunks = if chunkable {
        let shortest_ns = shortest_ns.max(GOPS_PER_CHUNK.saturating_mul(video.longest_gop_ns));
        chunks(&cuts, video.end_ns, shortest_ns)
    } else {
        vec![chunk(&cuts, 0..cuts.len(), video.end_ns)]
    };
    EncodePlan {
        rungs: ladder(video.display, frame_rate),
        chunks,
        segment_starts_ns: cuts.iter().map(|cut| cut.start_ns).collect(),
        end_ns: video.end_ns,
        timescale: timescale(frame_rate, video.variable_frame_rate),
        video: Some(SourceFacts::from(video)),
    }
}

/// Plans the segments of sound that ends at `end_ns` and has no video.
#[must_use]
pub fn plan_sound(end_ns: u64) -> EncodePlan {
    let starts = (1..)
        .map(|n| n * SEGMENT_NS)
        .take_while(|start_ns| start_ns + SHORTEST_SEGMENT_NS <= end_ns);
    EncodePlan {
        rungs: Vec::new(),
        chunks: Vec::new(),
        segment_starts_ns: std::iter::once(0).chain(starts).collect(),
        end_ns,
        timescale: USUAL_TIMESCALE,
        video: None,
    }
}

/// Where a segment starts, and where decoding for it has to begin.
#[derive(Debug, Clone, Copy)]
struct Cut {
    start_ns: u64,
    seek_ns: u64,
}

/// Starts of all segments, without those that would leave a sliver before or behind them.
fn cuts(video: &VideoTrack) -> Vec<Cut> {
    let mut cuts = vec![Cut {
        start_ns: 0,
        seek_ns: 0,
    }];
    for (&start_ns, &seek_ns) in video.cuts_ns.iter().zip(&video.seeks_ns) {
        let before = cuts.last().map_or(0, |cut| cut.start_ns);
        let whole = start_ns >= before + SHORTEST_SEGMENT_NS
            && start_ns + SHORTEST_SEGMENT_NS <= video.end_ns;
        if whole {
            cuts.push(Cut { start_ns, seek_ns });
        }
    }
    cuts
}

/// Splits the segments into chunks of one to two times the shortest length, each border where the
/// least is decoded in vain. The last may be half as long.
fn chunks(cuts: &[Cut], end_ns: u64, shortest_ns: u64) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    let mut from = 0;
    while let Some(to) = border(cuts, from, end_ns, shortest_ns) {
        chunks.push(chunk(cuts, from..to, end_ns));
        from = to;
    }
    chunks.push(chunk(cuts, from..cuts.len(), end_ns));
    for (index, chunk) in (0..).zip(&mut chunks) {
        chunk.index = index;
    }
    chunks
}

/// The segment with which the next chunk begins, if there is to be one.
fn border(cuts: &[Cut], from: usize, end_ns: u64, shortest_ns: u64) -> Option<usize> {
    let begin = cuts[from].start_ns;
    let latest = end_ns.checked_sub(shortest_ns / 2)?;
    let fits = |cut: &Cut| {
        let length = cut.start_ns - begin;
        length >= shortest_ns && length <= 2 * shortest_ns && cut.start_ns <= latest
    };
    (from + 1..cuts.len())
        .filter(|index| fits(&cuts[*index]))
        .min_by_key(|index| cuts[*index].start_ns - cuts[*index].seek_ns)
}

fn chunk(cuts: &[Cut], range: std::ops::Range<usize>, end_ns: u64) -> Chunk {
    let segments = &cuts[range.clone()];
    let next = cuts.get(range.end).map(|cut| cut.start_ns);
    Chunk {
        index: 0,
        first_segment: u32::try_from(range.start + 1).unwrap_or(u32::MAX),
        starts_ns: segments.iter().map(|cut| cut.start_ns).collect(),
        seeks_ns: segments.iter().map(|cut| cut.seek_ns).collect(),
        until_ns: next,
        end_ns: next.unwrap_or(end_ns),
    }
}

/// Ticks per second in which every frame of a constant rate lasts a whole number of ticks.
fn timescale(rate: Ratio, variable: bool) -> u32 {
    let exact = |timescale: u64| (timescale * u64::from(rate.den)).is_multiple_of(rate.num.into());
    if variable || rate.num == 0 || exact(USUAL_TIMESCALE.into()) {
        return USUAL_TIMESCALE;
    }
    let multiple = rate.num.saturating_mul(LOWEST_TIMESCALE.div_ceil(rate.num));
    if multiple <= HIGHEST_TIMESCALE {
        multiple
    } else {
        USUAL_TIMESCALE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::report::{Colour, Size};

    const SECOND: u64 = 1_000_000_000;

    /// A video with a keyframe every `gop` seconds, cut every six.
    fn video(seconds: u64, gop: u64) -> VideoTrack {
        let cuts_ns: Vec<u64> = (1..)
            .map(|n| n * 6 * SECOND)
            .take_while(|t| *t < seconds * SECOND)
            .collect();
        let size = Size {
            width: 1280,
            height: 720,
        };
        VideoTrack {
            index: 0,
            origin_ns: 0,
            codec: "h264".to_owned(),
            stored: size,
            display: size,
            pixel_aspect: Ratio { num: 1, den: 1 },
            rotation: 0,
            mirrored: false,
            frame_rate: Ratio { num: 24, den: 1 },
            variable_frame_rate: false,
            guessed_times: false,
            frames: seconds * 24,
            start_ns: 0,
            end_ns: seconds * SECOND,
            bit_depth: 8,
            chroma: "4:2:0".to_owned(),
            colour: Colour::default(),
            hdr: None,
            interlaced: false,
            seeks_ns: cuts_ns
                .iter()
                .map(|cut| cut / (gop * SECOND) * gop * SECOND)
                .collect(),
            cuts_ns,
            keyframes: seconds / gop,
            longest_gop_ns: gop * SECOND,
        }
    }

    fn lengths(plan: &EncodePlan) -> Vec<u64> {
        plan.chunks
            .iter()
            .map(|chunk| (chunk.end_ns - chunk.starts_ns[0]) / SECOND)
            .collect()
    }

    #[test]
    fn chunks_cover_the_video_without_gap_or_overlap() {
        for seconds in [1, 7, 52, 301, 3600] {
            let plan = plan(&video(seconds, 2), true, SHORTEST_CHUNK_NS);
            let starts: Vec<u64> = plan
                .chunks
                .iter()
                .flat_map(|chunk| chunk.starts_ns.clone())
                .collect();
            assert_eq!(starts, plan.segment_starts_ns);
            for pair in plan.chunks.windows(2) {
                assert_eq!(pair[0].until_ns, Some(pair[1].starts_ns[0]));
                let numbers = pair[0].starts_ns.len() as u32;
                assert_eq!(pair[0].first_segment + numbers, pair[1].first_segment);
            }
            let last = plan.chunks.last().unwrap();
            assert_eq!((last.until_ns, last.end_ns), (None, seconds * SECOND));
        }
    }

    #[test]
    fn chunks_take_half_a_minute_to_a_minute() {
        assert_eq!(
            lengths(&plan(&video(52, 2), true, SHORTEST_CHUNK_NS)),
            [30, 22]
        );
        let plan = plan(&video(3600, 2), true, SHORTEST_CHUNK_NS);
        assert!(
            lengths(&plan)
                .iter()
                .all(|length| (15..=60).contains(length))
        );
    }

    #[test]
    fn chunks_are_as_long_as_was_asked_for() {
        let chunks = |shortest| plan(&video(52, 2), true, shortest * SECOND).chunks.len();
        assert_eq!((chunks(86_400), chunks(12), chunks(6)), (1, 4, 5));
    }

    #[test]
    fn long_gops_make_long_chunks_that_begin_near_keyframes() {
        let plan = plan(&video(600, 20), true, SHORTEST_CHUNK_NS);
        assert!(
            lengths(&plan)
                .iter()
                .rev()
                .skip(1)
                .all(|length| *length >= 80)
        );
        for chunk in &plan.chunks {
            assert_eq!(
                chunk.starts_ns[0], chunk.seeks_ns[0],
                "decoding begins at the first frame"
            );
        }
    }

    #[test]
    fn a_source_without_exact_seeks_is_one_chunk() {
        assert_eq!(
            plan(&video(600, 2), false, SHORTEST_CHUNK_NS).chunks.len(),
            1
        );
    }

    #[test]
    fn sound_without_video_is_cut_on_the_grid_and_leaves_no_sliver() {
        let plan = plan_sound(18 * SECOND + 400_000_000);
        assert_eq!(plan.segment_starts_ns, [0, 6 * SECOND, 12 * SECOND]);
        assert!(plan.chunks.is_empty() && plan.rungs.is_empty() && plan.video.is_none());
        assert_eq!(plan_sound(300_000_000).segment_starts_ns, [0]);
    }

    #[test]
    fn a_sliver_at_the_end_joins_the_segment_before_it() {
        let mut track = video(12, 2);
        track.cuts_ns = vec![6 * SECOND, 12 * SECOND];
        track.seeks_ns.clone_from(&track.cuts_ns);
        track.end_ns = 12 * SECOND + 400_000_000;
        assert_eq!(
            plan(&track, true, SHORTEST_CHUNK_NS).segment_starts_ns,
            [0, 6 * SECOND]
        );
    }

    #[test]
    fn frames_of_every_usual_rate_last_whole_ticks() {
        let rates = [
            (24, 1),
            (25, 1),
            (30, 1),
            (50, 1),
            (60, 1),
            (24_000, 1001),
            (30_000, 1001),
            (60_000, 1001),
            (15, 2),
        ];
        for (num, den) in rates {
            let timescale = timescale(Ratio { num, den }, false);
            assert_eq!(
                u64::from(timescale) * u64::from(den) % u64::from(num),
                0,
                "{num}/{den}"
            );
            assert!((LOWEST_TIMESCALE..=USUAL_TIMESCALE).contains(&timescale));
        }
        assert_eq!(
            timescale(
                Ratio {
                    num: 1_193_471,
                    den: 40_000
                },
                false
            ),
            USUAL_TIMESCALE
        );
    }
}
