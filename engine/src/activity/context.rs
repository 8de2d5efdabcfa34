use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{ActivityError, Checkpoint, MediaSpan, Progress, ProgressCell, Usage};
use crate::limits;
use crate::objects::{Artifact, ObjectError, ObjectStore};

/// How much of a file is hashed at a time.
const DIGEST_BUFFER_BYTES: usize = 256 * 1024;

/// What an attempt may write while it runs. Every write is fenced: once the attempt has lost its
/// lease, each call answers [`ErrorClass::Cancelled`](super::ErrorClass::Cancelled).
#[async_trait]
pub trait AttemptPort: std::fmt::Debug + Send + Sync {
    /// Makes a checkpoint and the artifacts it stands on durable, in one transaction.
    async fn save_checkpoint(
        &self,
        value: Value,
        covers: Option<MediaSpan>,
        artifacts: Vec<Artifact>,
    ) -> Result<(), ActivityError>;

    /// The generation of `name` that belongs to this run, allocated when first asked for, higher
    /// than `above`.
    async fn allocate_generation(&self, name: &str, above: u32) -> Result<u64, ActivityError>;

    /// Points `name` at `generation`.
    async fn publish(&self, name: &str, generation: u64) -> Result<PublicationMove, ActivityError>;
}

/// What moving a publication did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicationMove {
    /// The generation that was current before, if any.
    pub previous: Option<u64>,
    /// The generation that readers see now: the one that was published, or a later one that was
    /// there already.
    pub current: u64,
}

/// Everything a [`Context`] is made of.
#[derive(Debug)]
pub struct ContextParts {
    /// Id of the run.
    pub run: String,
    /// Id of the step, `encode[3]` for an item of a fan-out.
    pub step: String,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Eight hex digits that no other attempt has.
    pub attempt_tag: String,
    /// Empty directory of this attempt; removed afterwards.
    pub scratch: PathBuf,
    /// Where the source is; not written to.
    pub source: Arc<dyn ObjectStore>,
    /// Where results go.
    pub media: Arc<dyn ObjectStore>,
    /// The checkpoint to continue from.
    pub checkpoint: Option<Checkpoint>,
    /// Cancelled when the attempt has to stop.
    pub cancelled: CancellationToken,
    /// Cancelled when the worker is shutting down: stop at the next checkpoint.
    pub draining: CancellationToken,
    /// Progress as the engine reads it.
    pub progress: Arc<ProgressCell>,
    /// Fenced writes.
    pub port: Arc<dyn AttemptPort>,
}

/// What an activity is given to work with; one per attempt.
#[derive(Debug)]
pub struct Context {
    parts: ContextParts,
    outcome: Mutex<Outcome>,
}

#[derive(Debug, Default)]
struct Outcome {
    artifacts: Vec<Artifact>,
    warnings: Vec<String>,
    usage: Usage,
}

impl Context {
    /// A context for one attempt. Made by the worker and by test kits.
    #[must_use]
    pub fn new(parts: ContextParts) -> Self {
        Self {
            parts,
            outcome: Mutex::default(),
        }
    }

    /// Id of the run.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.parts.run
    }

    /// Id of the step, `encode[3]` for an item of a fan-out.
    #[must_use]
    pub fn step_id(&self) -> &str {
        &self.parts.step
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.parts.attempt
    }

    /// Eight hex digits that no other attempt has: part of the name of every object whose bytes
    /// are not a pure function of the input, so that a stale worker can only leave litter.
    #[must_use]
    pub fn attempt_tag(&self) -> &str {
        &self.parts.attempt_tag
    }

    /// An empty directory of this attempt, on the worker's scratch disk; removed afterwards.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.parts.scratch
    }

    /// The store of sources. Read only.
    #[must_use]
    pub fn source(&self) -> &Arc<dyn ObjectStore> {
        &self.parts.source
    }

    /// The store of results.
    #[must_use]
    pub fn media(&self) -> &Arc<dyn ObjectStore> {
        &self.parts.media
    }

    /// What an earlier attempt left, as it was saved; `None` if there is nothing to continue.
    ///
    /// # Errors
    /// `bug` if the value has another shape: the activity changed without a new version.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, ActivityError> {
        let Some(checkpoint) = &self.parts.checkpoint else {
            return Ok(None);
        };
        serde_json::from_value(checkpoint.value.clone())
            .map(Some)
            .map_err(|e| {
                ActivityError::bug(
                    "bad_checkpoint",
                    format!("the checkpoint cannot be read: {e}"),
                )
            })
    }

    /// Makes a value durable, with the artifacts it stands on. When this returns, the next
    /// attempt continues from here, whatever happens.
    ///
    /// # Errors
    /// `cancelled` when the attempt has lost its lease: stop. Otherwise what the store says.
    pub async fn save_checkpoint<T: Serialize + Sync>(
        &self,
        value: &T,
        covers: Option<MediaSpan>,
        artifacts: Vec<Artifact>,
    ) -> Result<(), ActivityError> {
        let value = serde_json::to_value(value)
            .map_err(|e| ActivityError::bug("bad_checkpoint", e.to_string()))?;
        let size = value.to_string().len();
        if size > limits::CHECKPOINT_BYTES {
            let limit = limits::CHECKPOINT_BYTES;
            let message =
                format!("the checkpoint is {size} bytes; the limit CHECKPOINT_BYTES is {limit}");
            return Err(ActivityError::config("limit_exceeded", message));
        }
        self.parts
            .port
            .save_checkpoint(value, covers, artifacts)
            .await
    }

    /// Reports progress; see [`ProgressCell`].
    pub fn progress(&self, progress: Progress) {
        self.parts.progress.report(progress);
    }

    /// Resolves when the attempt has to stop at once.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        &self.parts.cancelled
    }

    /// Resolves when the worker shuts down: reach the next checkpoint, then return
    /// [`ActivityError::cancelled`]. Nobody's budget is charged.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.parts.draining
    }

    /// Notes something the user should know that does not fail the step.
    ///
    /// What is beyond [`limits::MESSAGE_CHARS`] and [`limits::WARNINGS_PER_ATTEMPT`] is left out.
    pub fn warn(&self, message: impl Into<String>) {
        let warnings = &mut self.lock().warnings;
        if warnings.len() < limits::WARNINGS_PER_ATTEMPT {
            warnings.push(message.into().chars().take(limits::MESSAGE_CHARS).collect());
        }
    }

    /// Adds what a child process used to this attempt's account.
    pub fn add_usage(&self, usage: Usage) {
        self.lock().usage.add(usage);
    }

    /// Moves a file of the scratch directory into the media store and lists it as an artifact
    /// of this step.
    ///
    /// # Errors
    /// `resource` when the store is full, `transient` when it cannot be reached.
    pub async fn put_file(
        &self,
        key: &str,
        file: &Path,
        media_type: &str,
    ) -> Result<Artifact, ActivityError> {
        let artifact = self.store_file(key, file, media_type).await?;
        self.lock().artifacts.push(artifact.clone());
        Ok(artifact)
    }

    /// Moves a file into the media store without listing it: for artifacts that go into a
    /// checkpoint with [`Context::save_checkpoint`].
    ///
    /// # Errors
    /// As [`Context::put_file`].
    pub async fn store_file(
        &self,
        key: &str,
        file: &Path,
        media_type: &str,
    ) -> Result<Artifact, ActivityError> {
        let path = file.to_owned();
        let (size, sha256) = tokio::task::spawn_blocking(move || digest_file(&path))
            .await
            .map_err(|e| ActivityError::bug("panic", e.to_string()))?
            .map_err(|e| ActivityError::io("read a scratch file", e))?;
        self.media().put_file(key, file).await?;
        Ok(Artifact {
            key: key.to_owned(),
            size,
            sha256,
            media_type: media_type.to_owned(),
        })
    }

    /// Stores bytes in the media store and lists them as an artifact of this step.
    ///
    /// # Errors
    /// As [`Context::put_file`].
    pub async fn put_bytes(
        &self,
        key: &str,
        bytes: impl Into<Bytes>,
        media_type: &str,
    ) -> Result<Artifact, ActivityError> {
        let bytes = bytes.into();
        let artifact = Artifact {
            key: key.to_owned(),
            size: bytes.len() as u64,
            sha256: hex(&Sha256::digest(&bytes)),
            media_type: media_type.to_owned(),
        };
        self.media().put_bytes(key, bytes).await?;
        self.lock().artifacts.push(artifact.clone());
        Ok(artifact)
    }

    /// The generation of `name` that belongs to this run: the same in every attempt and step of
    /// the run, and no other run's. The first call allocates it, higher than every other
    /// generation of the name, and than `above`: what is known of generations that the database
    /// has forgotten.
    ///
    /// # Errors
    /// `cancelled` when the lease is lost.
    pub async fn allocate_generation(&self, name: &str, above: u32) -> Result<u64, ActivityError> {
        self.parts.port.allocate_generation(name, above).await
    }

    /// Makes `generation` the one that readers of `name` see.
    ///
    /// # Errors
    /// `cancelled` when the lease is lost.
    pub async fn publish(
        &self,
        name: &str,
        generation: u64,
    ) -> Result<PublicationMove, ActivityError> {
        self.parts.port.publish(name, generation).await
    }

    /// What the attempt listed and noted so far: artifacts, warnings, usage. For the worker.
    #[must_use]
    pub fn take_outcome(&self) -> (Vec<Artifact>, Vec<String>, Usage) {
        let outcome = std::mem::take(&mut *self.lock());
        (outcome.artifacts, outcome.warnings, outcome.usage)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<ObjectError> for ActivityError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::NotFound { ref key } => Self::input(
                "object_missing",
                format!("there is no object {key} in the store"),
            )
            .with_source(error),
            ObjectError::BadKey { .. } => {
                Self::input("bad_key", error.to_string()).with_source(error)
            }
            ObjectError::Unsupported { .. } => {
                Self::config("bad_store", error.to_string()).with_source(error)
            }
            ObjectError::Io { doing, key, source } => Self::io(&format!("{doing} {key}"), source),
        }
    }
}

/// Size and SHA-256 (hex) of a file. Blocks.
fn digest_file(path: &Path) -> std::io::Result<(u64, String)> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; DIGEST_BUFFER_BYTES];
    let mut size = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, hex(&hasher.finalize()))),
            n => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
}

/// Lowercase hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}
