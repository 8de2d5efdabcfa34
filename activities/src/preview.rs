//! `video.preview`: a short moving picture of a video.

use schemars::JsonSchema;
use serde::Deserialize;
use telecine_engine::activity::{Activity, ActivityError, Context};

use crate::child::ToolHost;
use crate::media::preview::{Preview, PreviewFormat, PreviewSpec};
use crate::media::report::VideoTrack;
use crate::picture::{self, Picture, nanoseconds};

/// See the module.
#[derive(Debug)]
pub struct VideoPreview {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// Input of [`VideoPreview`].
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
    /// What it looks like.
    options: Options,
    /// Key prefix of the generation: `videos/ab/ab12.../g1`.
    #[schemars(extend("x-telecine-place" = true))]
    prefix: String,
}

/// What a preview looks like.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Second at which it begins.
    start_s: f64,
    /// Its length in seconds; the end of the video ends it earlier.
    duration_s: f64,
    /// Its width in pixels; a smaller video is not enlarged.
    width: u32,
    /// Its frames per second.
    fps: u32,
    /// Its file format.
    format: PreviewFormat,
    /// The most bytes that it may have: quality, then frames and width are given up to fit.
    #[serde(default = "default_max_bytes")]
    max_bytes: u64,
}

/// What a page of twenty previews can load over a slow line in some seconds.
fn default_max_bytes() -> u64 {
    2 << 20
}

impl Activity for VideoPreview {
    const NAME: &'static str = "video.preview";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Makes an animated WebP or GIF of a few seconds of a video.";
    type Input = Input;
    type Output = Picture;

    fn tool_fingerprint(&self) -> String {
        crate::gstreamer_version()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Picture, ActivityError> {
        let seen = (input.video, input.exact_seeks);
        let (footage, limits) = picture::footage(ctx, &input.source, seen).await?;
        let options = input.options;
        let extension = match options.format {
            PreviewFormat::Webp => "webp",
            PreviewFormat::Gif => "gif",
        };
        let out = ctx.scratch().join("preview").with_extension(extension);
        let spec = PreviewSpec {
            footage,
            start_ns: nanoseconds(options.start_s),
            duration_ns: nanoseconds(options.duration_s),
            fps: options.fps,
            width: options.width,
            format: options.format,
            max_bytes: options.max_bytes,
            out: out.clone(),
        };
        let made = self.host.run::<Preview>(ctx, spec, limits).await?;
        Ok(Picture {
            object: picture::store(ctx, &input.prefix, "preview", &out).await?,
            size: made.size,
            at_ns: made.start_ns,
            frames: made.frames,
            choice: None,
            compromise: Some(made.compromise),
        })
    }
}
