//! `video.cover`: a still picture of a video.

use schemars::JsonSchema;
use serde::Deserialize;
use telecine_engine::activity::{Activity, ActivityError, Context};

use crate::child::ToolHost;
use crate::media::cover::{Cover, CoverSpec};
use crate::media::report::VideoTrack;
use crate::picture::{self, Picture, nanoseconds};

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
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
    /// `video` of the probe's report; `null` is refused with `no_video`.
    video: Option<VideoTrack>,
    /// `chunkable` of the probe's report.
    exact_seeks: bool,
    /// Second of the picture; the best of several is chosen unless given.
    at_s: Option<f64>,
    /// Key prefix of the generation: `videos/ab/ab12.../g1`.
    #[schemars(extend("x-telecine-place" = true))]
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
        let seen = (input.video, input.exact_seeks);
        let (footage, limits) = picture::footage(ctx, &input.source, seen).await?;
        let out = ctx.scratch().join("cover.jpg");
        let spec = CoverSpec {
            footage,
            at_ns: input.at_s.map(nanoseconds),
            max_edge: MAX_EDGE,
            quality: QUALITY,
            out: out.clone(),
        };
        let made = self.host.run::<Cover>(ctx, spec, limits).await?;
        Ok(Picture {
            object: picture::store(ctx, &input.prefix, "cover", &out).await?,
            size: made.size,
            at_ns: made.at_ns,
            frames: 1,
            choice: made.choice,
            compromise: None,
        })
    }
}
