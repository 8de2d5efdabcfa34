//! `watermark.picture`: a watermark on a picture.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine::activity::{Activity, ActivityError, Artifact, Context};
use telecine::media::{Format, Size, Still};
use telecine::tool::{Emitter, Limits, Tool, ToolError, ToolHost};

use crate::stamp::{self, Look, Stamp};

/// Pixels of a picture.
const MAX_PIXELS: u64 = 50_000_000;

/// See the module.
#[derive(Debug)]
pub struct WatermarkPicture {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// What the step's `with` must be.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The picture: a key of the store of sources, or `media://` and the key of a result.
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
    /// The watermark, named in the same way.
    #[schemars(extend("x-telecine-source" = true))]
    watermark: String,
    /// How it is put on the picture.
    #[serde(default)]
    look: Look,
    /// Format of the result.
    #[serde(default)]
    format: Format,
}

/// What other steps see as `steps.NAME.output`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Output {
    /// The picture with its watermark.
    object: Artifact,
    /// How other steps name it as their source.
    source: String,
    /// Its size.
    size: Size,
}

impl Activity for WatermarkPicture {
    const NAME: &'static str = "watermark.picture";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Puts a watermark on a picture.";
    type Input = Input;
    type Output = Output;

    fn tool_fingerprint(&self) -> String {
        stamp::VERSION.to_owned()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, ActivityError> {
        let extension = input.format.extension();
        let spec = Spec {
            source: ctx.source_file(&input.source).await?,
            watermark: stamp::fetch(ctx, &input.watermark).await?,
            look: input.look,
            format: input.format,
            made: ctx.scratch().join("made").with_extension(extension),
        };
        let made = spec.made.clone();
        let size = self
            .host
            .run::<DrawOnPicture>(ctx, spec, Limits::SMALL)
            .await?;
        // The tag makes the name this attempt's own: nobody else can overwrite the object.
        let key = format!("watermarked/{}.{extension}", ctx.attempt_tag());
        let object = ctx.put_file(&key, &made, input.format.media_type()).await?;
        Ok(Output {
            source: object.as_source(),
            object,
            size,
        })
    }
}

/// The part that runs in the child process.
#[derive(Debug)]
pub struct DrawOnPicture;

/// What it is asked to do. Sent to the child as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Spec {
    source: PathBuf,
    watermark: PathBuf,
    look: Look,
    format: Format,
    made: PathBuf,
}

impl Tool for DrawOnPicture {
    const NAME: &'static str = "draw-on-picture";
    type Spec = Spec;
    type Event = ();
    type Output = Size;

    fn run(spec: Spec, _: &Emitter<()>) -> Result<Size, ToolError> {
        let mut picture = Still::read(&spec.source, MAX_PIXELS)?;
        let stamp = Stamp::read(&spec.watermark, &spec.look, picture.size())?;
        stamp.draw(&mut picture);
        picture.write(&spec.made, spec.format, None)?;
        Ok(picture.size())
    }
}
