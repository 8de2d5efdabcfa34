//! What activities that make pictures of a video have in common.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{ActivityError, Context};
use telecine_engine::objects::Artifact;

use crate::child::Limits;
use crate::keys::attempt_file;
use crate::media::cover::Choice;
use crate::media::footage::Footage;
use crate::media::preview::Compromise;
use crate::media::report::{Size, VideoTrack};
use crate::source;

/// A picture of a video, still or moving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// Where it is, under a name that belongs to the attempt that made it.
    pub object: Artifact,
    /// Size of the picture; of each picture, if it moves.
    pub size: Size,
    /// Time of its first frame in the video.
    pub at_ns: u64,
    /// Number of frames: 1 for a still.
    pub frames: u32,
    /// How a cover was chosen; `null` if its time was given.
    #[serde(default)]
    pub choice: Option<Choice>,
    /// What a preview gave up to fit its size; `null` for a cover.
    #[serde(default)]
    pub compromise: Option<Compromise>,
}

/// A probed video of the source store as a file, and what a tool may use that looks at it.
///
/// # Errors
/// `no_video`, and those of [`source::local`].
pub(crate) async fn footage(
    ctx: &Context,
    key: &str,
    (video, exact_seeks): (Option<VideoTrack>, bool),
) -> Result<(Footage, Limits), ActivityError> {
    let video =
        video.ok_or_else(|| ActivityError::input("no_video", "the source has no video track"))?;
    let source = source::local(ctx, key).await?;
    let limits = Limits::for_media(video.end_ns as f64 / 1e9);
    let footage = Footage {
        source: source.path,
        video,
        exact_seeks,
    };
    Ok((footage, limits))
}

/// Moves a picture into a directory of the media store, as `{stem}_{attempt}.{extension}`; the
/// extension is that of the file.
///
/// # Errors
/// Those of [`Context::put_file`].
pub(crate) async fn store(
    ctx: &Context,
    directory: &str,
    stem: &str,
    file: &Path,
) -> Result<Artifact, ActivityError> {
    let extension = file
        .extension()
        .and_then(|extension| extension.to_str())
        .unwrap_or("bin");
    let name = attempt_file(stem, ctx.attempt_tag(), extension);
    ctx.put_file(&format!("{directory}/{name}"), file, media_type(extension))
        .await
}

/// The MIME type of a picture by its extension.
pub(crate) fn media_type(extension: &str) -> &'static str {
    match extension {
        "jpg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "png" => "image/png",
        "avif" => "image/avif",
        _ => "application/octet-stream",
    }
}

/// Seconds as nanoseconds; at least 0, and what is no number is 0.
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    // A float that is too large or too small becomes the nearest number of the type.
    (seconds * 1e9).round() as u64
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn no_number_of_seconds_overflows() {
        for (seconds, expected) in [
            (1.5, 1_500_000_000),
            (-1.0, 0),
            (f64::NAN, 0),
            (f64::INFINITY, u64::MAX),
        ] {
            assert_eq!(nanoseconds(seconds), expected, "{seconds}");
        }
    }
}
