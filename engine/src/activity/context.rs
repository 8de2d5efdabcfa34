use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{ActivityError, Checkpoint, MediaSpan, Progress, ProgressCell, Usage};
use crate::limits;
use crate::objects::{
    Artifact, MEDIA_SCHEME, ObjectError, ObjectStore, SourceStore, StoredArtifact,
};
use crate::retry::policy::{OBJECT_MISSING, SOURCE_CHANGED};

/// How much of a file is hashed at a time.
const DIGEST_BUFFER_BYTES: usize = 256 * 1024;

/// How much of an object has to be downloaded before that is told.
const DOWNLOAD_PIECE_BYTES: u64 = 8 << 20;

/// What an attempt may write while it runs, and what it may look up. Every write is fenced: once the
/// attempt has lost its lease, each one answers [`ErrorClass::Cancelled`](super::ErrorClass::Cancelled).
#[async_trait]
pub trait AttemptPort: std::fmt::Debug + Send + Sync {
    /// Makes a checkpoint and the artifacts it stands on durable, in one transaction.
    async fn save_checkpoint(
        &self,
        value: Value,
        covers: Option<MediaSpan>,
        artifacts: Vec<StoredArtifact>,
    ) -> Result<(), ActivityError>;

    /// The generation of `name` that belongs to this run, allocated when first asked for, higher
    /// than `above`; the keys of its objects are like `keys`.
    async fn allocate_generation(
        &self,
        name: &str,
        above: u32,
        keys: Option<&str>,
    ) -> Result<u64, ActivityError>;

    /// Points `name` at `generation`.
    async fn publish(&self, name: &str, generation: u64) -> Result<PublicationMove, ActivityError>;

    /// The generation that readers of `name` see, if there is one. Not fenced: nothing is written.
    async fn publication(&self, name: &str) -> Result<Option<u64>, ActivityError>;
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

/// Sees what an activity does with its [`Context`]; test kits judge activities by it.
#[async_trait]
pub trait Witness: std::fmt::Debug + Send + Sync {
    /// The activity asked for the checkpoint of an earlier attempt.
    fn checkpoint_read(&self);
    /// A checkpoint has become durable; the activity waits until this returns.
    async fn checkpoint_saved(&self);
    /// A generation of a name was allocated for the activity.
    fn generation_allocated(&self, name: &str);
    /// The activity is about to publish a generation that an earlier step may have allocated.
    async fn publishing(
        &self,
        port: &dyn AttemptPort,
        name: &str,
        generation: u64,
    ) -> Result<(), ActivityError>;
    /// The activity reported progress; this is what it said, before any correction.
    fn progressed(&self, progress: &Progress);
}

/// Everything a [`Context`] is made of.
#[derive(Debug, Clone)]
pub struct ContextParts {
    /// Id of the run.
    pub run: String,
    /// Id of the step, `encode[3]` for an item of a fan-out.
    pub step: String,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Eight hex digits that no other attempt has.
    pub attempt_tag: String,
    /// Directory of this attempt; made when it is first asked for, and removed by whoever made the
    /// context.
    pub scratch: PathBuf,
    /// Where the source is; not written to.
    pub source: Arc<dyn ObjectStore>,
    /// Where results go.
    pub media: Arc<dyn ObjectStore>,
    /// The checkpoint to continue from.
    pub checkpoint: Option<Checkpoint>,
    /// Keys of objects that the checkpoint names and that are gone or have other bytes.
    pub damaged: Vec<String>,
    /// Cancelled when the attempt has to stop.
    pub cancelled: CancellationToken,
    /// Cancelled when the worker is shutting down: stop at the next checkpoint.
    pub draining: CancellationToken,
    /// Progress as the engine reads it.
    pub progress: Arc<ProgressCell>,
    /// Fenced writes.
    pub port: Arc<dyn AttemptPort>,
}

/// What an activity is given to work with; one per attempt. A clone is the same attempt, and cheap:
/// `spawn_blocking` takes one along, for progress and [`Context::check_stop`].
#[derive(Debug, Clone)]
pub struct Context {
    parts: ContextParts,
    /// How making the scratch directory went.
    scratch: Arc<OnceLock<std::io::Result<()>>>,
    outcome: Arc<Mutex<Outcome>>,
    witness: Option<Arc<dyn Witness>>,
}

#[derive(Debug, Default)]
struct Outcome {
    artifacts: Vec<Artifact>,
    /// What the store called each object that this attempt has put there, by key.
    etags: HashMap<String, String>,
    warnings: Vec<String>,
    usage: Usage,
}

impl Context {
    /// A context for one attempt. Made by workers and test kits; activities are given theirs.
    #[doc(hidden)]
    #[must_use]
    pub fn new(parts: ContextParts) -> Self {
        Self {
            parts,
            scratch: Arc::default(),
            outcome: Arc::default(),
            witness: None,
        }
    }

    /// The same attempt, seen by a witness. For test kits.
    #[doc(hidden)]
    #[must_use]
    pub fn witnessed(&self, witness: Arc<dyn Witness>) -> Self {
        Self {
            witness: Some(witness),
            ..self.clone()
        }
    }

    /// The same attempt, told of other damage. For test kits.
    #[doc(hidden)]
    #[must_use]
    pub fn with_damaged(&self, damaged: Vec<String>) -> Self {
        let mut told = self.clone();
        told.parts.damaged = damaged;
        told
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
    /// are not a pure function of the input, so that a stale worker can only leave litter. In a generation
    /// it stands behind an underscore before the extension, `seg_00001_0a1b2c3d.m4s`: litter is known by that.
    #[must_use]
    pub fn attempt_tag(&self) -> &str {
        &self.parts.attempt_tag
    }

    /// An empty directory of this attempt, on the worker's scratch disk; removed afterwards.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        let path = &self.parts.scratch;
        // Most steps that do little need none. Where it cannot be made, the first use fails.
        self.scratch.get_or_init(|| std::fs::create_dir_all(path));
        path
    }

    /// Why the scratch directory could not be made, if it was asked for: the cause of whatever else
    /// went wrong.
    #[doc(hidden)]
    #[must_use]
    pub fn scratch_error(&self) -> Option<ActivityError> {
        let error = self.scratch.get()?.as_ref().err()?;
        let error = match error.raw_os_error() {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => error.kind().into(),
        };
        Some(ActivityError::io("make a scratch directory", error))
    }

    /// The store of sources.
    #[must_use]
    pub fn source(&self) -> SourceStore<'_> {
        SourceStore::new(self.parts.source.as_ref())
    }

    /// The store of results itself. What is written to it directly is not fenced and not listed: a
    /// stale attempt may write it too, and nobody misses it when it is gone. Store with
    /// [`Context::put_file`] and [`Context::put_bytes`].
    #[must_use]
    pub fn media(&self) -> &Arc<dyn ObjectStore> {
        &self.parts.media
    }

    /// What an earlier attempt saved last; `None` if there is nothing to continue.
    ///
    /// # Errors
    /// `bug` `bad_checkpoint` if the value has another shape: the activity changed without a new
    /// [`VERSION`](super::Activity::VERSION).
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, ActivityError> {
        if let Some(witness) = &self.witness {
            witness.checkpoint_read();
        }
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

    /// Keys of objects that the [checkpoint](Context::checkpoint) names and that are gone or have other
    /// bytes: they are to be made again, under other names, and nothing else is. Empty unless the
    /// activity [mends](super::Activity::MENDS). Every attempt of a round is told of the same ones, also
    /// of those that the attempt before has made again: the checkpoint names the new ones then.
    #[must_use]
    pub fn damaged(&self) -> &[String] {
        &self.parts.damaged
    }

    /// Makes a value durable as the step's checkpoint, together with every artifact that this
    /// attempt has listed so far. When this returns, the next attempt continues from here,
    /// whatever happens.
    ///
    /// # Errors
    /// `cancelled` when the attempt has lost its lease: stop. `config` `limit_exceeded` for a value
    /// of more than [`limits::CHECKPOINT_BYTES`]. Otherwise what the database says.
    pub async fn save<T: Serialize + Sync>(&self, value: &T) -> Result<(), ActivityError> {
        self.save_checkpoint(value, None, Vec::new()).await
    }

    /// [`Context::save`], with the media time that the checkpoint covers, for people, and with
    /// `artifacts` that were [stored](Context::store_file) without being listed.
    ///
    /// # Errors
    /// As [`Context::save`].
    pub async fn save_checkpoint<T: Serialize + Sync>(
        &self,
        value: &T,
        covers: Option<MediaSpan>,
        mut artifacts: Vec<Artifact>,
    ) -> Result<(), ActivityError> {
        let value = checkpoint_value(value)?;
        let listed = std::mem::take(&mut self.lock().artifacts);
        artifacts.extend(listed.iter().cloned());
        let artifacts = self.lock().stored(artifacts);
        let saved = self.parts.port.save_checkpoint(value, covers, artifacts);
        if let Err(error) = saved.await {
            self.lock().artifacts.splice(0..0, listed);
            return Err(error);
        }
        if let Some(witness) = &self.witness {
            witness.checkpoint_saved().await;
        }
        Ok(())
    }

    /// Reports progress. Cheap, so report freely: a counter that stands still for the step's
    /// `stall` time ends the attempt.
    pub fn progress(&self, progress: Progress) {
        if let Some(witness) = &self.witness {
            witness.progressed(&progress);
        }
        self.parts.progress.report(progress);
    }

    /// Forgets what was reported: something else begins that counts from 0. For the worker.
    pub(crate) fn begin_anew(&self) {
        self.parts.progress.begin_anew();
    }

    /// Fails when the attempt has to stop, at once or at its next checkpoint. Call it after each
    /// checkpoint, and between pieces of work: `ctx.check_stop()?;`
    ///
    /// # Errors
    /// [`ActivityError::cancelled`], for the activity to return.
    pub fn check_stop(&self) -> Result<(), ActivityError> {
        if self.is_cancelled() || self.is_draining() {
            return Err(ActivityError::cancelled());
        }
        Ok(())
    }

    /// Resolves when the attempt has to stop at once: the run was cancelled, the attempt is over
    /// time, or its worker was taken for dead. Five seconds later it is abandoned.
    pub async fn cancelled(&self) {
        self.parts.cancelled.cancelled().await;
    }

    /// Whether [`Context::cancelled`] has resolved.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.parts.cancelled.is_cancelled()
    }

    /// Resolves when the worker shuts down: return [`ActivityError::cancelled`] at the next checkpoint, or
    /// at once if that is more than a moment away and what is lost by it is small. Another worker goes on
    /// from the last checkpoint as soon as you return; nobody's budget is charged. Without checkpoints, go
    /// on to your end: you have as long as the worker was given to shut down.
    pub async fn draining(&self) {
        self.parts.draining.cancelled().await;
    }

    /// Whether [`Context::draining`] has resolved.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.parts.draining.is_cancelled()
    }

    /// What resolves [`Context::cancelled`] and [`Context::draining`]. For test kits.
    #[doc(hidden)]
    #[must_use]
    pub fn signals(&self) -> (&CancellationToken, &CancellationToken) {
        (&self.parts.cancelled, &self.parts.draining)
    }

    /// The store that holds a source, and its key there: `media://KEY` is a result of an earlier
    /// step, see [`Artifact::as_source`]; everything else is a key of the store of sources.
    #[must_use]
    pub fn locate<'a>(&'a self, source: &'a str) -> (SourceStore<'a>, &'a str) {
        match source.strip_prefix(MEDIA_SCHEME) {
            Some(key) => (SourceStore::new(self.media().as_ref()), key),
            None => (self.source(), source),
        }
    }

    /// A file that holds a [source](Context::locate): in place if the store has it in one, else a
    /// copy in the scratch directory. Read it, never write to it.
    ///
    /// # Errors
    /// `input` `object_missing` if there is no such object, else what the store or the disk says.
    pub async fn source_file(&self, source: &str) -> Result<PathBuf, ActivityError> {
        self.source_file_within(source, u64::MAX).await
    }

    /// As [`Context::source_file`], for sources of at most so many bytes; nothing of a larger one
    /// is read.
    ///
    /// # Errors
    /// Also `input` `source_too_large`.
    pub async fn source_file_within(
        &self,
        source: &str,
        max_bytes: u64,
    ) -> Result<PathBuf, ActivityError> {
        let (store, key) = self.locate(source);
        let found = store.head(key).await?;
        let missing = || ObjectError::NotFound {
            key: key.to_owned(),
        };
        let size = found.ok_or_else(missing)?.size;
        if size > max_bytes {
            let message = format!("{key} has {size} bytes; at most {max_bytes} are taken");
            return Err(ActivityError::input("source_too_large", message));
        }
        if let Some(path) = store.local_path(key)? {
            return Ok(path);
        }
        // A name of its own for each source; some libraries go by the extension.
        let name = format!("source_{}", hex(&Sha256::digest(source)[..8]));
        let mut path = self.scratch().join(name);
        if let Some(extension) = extension(key) {
            path.set_extension(extension);
        }
        // What an earlier call of this attempt has left.
        let _ = std::fs::remove_file(&path);
        self.download(store, (key, size), &path).await?;
        Ok(path)
    }

    async fn download(
        &self,
        store: SourceStore<'_>,
        (key, size): (&str, u64),
        to: &Path,
    ) -> Result<(), ActivityError> {
        let copied = |bytes| {
            // Pieces, not bytes: what follows may count frames from 0, and has to overtake.
            self.progress(Progress {
                counter: bytes / DOWNLOAD_PIECE_BYTES,
                ..Progress::default()
            });
        };
        if store.download(key, to, &copied).await? < size {
            let message = format!("the object {key} became shorter while it was read");
            return Err(ActivityError::transient("object_changed", message));
        }
        Ok(())
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
        let etag = self.media().put_file(key, file).await?;
        self.lock().etags.insert(key.to_owned(), etag);
        Ok(Artifact {
            key: key.to_owned(),
            size,
            sha256,
            media_type: media_type.to_owned(),
        })
    }

    /// Copies an object that a step made to another key of the media store, and lists the copy as an
    /// artifact of this step.
    ///
    /// # Errors
    /// `input` `object_missing` if it is gone, else as [`Context::put_file`].
    pub async fn copy(&self, made: &Artifact, key: &str) -> Result<Artifact, ActivityError> {
        let etag = self.media().copy(&made.key, key).await?;
        let copy = Artifact {
            key: key.to_owned(),
            ..made.clone()
        };
        self.list(copy.clone(), Some(etag));
        Ok(copy)
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
        let etag = self.media().put_bytes(key, bytes).await?;
        self.list(artifact.clone(), Some(etag));
        Ok(artifact)
    }

    /// The generation of `name` that belongs to this run: the same in every attempt and step of
    /// the run, and no other run's. The first call allocates it, higher than every other
    /// generation of the name, and than `above`: what is known of generations that the database
    /// has forgotten.
    ///
    /// `keys` says where in the media store the generation is, and that nobody else writes there: what the keys of its
    /// objects are like, with `{n}` for its number and one `*` for anything: `videos/ab/ab12/g{n}/*`. `None` if that
    /// is not certain, or not yet: it can be said in a later call. A day after the run has ended, objects there
    /// are removed that are named as [`attempt_tag`](Self::attempt_tag) says and that no step of the run has
    /// recorded, which is what an attempt left that was killed. When a run is forgotten that did not succeed and never
    /// called [`publish`](Self::publish), all of them are, whoever else points to them.
    ///
    /// # Errors
    /// `cancelled` when the lease is lost; `bug` `bad_place` if `keys` has not one `{n}`, something that ends the number, and one `*`.
    pub async fn allocate_generation(
        &self,
        name: &str,
        above: u32,
        keys: Option<&str>,
    ) -> Result<u64, ActivityError> {
        if let Some(keys) = keys {
            check_place(keys)?;
        }
        let allocated = self.parts.port.allocate_generation(name, above, keys);
        let allocated = allocated.await?;
        if let Some(witness) = &self.witness {
            witness.generation_allocated(name);
        }
        Ok(allocated)
    }

    /// Makes `generation` the one that readers of `name` see.
    ///
    /// # Errors
    /// `cancelled` when the lease is lost; `bug` `unknown_generation` if nobody has allocated it.
    pub async fn publish(
        &self,
        name: &str,
        generation: u64,
    ) -> Result<PublicationMove, ActivityError> {
        if let Some(witness) = &self.witness {
            let port = self.parts.port.as_ref();
            witness.publishing(port, name, generation).await?;
        }
        self.parts.port.publish(name, generation).await
    }

    /// The generation that readers of `name` see, if there is one. Also an attempt that has lost its
    /// lease is told, so that it can put right what it has copied too late.
    ///
    /// # Errors
    /// What the database says.
    pub async fn publication(&self, name: &str) -> Result<Option<u64>, ActivityError> {
        self.parts.port.publication(name).await
    }

    /// What the attempt listed and noted so far: artifacts, warnings, usage. For the worker.
    #[doc(hidden)]
    #[must_use]
    pub fn take_outcome(&self) -> (Vec<StoredArtifact>, Vec<String>, Usage) {
        let mut outcome = std::mem::take(&mut *self.lock());
        let artifacts = std::mem::take(&mut outcome.artifacts);
        let artifacts = outcome.stored(artifacts);
        (artifacts, outcome.warnings, outcome.usage)
    }

    /// What the attempt listed and has not put into a checkpoint. For the worker.
    pub(crate) fn listed(&self) -> Vec<Artifact> {
        self.lock().artifacts.clone()
    }

    /// Lists an object that is in the store already, with its etag if this attempt has put it there. For the
    /// worker.
    pub(crate) fn list(&self, artifact: Artifact, etag: Option<String>) {
        let mut outcome = self.lock();
        if let Some(etag) = etag {
            outcome.etags.insert(artifact.key.clone(), etag);
        }
        outcome.artifacts.push(artifact);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    /// Artifacts with what the store called them.
    fn stored(&self, artifacts: Vec<Artifact>) -> Vec<StoredArtifact> {
        let stored = artifacts.into_iter().map(|artifact| StoredArtifact {
            // A service may leave it out of its answer.
            etag: self
                .etags
                .get(&artifact.key)
                .filter(|etag| !etag.is_empty())
                .cloned(),
            artifact,
        });
        stored.collect()
    }
}

impl From<ObjectError> for ActivityError {
    fn from(error: ObjectError) -> Self {
        match error {
            ObjectError::NotFound { ref key } => Self::input(
                OBJECT_MISSING,
                format!("there is no object {key} in the store"),
            )
            .with_source(error),
            ObjectError::BadKey { .. } => {
                Self::input("bad_key", error.to_string()).with_source(error)
            }
            ObjectError::Changed { .. } => {
                Self::input(SOURCE_CHANGED, error.to_string()).with_source(error)
            }
            ObjectError::Unsupported { .. } => {
                Self::config("bad_store", error.to_string()).with_source(error)
            }
            ObjectError::Service { class, code, .. } => {
                Self::new(class, code, error.to_string()).with_source(error)
            }
            ObjectError::NoConditionalWrites { .. } => {
                Self::config("no_conditional_writes", error.to_string()).with_source(error)
            }
            ObjectError::ReadOnly { .. } => {
                Self::bug("source_written", error.to_string()).with_source(error)
            }
            ObjectError::Io { doing, key, source } => Self::io(&format!("{doing} {key}"), source),
        }
    }
}

/// The longest extension that a copy of a source keeps.
const EXTENSION_BYTES: usize = 8;

/// What the name of a source ends in, if it says what kind of file it is.
fn extension(key: &str) -> Option<&str> {
    let extension = Path::new(key).extension()?.to_str()?;
    let is_plain = extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_plain && extension.len() <= EXTENSION_BYTES).then_some(extension)
}

/// A checkpoint as it is stored.
fn checkpoint_value(value: &impl Serialize) -> Result<Value, ActivityError> {
    let value = serde_json::to_value(value)
        .map_err(|e| ActivityError::bug("bad_checkpoint", e.to_string()))?;
    let size = value.to_string().len();
    let limit = limits::CHECKPOINT_BYTES;
    if size > limit {
        let message = format!(
            "the checkpoint is {size} bytes; the limit CHECKPOINT_BYTES is {limit}: store what is large in an \
                 object, and keep its key"
        );
        return Err(ActivityError::config("limit_exceeded", message));
    }
    Ok(value)
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
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
    ];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| DIGITS[usize::from(digit)]).collect()
}

/// Whether a pattern of keys names a generation and nothing besides.
fn check_place(keys: &str) -> Result<(), ActivityError> {
    let (before, after) = keys.split_once("{n}").unwrap_or((keys, ""));
    let ends = after.starts_with(|next: char| !next.is_ascii_digit() && next != '*');
    let marks = after.matches('*').count();
    if ends && marks == 1 && !after.contains("{n}") && !before.contains('*') {
        return Ok(());
    }
    let message = format!(
        "the keys {keys:?} of a generation have not one {{n}}, something that ends the number, and one *"
    );
    Err(ActivityError::bug("bad_place", message))
}

#[cfg(test)]
mod tests {
    use super::check_place;

    #[test]
    fn a_place_is_of_one_generation_alone() {
        for good in ["a/g{n}/*", "a/b.g{n}_*.webp", "{n}/*"] {
            assert!(check_place(good).is_ok(), "{good}");
        }
        for bad in [
            "a/g{n}*",
            "a/g{n}1/*",
            "a/*/g{n}/",
            "a/*",
            "a/g{n}/",
            "{n}/{n}/*",
            "{n}/*/*",
            "",
        ] {
            assert!(check_place(bad).is_err(), "{bad}");
        }
    }
}
