//! `media.validate`: a set is read back and decoded before anybody is led to it.

mod playlists;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{Activity, ActivityError, Context, ErrorClass};
use telecine_engine::objects::{Artifact, ObjectError};

use crate::child::{Limits, ToolHost};
use crate::keys::{TrackKind, track_file};
use crate::media::check::{CheckRendition, Spec, StoredSegment};
use crate::media::encode_video::SourceFacts;
use crate::media::playlist::seconds;
use crate::media::renditions::{Rendition, Segment};
use crate::package::{EncodedChunk, PackagedSet, join_chunks, tracks};
use crate::source;

/// The largest header or playlist; a playlist of a day has 0.7 MB.
const MAX_SMALL_OBJECT_BYTES: usize = 8 << 20;

/// How far the end of the video may be from that of the source, beside one frame: what
/// containers round.
const END_TOLERANCE_S: f64 = 0.002;

/// How far the end of the sound may be from that of the video: sound ends with a whole packet
/// (21 ms at 48 kHz).
const AUDIO_TOLERANCE_S: f64 = 0.050;

/// See the module.
#[derive(Debug)]
pub struct Validate {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// Input of [`Validate`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Output of `video.package_hls`.
    set: PackagedSet,
    /// Output of each chunk of `video.encode`, in order of time.
    chunks: Vec<EncodedChunk>,
    /// Output of `audio.encode`; `null` if there is no sound.
    audio: Option<Rendition>,
    /// What was known about the source.
    video: SourceFacts,
    /// End of the source's video, in nanoseconds.
    duration_ns: u64,
}

/// What was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Validated {
    /// Renditions, audio included.
    pub renditions: u32,
    /// Segments of all renditions.
    pub segments: u32,
    /// Samples that were decoded: frames of video, packets of audio.
    pub samples: u64,
    /// Bytes that were read back.
    pub size_bytes: u64,
}

impl Activity for Validate {
    const NAME: &'static str = "media.validate";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Reads a streaming set back: playlists, boxes, digests, and every frame decoded.";
    type Input = Input;
    type Output = Validated;

    fn tool_fingerprint(&self) -> String {
        crate::gstreamer_version()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Validated, ActivityError> {
        let video = join_chunks(&input.chunks)?;
        let audio = input.audio.as_ref();
        check_durations(&input, &video)?;
        playlists::check(ctx, &input.set, (&video, audio)).await?;
        let total = tracks(&video, audio)
            .map(|(_, rendition)| samples(rendition))
            .sum();
        let mut decoded = 0;
        for (kind, rendition) in tracks(&video, audio) {
            let files = Files {
                prefix: &input.set.prefix,
                kind,
                rendition,
            };
            let spec = files.spec(ctx, (decoded, total)).await?;
            let limits = Limits::for_media(duration_s(rendition));
            decoded += self.host.run::<CheckRendition>(ctx, spec, limits).await?;
        }
        let segments = || tracks(&video, audio).flat_map(|(_, rendition)| &rendition.segments);
        Ok(Validated {
            renditions: u32::try_from(tracks(&video, audio).count()).unwrap_or(u32::MAX),
            segments: u32::try_from(segments().count()).unwrap_or(u32::MAX),
            samples: decoded,
            size_bytes: segments().map(|segment| segment.object.size).sum(),
        })
    }
}

/// A set breaks a rule.
fn invalid(rule: &str, what: impl std::fmt::Display) -> ActivityError {
    ActivityError::bug(
        "package_invalid",
        format!("the set breaks the rule {rule}: {what}"),
    )
}

/// Checks that durations add up to the source's.
fn check_durations(input: &Input, video: &[Rendition]) -> Result<(), ActivityError> {
    let source_s = input.duration_ns as f64 / 1e9;
    let rate = input.video.frame_rate;
    let frame_s = f64::from(rate.den) / f64::from(rate.num.max(1));
    for rendition in video {
        let name = &rendition.track.name;
        let video_s = duration_s(rendition);
        if (video_s - source_s).abs() > frame_s + END_TOLERANCE_S {
            let what = format!("{name} lasts {video_s:.3} s, the source {source_s:.3} s");
            return Err(invalid("duration", what));
        }
    }
    let audio_s = input.audio.as_ref().map_or(source_s, duration_s);
    if (audio_s - source_s).abs() > AUDIO_TOLERANCE_S {
        let what = format!("the sound lasts {audio_s:.3} s, the source {source_s:.3} s");
        return Err(invalid("duration", what));
    }
    Ok(())
}

fn duration_s(rendition: &Rendition) -> f64 {
    let ticks = rendition
        .segments
        .iter()
        .map(|segment| segment.duration_ticks);
    seconds(ticks.sum(), rendition.track.timescale)
}

fn samples(rendition: &Rendition) -> u64 {
    rendition
        .segments
        .iter()
        .map(|segment| u64::from(segment.samples))
        .sum()
}

/// The objects of a rendition, as files.
struct Files<'a> {
    prefix: &'a str,
    kind: TrackKind,
    rendition: &'a Rendition,
}

impl Files<'_> {
    /// What the tool is asked to check; objects that the store has in no file are fetched.
    async fn spec(
        &self,
        ctx: &Context,
        (samples_before, samples_total): (u64, u64),
    ) -> Result<Spec, ActivityError> {
        let mut segments = Vec::with_capacity(self.rendition.segments.len());
        for segment in &self.rendition.segments {
            segments.push(stored(ctx, segment).await?);
        }
        Ok(Spec {
            track: self.rendition.track.clone(),
            header: self.header(ctx).await?,
            segments,
            samples_before,
            samples_total,
        })
    }

    /// The header, which is the one that the encoder gave.
    async fn header(&self, ctx: &Context) -> Result<PathBuf, ActivityError> {
        let track = &self.rendition.track;
        let file = track_file(self.kind, &track.name, "init.mp4");
        let key = format!("{}/{file}", self.prefix);
        let recorded = BASE64.decode(&track.init_base64).unwrap_or_default();
        if small_object(ctx, &key).await? != recorded {
            return Err(invalid(
                "header",
                format!("{key} is not the encoder's header"),
            ));
        }
        local(ctx, &key, &format!("{}_init.mp4", track.name)).await
    }
}

async fn stored(ctx: &Context, segment: &Segment) -> Result<StoredSegment, ActivityError> {
    let Artifact { key, .. } = &segment.object;
    let name = key.replace('/', "_");
    Ok(StoredSegment {
        segment: segment.clone(),
        file: local(ctx, key, &name).await?,
    })
}

/// An object of the media store as a file.
async fn local(ctx: &Context, key: &str, scratch_name: &str) -> Result<PathBuf, ActivityError> {
    let store = ctx.media();
    if let Some(path) = store.local_path(key).map_err(lost)? {
        return Ok(path);
    }
    let not_found = || ObjectError::NotFound {
        key: key.to_owned(),
    };
    let found = store.head(key).await.map_err(lost)?;
    let size = found.ok_or_else(|| lost(not_found()))?.size;
    let path = source::scratch_dir(ctx, "set")?.join(scratch_name);
    source::fetch(ctx, store.as_ref(), (key, size), &path).await?;
    Ok(path)
}

/// A header or a playlist of the media store.
async fn small_object(ctx: &Context, key: &str) -> Result<Bytes, ActivityError> {
    let read = ctx.media().read_range(key, 0, MAX_SMALL_OBJECT_BYTES);
    read.await.map_err(lost)
}

/// An object that a step made is gone: that is no fault of the source.
fn lost(error: ObjectError) -> ActivityError {
    match error {
        ObjectError::NotFound { ref key } => ActivityError::new(
            ErrorClass::Dependency,
            "object_lost",
            format!("the stored object {key} is gone"),
        )
        .with_source(error),
        other => other.into(),
    }
}
