//! `video.preview`: a short moving picture of a video.

use schemars::JsonSchema;
use serde::Deserialize;
use telecine_engine::activity::{Activity, ActivityError, Context};

use crate::child::{Limits, ToolHost};
use crate::keys::attempt_file;
use crate::media::preview::{Preview, PreviewFormat, PreviewSpec};
use crate::media::report::VideoTrack;
use crate::picture::{Picture, nanoseconds};
use crate::source;

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
    source: String,
    /// `video` of the probe's report.
    video: VideoTrack,
    /// `chunkable` of the probe's report.
    exact_seeks: bool,
    /// What it looks like.
    options: Options,
    /// Key prefix of the generation: `videos/ab/ab12.../g1`.
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
        let source = source::local(ctx, &input.source).await?;
        let limits = Limits::for_media(input.video.end_ns as f64 / 1e9);
        let gif = input.options.format == PreviewFormat::Gif;
        let extension = if gif { "gif" } else { "webp" };
        let out = ctx.scratch().join("preview").with_extension(extension);
        let spec = PreviewSpec {
            source: source.path,
            video: input.video,
            exact_seeks: input.exact_seeks,
            start_ns: nanoseconds(input.options.start_s),
            duration_ns: nanoseconds(input.options.duration_s),
            fps: input.options.fps,
            width: input.options.width,
            format: input.options.format,
            out: out.clone(),
        };
        let made = self.host.run::<Preview>(ctx, spec, limits).await?;
        let name = attempt_file("preview", ctx.attempt_tag(), extension);
        let object = ctx
            .put_file(
                &format!("{}/{name}", input.prefix),
                &out,
                &format!("image/{extension}"),
            )
            .await?;
        Ok(Picture {
            object,
            size: made.size,
            at_ns: made.start_ns,
            frames: made.frames,
        })
    }
}
