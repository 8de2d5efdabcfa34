//! An attempt without an engine: directories for stores, and writes kept in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::Value;
use telecine_activities::child::ToolHost;
use telecine_engine::activity::{
    ActivityError, AttemptPort, Checkpoint, Context, ContextParts, MediaSpan, ProgressCell,
    PublicationMove,
};
use telecine_engine::objects::{
    Access, Artifact, ObjectError, ObjectMeta, ObjectStore, ObjectStream, StoredArtifact,
};
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

/// Keeps what is written. Once the lease is lost, nothing is.
#[derive(Debug, Default)]
struct MemoryPort {
    written: Mutex<Written>,
    /// How many checkpoints are still saved before the lease is lost; `None` for all.
    checkpoints_left: Mutex<Option<usize>>,
    /// The generation that is allocated whatever is asked for.
    generation: Mutex<Option<u64>>,
    /// The generations that readers see, by name.
    current: Mutex<BTreeMap<String, u64>>,
    /// The generation that somebody else publishes after the next publication, and whether the step is
    /// somebody else's from then on.
    overtakes: Mutex<Option<(u64, bool)>>,
    /// Whether nothing is published any more.
    is_fenced: Mutex<bool>,
    /// What happens as soon as the next checkpoint is saved.
    turn: Mutex<Option<Turn>>,
}

/// Something that happens once.
struct Turn(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Turn")
    }
}

#[async_trait]
impl AttemptPort for MemoryPort {
    async fn save_checkpoint(
        &self,
        value: Value,
        covers: Option<MediaSpan>,
        artifacts: Vec<StoredArtifact>,
    ) -> Result<(), ActivityError> {
        if let Some(left) = self.checkpoints_left.lock().unwrap().as_mut() {
            *left = left.checked_sub(1).ok_or_else(ActivityError::cancelled)?;
        }
        let mut written = self.written.lock().unwrap();
        written.checkpoints.push((value, covers));
        let artifacts = artifacts.into_iter().map(|stored| stored.artifact);
        written.artifacts.extend(artifacts);
        if let Some(Turn(happens)) = self.turn.lock().unwrap().take() {
            happens();
        }
        Ok(())
    }

    async fn allocate_generation(
        &self,
        _: &str,
        above: u32,
        _: Option<&str>,
    ) -> Result<u64, ActivityError> {
        let fixed = *self.generation.lock().unwrap();
        Ok(fixed.unwrap_or(u64::from(above) + 1))
    }

    async fn publish(&self, name: &str, generation: u64) -> Result<PublicationMove, ActivityError> {
        if *self.is_fenced.lock().unwrap() {
            return Err(ActivityError::cancelled());
        }
        let published = (name.to_owned(), generation);
        self.written.lock().unwrap().publications.push(published);
        let mut shown = self.current.lock().unwrap();
        let previous = shown.get(name).copied();
        let current = previous.map_or(generation, |previous| previous.max(generation));
        let later = self.overtakes.lock().unwrap().take();
        let (seen, fenced) = later.unwrap_or((current, false));
        shown.insert(name.to_owned(), seen);
        *self.is_fenced.lock().unwrap() = fenced;
        Ok(PublicationMove { previous, current })
    }

    async fn publication(&self, name: &str) -> Result<Option<u64>, ActivityError> {
        Ok(self.current.lock().unwrap().get(name).copied())
    }
}

/// A run whose attempts share stores and a record of what they wrote.
#[derive(Debug)]
pub(crate) struct Bench {
    home: Arc<tempfile::TempDir>,
    port: Arc<MemoryPort>,
    attempts: Mutex<u32>,
    remote: bool,
    unconditional: bool,
    pub(crate) host: ToolHost,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("source")).unwrap();
        Self {
            home: Arc::new(home),
            port: Arc::default(),
            attempts: Mutex::new(0),
            remote: false,
            unconditional: false,
            host: tool_host(),
        }
    }

    /// A bench whose stores have no files to open in place, as those over a network.
    pub(crate) fn remote() -> Self {
        Self {
            remote: true,
            ..Self::new()
        }
    }

    /// A bench whose stores cannot tell which of two writers was first.
    pub(crate) fn unconditional() -> Self {
        Self {
            unconditional: true,
            ..Self::remote()
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
        self.attempt_of("run_test", checkpoint)
    }

    /// The same for a run of that id.
    pub(crate) fn attempt_of(&self, run: &str, checkpoint: Option<Value>) -> Attempt {
        let number = self.next_number();
        let scratch = self.home.path().join(format!("scratch/{number}"));
        std::fs::create_dir_all(&scratch).unwrap();
        let (cancelled, draining) = (CancellationToken::new(), CancellationToken::new());
        let ctx = Context::new(ContextParts {
            run: run.into(),
            step: "step".into(),
            attempt: number,
            attempt_tag: format!("{number:08x}"),
            scratch,
            source: self.store(&self.source_dir()),
            media: self.store(&self.media_dir()),
            checkpoint: checkpoint.map(|value| Checkpoint {
                seq: 1,
                value,
                covers: None,
                compat: String::new(),
            }),
            damaged: Vec::new(),
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

    /// The store in a directory, as near or far as this bench has it.
    fn store(&self, directory: &Path) -> Arc<dyn ObjectStore> {
        let store = FsStore::new(directory);
        if self.remote {
            return Arc::new(Remote(store, self.unconditional));
        }
        Arc::new(store)
    }

    fn next_number(&self) -> u32 {
        let mut attempts = self.attempts.lock().unwrap();
        *attempts += 1;
        *attempts
    }

    /// Lets attempts save so many checkpoints, and then lose their lease.
    pub(crate) fn lose_lease_after(&self, checkpoints: usize) {
        *self.port.checkpoints_left.lock().unwrap() = Some(checkpoints);
    }

    /// Lets something happen as soon as a checkpoint is saved, once.
    pub(crate) fn at_checkpoint(&self, happens: impl FnOnce() + Send + 'static) {
        *self.port.turn.lock().unwrap() = Some(Turn(Box::new(happens)));
    }

    /// Lets every allocation answer that generation.
    pub(crate) fn always_allocate(&self, generation: u64) {
        *self.port.generation.lock().unwrap() = Some(generation);
    }

    /// Lets a later job publish that generation right after the next publication.
    pub(crate) fn overtake_with(&self, generation: u64) {
        *self.port.overtakes.lock().unwrap() = Some((generation, false));
    }

    /// The same, and the attempt that was overtaken has lost its step.
    pub(crate) fn overtake_and_fence_with(&self, generation: u64) {
        *self.port.overtakes.lock().unwrap() = Some((generation, true));
    }

    /// Readers see nothing any more.
    pub(crate) fn forget_publications(&self) {
        self.port.current.lock().unwrap().clear();
    }

    /// Lets attempts keep their lease again.
    pub(crate) fn keep_lease(&self) {
        *self.port.checkpoints_left.lock().unwrap() = None;
    }

    /// A bench of another data directory on the same stores.
    pub(crate) fn beside(other: &Self) -> Self {
        Self {
            home: Arc::clone(&other.home),
            remote: other.remote,
            unconditional: other.unconditional,
            ..Self::new()
        }
    }

    /// Takes what was written since the last call.
    pub(crate) fn take_written(&self) -> Written {
        std::mem::take(&mut self.port.written.lock().unwrap())
    }
}

/// A context, and the strings that the worker pulls.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) ctx: Context,
    pub(crate) cancelled: CancellationToken,
    pub(crate) draining: CancellationToken,
}

/// A store that has no local files, and may not know conditional writes.
#[derive(Debug)]
struct Remote(FsStore, bool);

#[async_trait]
impl ObjectStore for Remote {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, ObjectError> {
        self.0.head(key).await
    }

    async fn read_range(&self, key: &str, offset: u64, len: usize) -> Result<Bytes, ObjectError> {
        self.0.read_range(key, offset, len).await
    }

    async fn stream(&self, key: &str, range: Range<u64>) -> Result<ObjectStream, ObjectError> {
        self.0.stream(key, range).await
    }

    async fn put_bytes(&self, key: &str, bytes: Bytes) -> Result<String, ObjectError> {
        self.0.put_bytes(key, bytes).await
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        match self.1 {
            true => Err(ObjectError::NoConditionalWrites {
                store: "here".to_owned(),
            }),
            false => self.0.put_new(key, bytes).await,
        }
    }

    async fn put_file(&self, key: &str, file: &Path) -> Result<String, ObjectError> {
        self.0.put_file(key, file).await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<String, ObjectError> {
        self.0.copy(from, to).await
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.0.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError> {
        self.0.list(prefix).await
    }

    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        self.0.list_directories(prefix).await
    }

    fn local_path(&self, _: &str) -> Result<Option<PathBuf>, ObjectError> {
        Ok(None)
    }

    async fn signed_url(
        &self,
        key: &str,
        access: Access,
        lifetime: Duration,
    ) -> Result<Option<String>, ObjectError> {
        self.0.signed_url(key, access, lifetime).await
    }

    async fn remove_unfinished(&self, grace: Duration) -> Result<Vec<String>, ObjectError> {
        self.0.remove_unfinished(grace).await
    }
}
