//! `media.validate`: a set is read back, linted and decoded before anybody is led to it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{Activity, ActivityError, Context, ErrorClass};
use telecine_engine::objects::{Artifact, ObjectError, SourceStore};

use crate::child::{Limits, ToolHost};
use crate::keys::track_file;
use crate::lint::{Finding, Profile, Recorded, Report, Rule, Severity};
use crate::media::check::{CheckSet, Spec};
use crate::media::encode_video::SourceFacts;
use crate::media::renditions::Rendition;
use crate::package::{EncodedChunk, PackagedSet, join_chunks, tracks};
use crate::source;

/// The playlist that leads to everything else.
const ENTRY: &str = "master.m3u8";

/// Findings that the message of the error lists; the first tell what went wrong, and all of them
/// may be a thousand.
const LISTED_FINDINGS: usize = 5;

/// Warnings that are passed on.
const MAX_WARNINGS: usize = 20;

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
    /// Output of each chunk of `video.encode`, in order of time; empty without video.
    chunks: Vec<EncodedChunk>,
    /// Output of `audio.encode`; `null` if there is no sound.
    audio: Option<Rendition>,
    /// What was known about the source's video; `null` if it has none.
    video: Option<SourceFacts>,
    /// End of the source's video, or of its sound without video, in nanoseconds.
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
        "Lints a streaming set as it is stored: digests, playlists, boxes, every frame decoded.";
    type Input = Input;
    type Output = Validated;

    fn tool_fingerprint(&self) -> String {
        crate::gstreamer_version()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Validated, ActivityError> {
        let video = join_chunks(&input.chunks)?;
        let recorded = recorded(&input, &video);
        let spec = Spec {
            root: root(ctx, &input.set.prefix, &recorded).await?,
            entries: vec![ENTRY.to_owned()],
            decode: true,
            profile: Profile::House,
            recorded: Some(recorded),
        };
        let renditions = video.len() + usize::from(input.audio.is_some());
        let limits = Limits::for_media(input.duration_ns as f64 / 1e9 * renditions as f64);
        let report = self.host.run::<CheckSet>(ctx, spec, limits).await?;
        judge(ctx, &report)?;
        Ok(Validated {
            renditions: report.renditions,
            segments: report.segments,
            samples: report.decoded,
            size_bytes: report.size_bytes,
        })
    }
}

/// What the earlier steps say of the set.
fn recorded(input: &Input, video: &[Rendition]) -> Recorded {
    let prefix = format!("{}/", input.set.prefix);
    let written = input.set.files.iter().filter_map(|file| {
        let path = file.key.strip_prefix(&prefix)?;
        Some((path.to_owned(), file.clone()))
    });
    let mut files: BTreeMap<String, Artifact> = written.collect();
    let mut renditions = BTreeMap::new();
    for (kind, rendition) in tracks(video, input.audio.as_ref()) {
        let path = |file| track_file(kind, &rendition.track.name, file);
        for segment in &rendition.segments {
            let name = segment.object.key.rsplit('/').next().unwrap_or_default();
            files.insert(path(name), segment.object.clone());
        }
        renditions.insert(path("playlist.m3u8"), rendition.clone());
    }
    let rate = input.video.as_ref().map(|video| video.frame_rate);
    Recorded {
        files,
        renditions,
        duration_s: input.duration_ns as f64 / 1e9,
        frame_s: rate.map_or(0.0, |rate| f64::from(rate.den) / f64::from(rate.num.max(1))),
    }
}

/// The directory of the set: in place if the store has every object in a file, else fetched.
async fn root(ctx: &Context, prefix: &str, recorded: &Recorded) -> Result<PathBuf, ActivityError> {
    if let Some(root) = root_in_place(ctx, prefix, recorded)? {
        return Ok(root);
    }
    let root = source::scratch_dir(ctx, "set")?;
    for (path, Artifact { key, .. }) in &recorded.files {
        fetch(ctx, key, &root.join(path)).await?;
    }
    Ok(root)
}

fn root_in_place(
    ctx: &Context,
    prefix: &str,
    recorded: &Recorded,
) -> Result<Option<PathBuf>, ActivityError> {
    let mut root = None;
    for (path, Artifact { key, .. }) in &recorded.files {
        let file = ctx.media().local_path(key).map_err(lost)?;
        let Some(file) = file.filter(|_| *key == format!("{prefix}/{path}")) else {
            return Ok(None);
        };
        root = root.or_else(|| above(&file, path));
    }
    Ok(root)
}

/// The directory below which a file has a path.
fn above(file: &Path, path: &str) -> Option<PathBuf> {
    let depth = path.split('/').count();
    file.ancestors().nth(depth).map(Path::to_owned)
}

/// Copies an object of the media store to a file.
async fn fetch(ctx: &Context, key: &str, to: &Path) -> Result<(), ActivityError> {
    let store = ctx.media();
    let not_found = || ObjectError::NotFound {
        key: key.to_owned(),
    };
    let found = store.head(key).await.map_err(lost)?;
    let size = found.ok_or_else(|| lost(not_found()))?.size;
    if let Some(directory) = to.parent() {
        std::fs::create_dir_all(directory)
            .map_err(|e| ActivityError::io("make a scratch directory", e))?;
    }
    source::fetch(ctx, SourceStore::new(store.as_ref()), (key, size), to).await
}

/// Passes warnings on, and fails if there are errors.
///
/// # Errors
/// `object_corrupt`, `package_invalid`.
pub(crate) fn judge(ctx: &Context, report: &Report) -> Result<(), ActivityError> {
    let warnings = report.findings.iter();
    let warnings = warnings.filter(|finding| finding.severity == Severity::Warning);
    for finding in warnings.take(MAX_WARNINGS) {
        ctx.warn(finding.to_string());
    }
    let is_corrupt = |finding: &&Finding| finding.rule == Rule::RecordedDigest;
    let corrupt: Vec<&Finding> = report.errors().filter(is_corrupt).collect();
    if !corrupt.is_empty() {
        let message = "stored objects do not hold the bytes that were written";
        let message = format!("{message}: {}", listed(&corrupt, corrupt.len() as u64));
        return Err(ActivityError::new(
            ErrorClass::Dependency,
            "object_corrupt",
            message,
        ));
    }
    if report.error_count == 0 {
        return Ok(());
    }
    let errors: Vec<&Finding> = report.errors().collect();
    let message = format!(
        "the set breaks {} rules: {}",
        rules(&errors),
        listed(&errors, report.error_count)
    );
    Err(ActivityError::bug("package_invalid", message))
}

fn rules(findings: &[&Finding]) -> usize {
    let rules: std::collections::BTreeSet<_> = findings.iter().map(|found| found.rule).collect();
    rules.len()
}

/// The first findings, and how many more of all there are.
fn listed(findings: &[&Finding], all: u64) -> String {
    let first = findings.iter().take(LISTED_FINDINGS);
    let mut text: Vec<String> = first.map(ToString::to_string).collect();
    let more = all.saturating_sub(text.len() as u64);
    if more > 0 {
        text.push(format!("and {more} more"));
    }
    text.join("; ")
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
