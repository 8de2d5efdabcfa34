//! `video.encode`: one chunk of a video in every rendition of the ladder.
//!
//! Each finished segment is stored at once, and a checkpoint names those that are durable. An
//! attempt that continues from it encodes none of them again. The renditions of a segment come within
//! moments of each other and share a checkpoint. Segments that are lost later are encoded again each by
//! itself, in the renditions that lack them: a segment is a pure function of its frames.

mod durable;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use telecine_engine::activity::{Activity, ActivityError, Context};
use telecine_engine::objects::Artifact;

use tokio::time::Instant;

use crate::child::{Heard, Limits, Running, ToolHost};
use crate::keys::{TrackKind, segment_file, track_file};
use crate::media::encode_video::{EncodeVideo, RungWork, SourceFacts, Spec};
use crate::media::encoded::{Encoded, SegmentFile};
use crate::media::plan::{Chunk, Rung};
use crate::media::renditions::Segment;
use crate::package::EncodedChunk;
use crate::source::{self, LocalSource};

use durable::{Durable, Gap};

/// How long a stored segment waits for the same segment of the other renditions, so that they
/// share a checkpoint: one for each made the database write half as much again as the encoders.
const TOGETHER: Duration = Duration::from_secs(1);

/// How long an attempt goes on when its worker shuts down, if the segment in work is not durable before.
/// What is encoded already gets stored meanwhile. Longer gains nothing: as much more work is lost when the
/// segment is not done then as is saved when it is, and the step waits for its next worker.
const HAND_OVER: Duration = Duration::from_millis(500);

/// MIME type of a video segment.
const SEGMENT_TYPE: &str = "video/mp4";

/// Part of the fingerprint. To be raised when segments of the same frames are written otherwise, so
/// that a step that goes on after an upgrade does not add segments that do not fit its first ones.
const SEGMENTS: &str = "segments=2";

/// See the module.
#[derive(Debug)]
pub struct VideoEncode {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// Input of [`VideoEncode`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Key of the video in the source store.
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
    /// The part to encode.
    chunk: Chunk,
    /// The ladder, largest first.
    rungs: Vec<Rung>,
    /// Ticks per second of every rendition.
    timescale: u32,
    /// What encoding has to know about the source.
    video: SourceFacts,
    /// Key prefix of the generation: `videos/ab/ab12.../g1`.
    #[schemars(extend("x-telecine-place" = true))]
    prefix: String,
}

impl Activity for VideoEncode {
    const NAME: &'static str = "video.encode";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Encodes one chunk of a video into every rendition of the ladder.";
    const MENDS: bool = true;
    type Input = Input;
    type Output = EncodedChunk;

    fn tool_fingerprint(&self) -> String {
        format!("{} {SEGMENTS}", crate::gstreamer_version())
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<EncodedChunk, ActivityError> {
        let wanted = (&input.chunk, input.rungs.as_slice());
        let mut attempt = Attempt {
            ctx,
            host: &self.host,
            durable: Durable::resume(ctx.checkpoint()?, ctx.damaged(), wanted),
            input: &input,
            unsaved: Vec::new(),
            save_at: None,
            frames_decoded: 0,
        };
        let made = tokio::select! {
            biased;
            made = attempt.make() => made,
            () = hand_over(ctx) => Err(ActivityError::cancelled()),
        };
        if made.is_err() {
            // What is stored already need not be made again; that it failed is told anyway.
            let _ = attempt.save().await;
        }
        made?;
        attempt.durable.finish()
    }
}

/// Resolves when the worker shuts down and the next one is not to be kept waiting.
async fn hand_over(ctx: &Context) {
    ctx.draining().await;
    tokio::time::sleep(HAND_OVER).await;
}

fn limits(chunk: &Chunk) -> Limits {
    let starts_ns = chunk.starts_ns.first().copied().unwrap_or(0);
    // Decoding begins at the keyframe before the chunk.
    let seek_ns = chunk.seeks_ns.first().copied().unwrap_or(0);
    Limits::for_media(seconds(chunk.end_ns.saturating_sub(seek_ns.min(starts_ns))))
}

/// One attempt at a chunk.
struct Attempt<'a> {
    ctx: &'a Context,
    host: &'a ToolHost,
    input: &'a Input,
    durable: Durable,
    /// Segments that are stored but not in a checkpoint yet.
    unsaved: Vec<Artifact>,
    /// When they are to be, if the same segment of the other renditions is not there before.
    save_at: Option<Instant>,
    /// Over all gaps so far.
    frames_decoded: u64,
}

impl Attempt<'_> {
    /// Makes what is missing. May be dropped at any time: the child ends with it, and what is stored and
    /// not in a checkpoint yet stays noted.
    async fn make(&mut self) -> Result<(), ActivityError> {
        let gaps = self.durable.gaps();
        if gaps.is_empty() {
            return Ok(());
        }
        let source = source::local(self.ctx, &self.input.source).await?;
        for gap in &gaps {
            self.ctx.check_stop()?;
            self.fill(gap, &source).await?;
        }
        Ok(())
    }

    /// Makes the segments of a gap.
    async fn fill(&mut self, gap: &Gap, source: &LocalSource) -> Result<(), ActivityError> {
        let spec = self.spec(gap, source)?;
        let limits = limits(&spec.chunk);
        let running = self.host.start::<EncodeVideo>(self.ctx, spec, limits);
        self.drive(running.await?).await
    }

    fn spec(&self, gap: &Gap, source: &LocalSource) -> Result<Spec, ActivityError> {
        let rungs = self.input.rungs.iter().filter_map(|rung| {
            Some(RungWork {
                rung: rung.clone(),
                from_segment: gap.first_of(&rung.name)?,
            })
        });
        Ok(Spec {
            source: source.path.clone(),
            facts: self.input.video.clone(),
            chunk: gap.of_chunk(&self.input.chunk),
            rungs: rungs.collect(),
            timescale: self.input.timescale,
            frames_before: self.frames_decoded,
            out_dir: source::scratch_dir(self.ctx, "segments")?,
        })
    }

    /// Stores what the tool makes until it is done, or until the worker shuts down and the
    /// segment in work is durable.
    async fn drive(&mut self, mut running: Running<'_, EncodeVideo>) -> Result<(), ActivityError> {
        let ctx = self.ctx;
        let mut last_segment = None;
        loop {
            let heard = tokio::select! {
                heard = running.next() => heard?,
                () = ctx.draining(), if last_segment.is_none() => {
                    last_segment = Some(self.durable.segment_in_work());
                    continue;
                }
                () = until(self.save_at) => {
                    self.save().await?;
                    continue;
                }
            };
            match heard {
                Heard::Event(Encoded::Track(track)) => self.durable.begin(track)?,
                Heard::Event(Encoded::Segment(file)) => self.store(file).await?,
                Heard::Done(output) => {
                    self.frames_decoded += output.frames_decoded;
                    return self.save().await;
                }
            }
            if last_segment.is_some_and(|last| self.durable.reaches(last)) {
                self.save().await?;
                return Err(ActivityError::cancelled());
            }
        }
    }

    /// Makes a segment durable.
    async fn store(&mut self, file: SegmentFile) -> Result<(), ActivityError> {
        let name = segment_file(file.number, self.ctx.attempt_tag());
        let path = track_file(TrackKind::Video, &file.track, &name);
        let key = format!("{}/{path}", self.input.prefix);
        let object = self.ctx.store_file(&key, &file.path, SEGMENT_TYPE).await?;
        self.unsaved.push(object.clone());
        let segment = Segment {
            number: file.number,
            start_ticks: file.start_ticks,
            duration_ticks: file.duration_ticks,
            samples: file.samples,
            object,
        };
        self.durable.add(&file.track, segment)?;
        if self.unsaved.len() < self.durable.checkpoint_interval() {
            return Ok(());
        }
        if self.durable.reaches(file.number) {
            return self.save().await;
        }
        self.save_at
            .get_or_insert_with(|| Instant::now() + TOGETHER);
        Ok(())
    }

    /// Saves a checkpoint, if there is anything new.
    async fn save(&mut self) -> Result<(), ActivityError> {
        self.save_at = None;
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let covers = self.durable.covers(&self.input.chunk);
        let artifacts = self.unsaved.clone();
        let saved = self.ctx.save_checkpoint(&self.durable, covers, artifacts);
        saved.await?;
        self.unsaved.clear();
        Ok(())
    }
}

/// Resolves at a time, or never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
