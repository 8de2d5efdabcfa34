//! `watermark.video`: a watermark on one chunk of a video.
//!
//! The result is a file that `video.encode` takes in place of the source. A workflow runs this step
//! for each chunk of the plan, so that chunks are worked on side by side and a killed worker costs
//! one of them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine::activity::{Activity, ActivityError, Artifact, Context, Progress};
use telecine::media::{Chunk, SourceFacts, VideoReader, VideoTrack, VideoWriter};
use telecine::tool::{Emitter, Limits, Tool, ToolError, ToolHost};

use crate::stamp::{self, Look, Stamp};

/// How many frames are drawn from one report of progress to the next.
const REPORT_FRAMES: u64 = 25;

/// See the module.
#[derive(Debug)]
pub struct WatermarkVideo {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// What the step's `with` must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The video: a key of the store of sources, or `media://` and the key of a result.
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
    /// The watermark, named in the same way.
    #[schemars(extend("x-telecine-source" = true))]
    watermark: String,
    /// How it is put on the video.
    #[serde(default)]
    look: Look,
    /// What `media.probe` says of the video.
    video: VideoTrack,
    /// The part to work on: one of those of `video.plan_chunks`.
    chunk: Chunk,
}

/// What other steps see as `steps.NAME.output`. Kept as the checkpoint too.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Output {
    /// The chunk with its watermark.
    object: Artifact,
    /// How `video.encode` names it as its source,
    source: String,
    /// which part of it it encodes,
    chunk: Chunk,
    /// and what it has to know about it.
    video: SourceFacts,
}

impl Activity for WatermarkVideo {
    const NAME: &'static str = "watermark.video";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Puts a watermark on one chunk of a video.";
    type Input = Input;
    type Output = Output;

    fn tool_fingerprint(&self) -> String {
        stamp::VERSION.to_owned()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, ActivityError> {
        // An earlier attempt may have died between the last line of this function and the moment
        // at which its output was durable.
        if let Some(made) = ctx.checkpoint()? {
            return Ok(made);
        }
        let spec = Spec {
            source: ctx.source_file(&input.source).await?,
            watermark: stamp::fetch(ctx, &input.watermark).await?,
            look: input.look,
            video: input.video,
            chunk: input.chunk.clone(),
            made: ctx.scratch().join("made.mkv"),
        };
        let (made, limits) = (spec.made.clone(), spec.limits());
        let video = self.host.run::<DrawOnVideo>(ctx, spec, limits).await?;
        let key = format!("watermarked/{}.mkv", ctx.attempt_tag());
        let object = ctx.put_file(&key, &made, "video/x-matroska").await?;
        let output = Output {
            source: object.as_source(),
            object,
            chunk: input.chunk,
            video,
        };
        ctx.save(&output).await?;
        Ok(output)
    }
}

/// The part that runs in the child process.
#[derive(Debug)]
pub struct DrawOnVideo;

/// What it is asked to do. Sent to the child as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spec {
    source: PathBuf,
    watermark: PathBuf,
    look: Look,
    video: VideoTrack,
    chunk: Chunk,
    made: PathBuf,
}

impl Spec {
    /// From the keyframe before the chunk, where decoding begins.
    fn length_s(&self) -> f64 {
        let from_ns = self.chunk.seeks_ns.first().copied().unwrap_or(0);
        self.chunk.end_ns.saturating_sub(from_ns) as f64 / 1e9
    }

    fn limits(&self) -> Limits {
        Limits::for_media(self.length_s())
    }
}

impl Tool for DrawOnVideo {
    const NAME: &'static str = "draw-on-video";
    type Spec = Spec;
    type Event = ();
    type Output = SourceFacts;

    fn run(spec: Spec, emit: &Emitter<()>) -> Result<SourceFacts, ToolError> {
        let reader = VideoReader::open(&spec.source, &spec.video, &spec.chunk)?;
        let format = reader.format().clone();
        let stamp = Stamp::read(&spec.watermark, &spec.look, format.size())?;
        let ink = stamp.ink(&format);
        let mut writer = VideoWriter::create(&spec.made, &format)?;
        let starts_ns = spec.chunk.starts_ns.first().copied().unwrap_or(0);
        let all_ns = spec.chunk.end_ns.saturating_sub(starts_ns);
        for (frames, frame) in (1..).zip(reader) {
            let mut frame = frame?;
            if frames % REPORT_FRAMES == 0 {
                let progress = Progress::of(frame.at_ns.saturating_sub(starts_ns), all_ns);
                emit.progress(progress);
            }
            ink.draw(&mut frame);
            writer.push(frame)?;
        }
        writer.finish()?;
        Ok(format.facts().clone())
    }
}
