//! Runs a tool without a job around it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use telecine_activities::child::{Limits, ToolHost};
use telecine_activities::tool::Tool;
use telecine_engine::activity::{
    ActivityError, AttemptPort, Context, ContextParts, MediaSpan, Progress, ProgressCell,
    PublicationMove,
};
use telecine_engine::objects::{ObjectStores as _, StoredArtifact};
use telecine_object_stores::FsStores;
use tokio_util::sync::CancellationToken;

use super::telling;
use crate::cli::exit::CliError;

/// Runs a tool in a child process to its end, and tells every so often how far it is.
///
/// # Errors
/// What the tool says.
pub(super) async fn run<T: Tool>(
    spec: T::Spec,
    limits: Limits,
    far: impl Fn(Progress),
) -> Result<T::Output, CliError> {
    let failed = |e: std::io::Error| CliError::unjudged(format!("cannot start a tool: {e}"));
    let scratch = tempfile::tempdir().map_err(failed)?;
    let host = ToolHost::new().map_err(failed)?;
    let progress = Arc::<ProgressCell>::default();
    let context = context(scratch.path(), Arc::clone(&progress))?;
    let running = host.run::<T>(&context, spec, limits);
    let ran = telling(|| far(progress.get()), running).await;
    ran.map_err(|error| CliError::unjudged(format!("{} ({})", error.message, error.code)))
}

/// An attempt of no step: there is nothing to write.
fn context(scratch: &Path, progress: Arc<ProgressCell>) -> Result<Context, CliError> {
    let url = format!("file://{}", scratch.display());
    let store = FsStores
        .open(&url)
        .map_err(|e| CliError::failed(e.to_string()))?;
    Ok(Context::new(ContextParts {
        run: String::new(),
        step: String::new(),
        attempt: 1,
        attempt_tag: "00000000".to_owned(),
        scratch: scratch.to_owned(),
        source: store.clone(),
        media: store,
        checkpoint: None,
        damaged: Vec::new(),
        cancelled: CancellationToken::new(),
        draining: CancellationToken::new(),
        progress,
        port: Arc::new(NoJob),
    }))
}

/// Refuses every write: there is no job that it could belong to.
#[derive(Debug)]
struct NoJob;

#[async_trait]
impl AttemptPort for NoJob {
    async fn save_checkpoint(
        &self,
        _value: Value,
        _covers: Option<MediaSpan>,
        _artifacts: Vec<StoredArtifact>,
    ) -> Result<(), ActivityError> {
        Err(ActivityError::cancelled())
    }

    async fn allocate_generation(
        &self,
        _name: &str,
        _above: u32,
        _keys: Option<&str>,
    ) -> Result<u64, ActivityError> {
        Err(ActivityError::cancelled())
    }

    async fn publish(
        &self,
        _name: &str,
        _generation: u64,
    ) -> Result<PublicationMove, ActivityError> {
        Err(ActivityError::cancelled())
    }

    async fn publication(&self, _name: &str) -> Result<Option<u64>, ActivityError> {
        Err(ActivityError::cancelled())
    }
}
