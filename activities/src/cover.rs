//! `video.cover`: a still picture of a video.

use schemars::JsonSchema;
use serde::Deserialize;
use telecine_engine::activity::{Activity, ActivityError, Context};

use crate::child::{Limits, ToolHost};
use crate::keys::attempt_file;
use crate::media::cover::{Cover, CoverSpec};
use crate::media::report::VideoTrack;
use crate::picture::{Picture, nanoseconds};
use crate::source;

/// MIME type of a cover.
const COVER_TYPE: &str = "image/jpeg";

/// The longest edge: what a television shows full screen.
const MAX_EDGE: u32 = 1920;

/// JPEG quality: artefacts are not seen at it, and twice the bytes would not look better.
const QUALITY: u8 = 82;

/// See the module.
#[derive(Debug)]
pub struct VideoCover {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// Input of [`VideoCover`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Key of the video in the source store.
    source: String,
    /// `video` of the probe's report.
    video: VideoTrack,
    /// `chunkable` of the probe's report.
    exact_seeks: bool,
    /// Second of the picture; one that shows something is chosen unless given.
    at_s: Option<f64>,
    /// Key prefix of the generation: `videos/ab/ab12.../g1`.
    prefix: String,
}

impl Activity for VideoCover {
    const NAME: &'static str = "video.cover";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Makes a JPEG of one good picture of a video.";
    type Input = Input;
    type Output = Picture;

    fn tool_fingerprint(&self) -> String {
        crate::gstreamer_version()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Picture, ActivityError> {
        let source = source::local(ctx, &input.source).await?;
        let limits = Limits::for_media(input.video.end_ns as f64 / 1e9);
        let out = ctx.scratch().join("cover.jpg");
        let spec = CoverSpec {
            source: source.path,
            video: input.video,
            exact_seeks: input.exact_seeks,
            at_ns: input.at_s.map(nanoseconds),
            max_edge: MAX_EDGE,
            quality: QUALITY,
            out: out.clone(),
        };
        let made = self.host.run::<Cover>(ctx, spec, limits).await?;
        let name = attempt_file("cover", ctx.attempt_tag(), "jpg");
        let object = ctx
            .put_file(&format!("{}/{name}", input.prefix), &out, COVER_TYPE)
            .await?;
        Ok(Picture {
            object,
            size: made.size,
            at_ns: made.at_ns,
            frames: 1,
        })
    }
}
