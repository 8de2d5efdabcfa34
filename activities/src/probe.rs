//! `media.probe`: what a source is.

use schemars::JsonSchema;
use serde::Deserialize;
use telecine_engine::activity::{Activity, ActivityError, Context};

use crate::child::{Limits, ToolHost};
use crate::media::plan::SEGMENT_NS;
use crate::media::probe::{Probe, ProbeSpec};
use crate::media::report::Report;
use crate::source;

/// See the module.
#[derive(Debug)]
pub struct MediaProbe {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// Input of [`MediaProbe`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Key of the video in the source store.
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
}

impl Activity for MediaProbe {
    const NAME: &'static str = "media.probe";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Finds out what a source is, and refuses what cannot be turned into something whole.";
    type Input = Input;
    type Output = Report;

    fn tool_fingerprint(&self) -> String {
        crate::gstreamer_version()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Report, ActivityError> {
        let source = source::local(ctx, &input.source).await?;
        let limits = Limits::for_bytes(source.size_bytes);
        let spec = ProbeSpec {
            source: source.path,
            segment_ns: SEGMENT_NS,
        };
        let report = self.host.run::<Probe>(ctx, spec, limits).await?;
        for warning in &report.warnings {
            ctx.warn(warning.clone());
        }
        Ok(report)
    }
}
