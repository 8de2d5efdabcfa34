use serde::{Deserialize, Serialize};
use telecine_engine::activity::{ActivityError, MediaSpan};

use crate::media::plan::{Chunk, Rung};
use crate::media::renditions::{Rendition, Segment, Track};
use crate::package::EncodedChunk;

/// A checkpoint names all segments of the chunk, and is compared with the one before, so one is saved
/// when the new segments are at least this part of those before: what that takes stays proportional
/// to the segments, also where a source of ten hours is one chunk. Up to 500 segments, each has its
/// checkpoint.
const CHECKPOINT_PART: usize = 500;

/// The segments of a chunk that are durable: the value of the checkpoints of `video.encode`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Durable {
    /// Number of the first segment of the chunk.
    first_segment: u32,
    /// Number of segments of the chunk in each rendition.
    segments: u32,
    /// In the order of the ladder.
    rungs: Vec<RungDone>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct RungDone {
    name: String,
    /// Known once its encoder has started.
    track: Option<Track>,
    /// Durable segments, in order from the first of the chunk.
    segments: Vec<Segment>,
}

impl Durable {
    /// What a checkpoint holds, if it is one of this chunk and this ladder; nothing otherwise.
    pub(super) fn resume(checkpoint: Option<Self>, chunk: &Chunk, rungs: &[Rung]) -> Self {
        let fresh = Self::new(chunk, rungs);
        let same = |done: &Self| {
            let names = |d: &Self| d.rungs.iter().map(|r| r.name.clone()).collect::<Vec<_>>();
            (done.first_segment, done.segments) == (fresh.first_segment, fresh.segments)
                && names(done) == names(&fresh)
        };
        checkpoint.filter(same).unwrap_or(fresh)
    }

    fn new(chunk: &Chunk, rungs: &[Rung]) -> Self {
        Self {
            first_segment: chunk.first_segment,
            segments: u32::try_from(chunk.starts_ns.len()).unwrap_or(u32::MAX),
            rungs: rungs
                .iter()
                .map(|rung| RungDone {
                    name: rung.name.clone(),
                    track: None,
                    segments: Vec::new(),
                })
                .collect(),
        }
    }

    /// Number of the first segment of a rendition that is not durable.
    pub(super) fn next_segment(&self, rung: &str) -> u32 {
        let done = self.rungs.iter().find(|done| done.name == rung);
        self.first_segment + done.map_or(0, RungDone::count)
    }

    /// Number of the segment that the encoders work on: the first that some rendition lacks.
    pub(super) fn segment_in_work(&self) -> u32 {
        let durable = self.rungs.iter().map(RungDone::count).min().unwrap_or(0);
        self.first_segment + durable.min(self.segments.saturating_sub(1))
    }

    /// Whether every rendition has that segment.
    pub(super) fn reaches(&self, segment: u32) -> bool {
        self.rungs
            .iter()
            .all(|done| self.first_segment + done.count() > segment)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.rungs.iter().all(|done| done.count() == self.segments)
    }

    /// Notes the facts of a rendition.
    ///
    /// # Errors
    /// If they differ from those of the attempt that this one continues.
    pub(super) fn begin(&mut self, track: Track) -> Result<(), ActivityError> {
        let done = self.rung(&track.name)?;
        if done.track.as_ref().is_some_and(|before| *before != track) {
            return Err(ActivityError::bug(
                "renditions_differ",
                format!(
                    "the encoder of {} gives another header than in the attempt before",
                    track.name
                ),
            ));
        }
        done.track = Some(track);
        Ok(())
    }

    /// Adds a segment that is durable.
    ///
    /// # Errors
    /// If it is not the next one of its rendition.
    pub(super) fn add(&mut self, rung: &str, segment: Segment) -> Result<(), ActivityError> {
        let expected = self.next_segment(rung);
        if segment.number != expected {
            return Err(ActivityError::bug(
                "segment_out_of_order",
                format!(
                    "segment {} of {rung} came before {expected}",
                    segment.number
                ),
            ));
        }
        self.rung(rung)?.segments.push(segment);
        Ok(())
    }

    fn rung(&mut self, name: &str) -> Result<&mut RungDone, ActivityError> {
        let unknown = || {
            ActivityError::bug(
                "unknown_rendition",
                format!("nobody asked for a rendition {name}"),
            )
        };
        self.rungs
            .iter_mut()
            .find(|done| done.name == name)
            .ok_or_else(unknown)
    }

    /// After how many new segments the next checkpoint is worth its size.
    pub(super) fn checkpoint_interval(&self) -> usize {
        let durable: usize = self.rungs.iter().map(|done| done.segments.len()).sum();
        durable / CHECKPOINT_PART + 1
    }

    /// The media time that every rendition has.
    pub(super) fn covers(&self, chunk: &Chunk) -> Option<MediaSpan> {
        let count = self.rungs.iter().map(RungDone::count).min()? as usize;
        let to_ns = chunk.starts_ns.get(count).unwrap_or(&chunk.end_ns);
        Some(MediaSpan {
            from_s: super::seconds(*chunk.starts_ns.first()?),
            to_s: super::seconds(*to_ns),
        })
    }

    /// The chunk, if it is whole.
    ///
    /// # Errors
    /// If the encoder ended before its last segment.
    pub(super) fn finish(self) -> Result<EncodedChunk, ActivityError> {
        let segments = self.segments;
        let whole = |done: RungDone| {
            let complete = done.count() == segments;
            done.track.filter(|_| complete).map(|track| Rendition {
                track,
                segments: done.segments,
            })
        };
        let renditions: Option<Vec<Rendition>> = self.rungs.into_iter().map(whole).collect();
        renditions
            .map(|renditions| EncodedChunk { renditions })
            .ok_or_else(|| {
                ActivityError::bug(
                    "segments_missing",
                    "the encoder ended before its last segment",
                )
            })
    }
}

impl RungDone {
    fn count(&self) -> u32 {
        u32::try_from(self.segments.len()).unwrap_or(u32::MAX)
    }
}
