//! Which pictures of a video are looked at, and which of them is taken.
//!
//! A few at first, from the middle of the video; many more if none of them is good. Both numbers
//! are fixed, and each costs a seek to a keyframe and the frames of half a second, so a film of
//! two hours takes as long as one of two minutes.
//!
//! Where keyframes are too few to choose from, all frames of the first two minutes are decoded instead,
//! and the keyframes behind them are looked at if none of those is good.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::Progress;

use super::looks::{GOOD, Looks};
use crate::media::footage::Footage;
use crate::media::frames::{self, Frame, FrameReader};
use crate::media::paint::{Painter, Rgb};
use crate::media::report::Size;
use crate::tool::{Emitter, ToolError};

/// How many pictures are looked at first.
const FIRST_CANDIDATES: u64 = 12;

/// How many more if none of those is good: one for each second of the first minute.
const MORE_CANDIDATES: u64 = 64;

/// Where the first ones are, in thousandths of the video: titles and fades are near its start,
/// credits at its end.
const MIDDLE: (u64, u64) = (60, 900);

/// Where further ones are.
const ALMOST_ALL: (u64, u64) = (5, 990);

/// By how much a picture has to be better than those that were looked at before it: decoders of
/// other versions differ in the last bit.
const EQUAL: f64 = 0.01;

/// How far behind a picture the one is that it is compared with: three steps of a film.
const AFTER_NS: u64 = 250_000_000;

/// The longest edge of the pictures that are looked at. An edge that is out of focus on a
/// television is still soft at this size.
const LOOK_EDGE: u32 = 320;

/// In a video that has no keyframe near a candidate, all frames up to it are decoded; that is
/// done only so far, and what follows is known by its keyframes alone.
const DECODED_WITHOUT_KEYFRAMES_NS: u64 = 120_000_000_000;

/// How a cover was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// How good it is as a cover, from 0 (black) to 1.
    pub score: f64,
    /// How many pictures were looked at.
    pub candidates: u32,
}

/// The best of several pictures; of those that are equally good the one that was looked at first.
///
/// # Errors
/// `no_frames`, and those of decoding if not one picture can be had.
pub(super) fn choose(
    reader: &mut FrameReader,
    footage: &Footage,
    emit: &Emitter<()>,
) -> Result<(Frame, Choice), ToolError> {
    let edge = LOOK_EDGE;
    let within = Size {
        width: edge,
        height: edge,
    };
    let mut search = Search {
        painter: footage.painter(within),
        seen: Vec::new(),
        best: None,
    };
    for round in rounds(footage) {
        if !search.look(reader, &round, emit)? || search.is_good() {
            break;
        }
    }
    search.result()
}

/// Pictures that are looked at together.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    /// Whether the keyframe before a time does as well as the frame at it.
    by_keyframe: bool,
    /// Ascending.
    times_ns: Vec<u64>,
}

/// What is looked at, one after the other, until something good is found.
fn rounds(footage: &Footage) -> Vec<Round> {
    let (start, length) = (footage.video.start_ns, footage.length_ns());
    let by_keyframe = has_keyframes(footage);
    let decoded = length.min(DECODED_WITHOUT_KEYFRAMES_NS);
    let searched = if by_keyframe || !footage.exact_seeks {
        length
    } else {
        decoded
    };
    let among = |count, part| Round {
        by_keyframe,
        times_ns: spread(start, searched, count, part),
    };
    let mut rounds = vec![
        among(FIRST_CANDIDATES, MIDDLE),
        among(MORE_CANDIDATES, ALMOST_ALL),
    ];
    if searched < length {
        rounds.push(Round {
            by_keyframe: true,
            times_ns: spread(
                start + decoded,
                length - decoded,
                MORE_CANDIDATES,
                ALMOST_ALL,
            ),
        });
    }
    rounds
}

/// Whether seeking to keyframes gives as many different pictures as are looked for.
fn has_keyframes(footage: &Footage) -> bool {
    footage.exact_seeks && footage.video.keyframes >= 2 * FIRST_CANDIDATES
}

/// Times spread evenly over a part, in thousandths, of a length from a time on.
fn spread(start_ns: u64, length_ns: u64, count: u64, (from, to): (u64, u64)) -> Vec<u64> {
    let first = start_ns + length_ns / 1000 * from;
    let step = length_ns / 1000 * (to - from) / (count - 1);
    (0..count).map(|n| first + n * step).collect()
}

/// A frame with its score.
struct Scored {
    frame: Frame,
    score: f64,
}

struct Search {
    painter: Painter,
    /// Times of the frames that were looked at.
    seen: Vec<u64>,
    best: Option<Scored>,
}

impl Search {
    /// Looks at the pictures of some times. Says whether more can be had: a source that is damaged
    /// somewhere still gets the best cover of what was read before.
    fn look(
        &mut self,
        reader: &mut FrameReader,
        round: &Round,
        emit: &Emitter<()>,
    ) -> Result<bool, ToolError> {
        for time_ns in &round.times_ns {
            let frame = if round.by_keyframe {
                reader.keyframe_before(*time_ns)
            } else {
                reader.at(*time_ns)
            };
            match frame.and_then(|frame| self.candidate(reader, frame)) {
                Ok(()) => emit.progress(Progress {
                    counter: self.seen.len() as u64,
                    ..Progress::default()
                }),
                Err(error) if self.best.is_none() => return Err(error),
                Err(error) => {
                    emit.warn(format!(
                        "partial_cover: the cover was chosen from a part of the video: {error}"
                    ));
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn candidate(&mut self, reader: &mut FrameReader, frame: Frame) -> Result<(), ToolError> {
        if self.seen.contains(&frame.time_ns) {
            return Ok(());
        }
        self.seen.push(frame.time_ns);
        let picture = self.painter.paint(&frame)?;
        let after = self.shortly_after(reader, &frame)?;
        let score = Looks::of(&picture, &after).score();
        if self.beats_best(score) {
            self.best = Some(Scored { frame, score });
        }
        Ok(())
    }

    fn shortly_after(&self, reader: &mut FrameReader, frame: &Frame) -> Result<Rgb, ToolError> {
        self.painter.paint(&reader.at(frame.time_ns + AFTER_NS)?)
    }

    fn beats_best(&self, score: f64) -> bool {
        let best = self.best.as_ref();
        best.is_none_or(|best| score > best.score + EQUAL)
    }

    fn is_good(&self) -> bool {
        self.best.as_ref().is_some_and(|best| best.score >= GOOD)
    }

    fn result(self) -> Result<(Frame, Choice), ToolError> {
        let Scored { frame, score } = self.best.ok_or_else(frames::no_frames)?;
        let candidates = u32::try_from(self.seen.len()).unwrap_or(u32::MAX);
        // Three digits: more would only show how rounding went.
        let score = (score * 1000.0).round().max(0.0) / 1000.0;
        Ok((frame, Choice { score, candidates }))
    }
}
