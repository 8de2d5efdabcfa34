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
    /// Durable segments in order. Those that were lost leave holes; everything else that is missing
    /// comes behind the last.
    segments: Vec<Segment>,
}

/// Segments next to each other that one decode can make: whatever rendition lacks one of them lacks
/// those that follow as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    /// Number of its first segment.
    pub(super) from: u32,
    /// Number of the segment behind its last.
    pub(super) to: u32,
    /// The renditions that lack something of it, and the first segment that each lacks.
    pub(super) rungs: Vec<(String, u32)>,
}

impl Gap {
    /// Whether a segment behind the gap belongs to it that these renditions lack.
    fn goes_on(&self, number: u32, lacking: &[&str]) -> bool {
        self.to == number
            && !lacking.is_empty()
            && self
                .rungs
                .iter()
                .all(|(name, _)| lacking.contains(&name.as_str()))
    }

    fn add(&mut self, number: u32, lacking: &[&str]) {
        self.to = number + 1;
        for name in lacking {
            if self.rungs.iter().all(|(known, _)| known != name) {
                self.rungs.push(((*name).to_owned(), number));
            }
        }
    }

    /// The first segment that a rendition lacks in here.
    pub(super) fn first_of(&self, rung: &str) -> Option<u32> {
        let mut rungs = self.rungs.iter();
        rungs.find(|(name, _)| name == rung).map(|(_, from)| *from)
    }

    /// The gap as a chunk of its own.
    pub(super) fn of_chunk(&self, chunk: &Chunk) -> Chunk {
        let place = |number: u32| (number - chunk.first_segment) as usize;
        let part = place(self.from)..place(self.to);
        let behind_ns = chunk.starts_ns.get(part.end).copied();
        Chunk {
            index: chunk.index,
            first_segment: self.from,
            starts_ns: chunk.starts_ns[part.clone()].to_vec(),
            seeks_ns: chunk.seeks_ns[part].to_vec(),
            until_ns: behind_ns.or(chunk.until_ns),
            end_ns: behind_ns.unwrap_or(chunk.end_ns),
        }
    }
}

impl Durable {
    /// What a checkpoint holds without the objects that were damaged since, if it is one of this chunk
    /// and this ladder; nothing otherwise.
    pub(super) fn resume(
        checkpoint: Option<Self>,
        damaged: &[String],
        (chunk, rungs): (&Chunk, &[Rung]),
    ) -> Self {
        let fresh = Self::new(chunk, rungs);
        let same = |done: &Self| {
            let names = |d: &Self| d.rungs.iter().map(|r| r.name.clone()).collect::<Vec<_>>();
            (done.first_segment, done.segments) == (fresh.first_segment, fresh.segments)
                && names(done) == names(&fresh)
        };
        let mut durable = checkpoint.filter(same).unwrap_or(fresh);
        for done in &mut durable.rungs {
            done.segments
                .retain(|segment| !damaged.contains(&segment.object.key));
        }
        durable
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

    /// Number of the segment behind the last of the chunk.
    fn end(&self) -> u32 {
        self.first_segment + self.segments
    }

    /// What is to be made, in order of time; empty if the chunk is whole.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        let mut gaps: Vec<Gap> = Vec::new();
        for number in self.first_segment..self.end() {
            let lacking: Vec<&str> = self
                .rungs
                .iter()
                .filter(|done| done.place(number).is_err())
                .map(|done| done.name.as_str())
                .collect();
            match gaps.last_mut() {
                Some(gap) if gap.goes_on(number, &lacking) => gap.add(number, &lacking),
                _ if lacking.is_empty() => {}
                _ => {
                    let (from, to, rungs) = (number, number, Vec::new());
                    let mut gap = Gap { from, to, rungs };
                    gap.add(number, &lacking);
                    gaps.push(gap);
                }
            }
        }
        gaps
    }

    /// Number of the segment that the encoders work on: the first that some rendition lacks.
    pub(super) fn segment_in_work(&self) -> u32 {
        self.first_lacking().min(self.end().saturating_sub(1))
    }

    /// Number of the first segment that some rendition lacks; of the one behind the last if none does.
    fn first_lacking(&self) -> u32 {
        let of_rungs = self
            .rungs
            .iter()
            .map(|done| done.first_lacking(self.first_segment));
        of_rungs.min().unwrap_or(self.first_segment)
    }

    /// Whether every rendition has that segment.
    pub(super) fn reaches(&self, segment: u32) -> bool {
        self.rungs.iter().all(|done| done.place(segment).is_ok())
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
    /// If its rendition does not lack it.
    pub(super) fn add(&mut self, rung: &str, segment: Segment) -> Result<(), ActivityError> {
        let of_chunk = (self.first_segment..self.end()).contains(&segment.number);
        let done = self.rung(rung)?;
        match done.place(segment.number) {
            Err(place) if of_chunk => {
                done.segments.insert(place, segment);
                Ok(())
            }
            _ => Err(ActivityError::bug(
                "segment_out_of_order",
                format!("nobody asked for segment {} of {rung}", segment.number),
            )),
        }
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

    /// The media time that every rendition has from the start of the chunk.
    pub(super) fn covers(&self, chunk: &Chunk) -> Option<MediaSpan> {
        let count = (self.first_lacking() - self.first_segment) as usize;
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
        let segments = self.segments as usize;
        let whole = |done: RungDone| {
            let complete = done.segments.len() == segments;
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
    /// Where a segment is, or would be put.
    fn place(&self, number: u32) -> Result<usize, usize> {
        self.segments
            .binary_search_by_key(&number, |segment| segment.number)
    }

    /// Number of the first segment from `first` on that is not there.
    fn first_lacking(&self, first: u32) -> u32 {
        let in_row = self.segments.iter().zip(first..);
        let in_row = in_row.take_while(|(segment, number)| segment.number == *number);
        first + u32::try_from(in_row.count()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use telecine_engine::objects::Artifact;

    use super::*;
    use crate::media::report::Size;

    const NS: u64 = 1_000_000_000;

    fn chunk(segments: u64) -> Chunk {
        let starts: Vec<u64> = (0..segments).map(|place| (60 + 6 * place) * NS).collect();
        Chunk {
            index: 2,
            first_segment: 11,
            seeks_ns: starts.iter().map(|start| start - NS).collect(),
            starts_ns: starts,
            until_ns: Some((60 + 6 * segments) * NS),
            end_ns: (60 + 6 * segments) * NS,
        }
    }

    fn rungs() -> Vec<Rung> {
        let rung = |name: &str| Rung {
            name: name.to_owned(),
            size: Size {
                width: 160,
                height: 90,
            },
            crf: 23,
            max_kbps: 500,
            preset: "veryfast".to_owned(),
        };
        vec![rung("large"), rung("small")]
    }

    fn segment(rung: &str, number: u32) -> Segment {
        Segment {
            number,
            start_ticks: 0,
            duration_ticks: 1,
            samples: 1,
            object: Artifact {
                key: format!("{rung}/{number}"),
                size: 1,
                sha256: String::new(),
                media_type: String::new(),
            },
        }
    }

    /// A chunk of four segments, 11 to 14, that has those.
    fn durable(large: &[u32], small: &[u32]) -> Durable {
        let mut durable = Durable::resume(None, &[], (&chunk(4), &rungs()));
        for (rung, numbers) in [("large", large), ("small", small)] {
            for number in numbers {
                durable.add(rung, segment(rung, *number)).unwrap();
            }
        }
        durable
    }

    fn gap(from: u32, to: u32, rungs: &[(&str, u32)]) -> Gap {
        let rungs = rungs
            .iter()
            .map(|(name, from)| ((*name).to_owned(), *from))
            .collect();
        Gap { from, to, rungs }
    }

    #[test]
    fn what_a_killed_attempt_left_is_one_gap_to_the_end() {
        let everything = [gap(11, 15, &[("large", 11), ("small", 11)])];
        assert_eq!(durable(&[], &[]).gaps(), everything);
        let rest = [gap(12, 15, &[("large", 12), ("small", 13)])];
        assert_eq!(durable(&[11], &[11, 12]).gaps(), rest);
        assert_eq!(durable(&[11, 12, 13, 14], &[11, 12, 13, 14]).gaps(), []);
    }

    #[test]
    fn a_lost_segment_of_one_rendition_is_a_gap_of_that_rendition_alone() {
        let all = [11, 12, 13, 14];
        let whole = durable(&all, &all);
        let lost = ["small/12".to_owned(), "somewhere/else".to_owned()];
        let damaged = Durable::resume(Some(whole), &lost, (&chunk(4), &rungs()));
        assert_eq!(damaged.gaps(), [gap(12, 13, &[("small", 12)])]);
        assert!(damaged.reaches(11) && !damaged.reaches(12) && damaged.reaches(13));
        assert_eq!(damaged.segment_in_work(), 12);
        let covers = damaged.covers(&chunk(4)).unwrap();
        assert_eq!((covers.from_s, covers.to_s), (60.0, 66.0));
    }

    #[test]
    fn no_gap_makes_a_segment_again_that_is_there() {
        let gaps = durable(&[12, 14], &[11, 12, 14]).gaps();
        let expected = [
            gap(11, 12, &[("large", 11)]),
            gap(13, 14, &[("large", 13), ("small", 13)]),
        ];
        assert_eq!(gaps, expected);
        let gaps = durable(&[11, 13, 14], &[11, 12, 14]).gaps();
        let expected = [gap(12, 13, &[("large", 12)]), gap(13, 14, &[("small", 13)])];
        assert_eq!(gaps, expected);
    }

    #[test]
    fn a_gap_ends_where_the_next_segment_of_the_chunk_begins() {
        let chunk = chunk(4);
        let inside = gap(12, 14, &[("large", 12)]).of_chunk(&chunk);
        assert_eq!(inside.first_segment, 12);
        assert_eq!(inside.starts_ns, [66 * NS, 72 * NS]);
        assert_eq!(inside.seeks_ns, [65 * NS, 71 * NS]);
        assert_eq!((inside.until_ns, inside.end_ns), (Some(78 * NS), 78 * NS));
        let mut last = chunk.clone();
        last.until_ns = None;
        let at_the_end = gap(14, 15, &[("large", 14)]).of_chunk(&last);
        assert_eq!((at_the_end.until_ns, at_the_end.end_ns), (None, 84 * NS));
    }

    #[test]
    fn a_segment_that_is_there_is_not_taken_again() {
        let mut durable = durable(&[11], &[]);
        for number in [11, 15] {
            let error = durable.add("large", segment("large", number)).unwrap_err();
            assert_eq!(error.code, "segment_out_of_order");
        }
    }

    #[test]
    fn segments_that_are_made_again_are_put_in_their_place() {
        let mut durable = durable(&[11, 13, 14], &[]);
        durable.add("large", segment("large", 12)).unwrap();
        let numbers = durable.rungs[0].segments.iter().map(|s| s.number);
        assert_eq!(numbers.collect::<Vec<_>>(), [11, 12, 13, 14]);
    }
}
