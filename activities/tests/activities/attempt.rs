//! An attempt without an engine: directories for stores, and writes kept in memory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::Value;
use telecine_activities::child::ToolHost;
use telecine_engine::activity::{
    ActivityError, AttemptPort, Checkpoint, Context, ContextParts, MediaSpan, ProgressCell,
    PublicationMove,
};
use telecine_engine::objects::{Artifact, ObjectStore};
use telecine_object_stores::FsStore;
use tokio_util::sync::CancellationToken;

/// The host of the tools under test.
pub(crate) fn tool_host() -> ToolHost {
    ToolHost::with_program(env!("CARGO_BIN_EXE_telecine-tool-host")).unwrap()
}

/// What attempts wrote.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) checkpoints: Vec<(Value, Option<MediaSpan>)>,
    pub(crate) artifacts: Vec<Artifact>,
    pub(crate) publications: Vec<(String, u64)>,
}

#[derive(Debug, Default)]
struct MemoryPort(Mutex<Written>);

#[async_trait]
impl AttemptPort for MemoryPort {
    async fn save_checkpoint(
        &self,
        value: Value,
        covers: Option<MediaSpan>,
        artifacts: Vec<Artifact>,
    ) -> Result<(), ActivityError> {
        let mut written = self.0.lock().unwrap();
        written.checkpoints.push((value, covers));
        written.artifacts.extend(artifacts);
        Ok(())
    }

    async fn allocate_generation(&self, _: &str) -> Result<u64, ActivityError> {
        Ok(1)
    }

    async fn publish(&self, name: &str, generation: u64) -> Result<PublicationMove, ActivityError> {
        let mut written = self.0.lock().unwrap();
        let previous = written
            .publications
            .last()
            .map(|(_, generation)| *generation);
        written.publications.push((name.to_owned(), generation));
        Ok(PublicationMove { previous })
    }
}

/// A run whose attempts share stores and a record of what they wrote.
#[derive(Debug)]
pub(crate) struct Bench {
    home: tempfile::TempDir,
    port: Arc<MemoryPort>,
    attempts: Mutex<u32>,
    pub(crate) host: ToolHost,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("source")).unwrap();
        Self {
            home,
            port: Arc::default(),
            attempts: Mutex::new(0),
            host: tool_host(),
        }
    }

    /// The directory of the source store.
    pub(crate) fn source_dir(&self) -> PathBuf {
        self.home.path().join("source")
    }

    /// The directory of the media store.
    pub(crate) fn media_dir(&self) -> PathBuf {
        self.home.path().join("media")
    }

    /// A context for the next attempt, which continues from a checkpoint value.
    pub(crate) fn attempt(&self, checkpoint: Option<Value>) -> Attempt {
        let number = self.next_number();
        let scratch = self.home.path().join(format!("scratch/{number}"));
        std::fs::create_dir_all(&scratch).unwrap();
        let (cancelled, draining) = (CancellationToken::new(), CancellationToken::new());
        let ctx = Context::new(ContextParts {
            run: "run_test".into(),
            step: "step".into(),
            attempt: number,
            attempt_tag: format!("{number:08x}"),
            scratch,
            source: store(&self.source_dir()),
            media: store(&self.media_dir()),
            checkpoint: checkpoint.map(|value| Checkpoint {
                seq: 1,
                value,
                covers: None,
                compat: String::new(),
            }),
            cancelled: cancelled.clone(),
            draining: draining.clone(),
            progress: Arc::new(ProgressCell::default()),
            port: Arc::clone(&self.port) as Arc<dyn AttemptPort>,
        });
        Attempt {
            ctx,
            cancelled,
            draining,
        }
    }

    fn next_number(&self) -> u32 {
        let mut attempts = self.attempts.lock().unwrap();
        *attempts += 1;
        *attempts
    }

    /// Takes what was written since the last call.
    pub(crate) fn take_written(&self) -> Written {
        std::mem::take(&mut self.port.0.lock().unwrap())
    }
}

fn store(directory: &Path) -> Arc<dyn ObjectStore> {
    Arc::new(FsStore::new(directory))
}

/// A context, and the strings that the worker pulls.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) ctx: Context,
    pub(crate) cancelled: CancellationToken,
    pub(crate) draining: CancellationToken,
}
