use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use telecine_engine::activity::{
    Activity, ActivityError, AttemptPort, Checkpoint, Context, ContextParts, MediaSpan,
    ProgressCell, PublicationMove, Registry,
};
use telecine_engine::objects::{Artifact, StoredArtifact};
use telecine_object_stores::FsStore;
use tokio_util::sync::CancellationToken;

/// One step to run attempts of an activity in, without an engine around it: temporary stores, a
/// scratch directory, and checkpoints that the next attempt continues from.
///
/// The methods block, and panic where the machine fails (a full disk), as tests do.
#[derive(Debug)]
pub struct Stage {
    home: tempfile::TempDir,
    memory: Arc<Memory>,
    cancelled: CancellationToken,
    draining: CancellationToken,
}

/// What a successful attempt made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Performance {
    /// What the activity returned, as other steps see it.
    pub output: Value,
    /// The objects of the step, those of its checkpoints included.
    pub artifacts: Vec<Artifact>,
    /// What it warned of.
    pub warnings: Vec<String>,
}

/// What outlives an attempt.
#[derive(Debug, Default)]
struct Memory(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    attempts: u32,
    checkpoint: Option<Checkpoint>,
    damaged: Vec<String>,
    artifacts: Vec<Artifact>,
    names: BTreeMap<String, Generations>,
}

/// The generations of a name.
#[derive(Debug, Default)]
struct Generations {
    /// That of the run that is on this stage.
    own: Option<u64>,
    /// The highest that anybody has allocated.
    highest: u64,
    /// That readers see, and the one before.
    current: Option<u64>,
    previous: Option<u64>,
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

impl Stage {
    /// An empty stage.
    #[must_use]
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a temporary directory"),
            memory: Arc::default(),
            cancelled: CancellationToken::new(),
            draining: CancellationToken::new(),
        }
    }

    /// Puts an object into the store of sources, a copy of `file`.
    #[must_use]
    pub fn with_source(self, key: &str, file: impl AsRef<Path>) -> Self {
        let path = self.home.path().join("sources").join(key);
        let folder = path.parent().expect("a key is below the store");
        std::fs::create_dir_all(folder).expect("a directory for sources");
        std::fs::copy(file.as_ref(), &path).expect("a source to copy");
        self
    }

    /// Lets an earlier step of the same job have allocated a generation of a name.
    #[must_use]
    pub fn with_generation(self, name: &str, generation: u64) -> Self {
        self.generations(name, |known| {
            known.own = Some(generation);
            known.highest = known.highest.max(generation);
        })
    }

    /// Lets another job have published a generation of a name.
    #[must_use]
    pub fn with_publication(self, name: &str, generation: u64) -> Self {
        self.generations(name, |known| {
            known.current = Some(generation);
            known.highest = known.highest.max(generation);
        })
    }

    fn generations(self, name: &str, change: impl FnOnce(&mut Generations)) -> Self {
        change(self.memory.lock().names.entry(name.to_owned()).or_default());
        self
    }

    /// Runs one attempt to its end. The input is checked against the activity's schema first.
    ///
    /// # Errors
    /// The activity's own.
    pub fn run<A: Activity>(
        &self,
        activity: A,
        input: Value,
    ) -> Result<Performance, ActivityError> {
        let mut registry = Registry::default();
        registry
            .register(activity)
            .expect("an activity that a workflow can name");
        let activity = registry
            .get(A::NAME, A::VERSION)
            .expect("what was registered");
        let context = self.attempt();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .expect("threads");
        let output = runtime.block_on(activity.run(&context, input))?;
        let (artifacts, warnings, _) = context.take_outcome();
        let mut kept = self.memory.lock();
        kept.artifacts
            .extend(artifacts.into_iter().map(|stored| stored.artifact));
        Ok(Performance {
            output,
            artifacts: kept.artifacts.clone(),
            warnings,
        })
    }

    /// The bytes of an object that was made.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn object(&self, key: &str) -> Vec<u8> {
        let path = self.home.path().join("media").join(key);
        std::fs::read(path).unwrap_or_else(|error| panic!("no object {key}: {error}"))
    }

    /// Takes an object away that was made. The attempts that follow are told that it is
    /// [damaged](Context::damaged).
    ///
    /// # Panics
    /// If there is none.
    pub fn lose(&self, key: &str) {
        let path = self.home.path().join("media").join(key);
        std::fs::remove_file(path).unwrap_or_else(|error| panic!("no object {key}: {error}"));
        let mut kept = self.memory.lock();
        kept.artifacts.retain(|artifact| artifact.key != key);
        kept.damaged.push(key.to_owned());
    }

    /// Cancels the attempts that follow, from their start.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Lets the attempts that follow find their worker shutting down.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    fn attempt(&self) -> Context {
        let (attempt, checkpoint, damaged) = {
            let mut kept = self.memory.lock();
            kept.attempts += 1;
            (kept.attempts, kept.checkpoint.clone(), kept.damaged.clone())
        };
        let scratch = self.home.path().join(format!("scratch-{attempt}"));
        std::fs::create_dir_all(&scratch).expect("a scratch directory");
        let store = |name| Arc::new(FsStore::new(self.home.path().join(name)));
        Context::new(ContextParts {
            run: "job_stage".to_owned(),
            step: "only".to_owned(),
            attempt,
            attempt_tag: format!("{attempt:08x}"),
            scratch,
            source: store("sources"),
            media: store("media"),
            checkpoint,
            damaged,
            cancelled: self.cancelled.clone(),
            draining: self.draining.clone(),
            progress: Arc::<ProgressCell>::default(),
            port: self.memory.clone(),
        })
    }
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl AttemptPort for Memory {
    async fn save_checkpoint(
        &self,
        value: Value,
        covers: Option<MediaSpan>,
        artifacts: Vec<StoredArtifact>,
    ) -> Result<(), ActivityError> {
        let mut kept = self.lock();
        kept.artifacts
            .extend(artifacts.into_iter().map(|stored| stored.artifact));
        kept.checkpoint = Some(Checkpoint {
            seq: kept.checkpoint.as_ref().map_or(1, |last| last.seq + 1),
            value,
            covers,
            compat: String::new(),
        });
        Ok(())
    }

    async fn allocate_generation(
        &self,
        name: &str,
        above: u32,
        _keys: Option<&str>,
    ) -> Result<u64, ActivityError> {
        let mut kept = self.lock();
        let known = kept.names.entry(name.to_owned()).or_default();
        let next = known.highest.max(u64::from(above)) + 1;
        let own = *known.own.get_or_insert(next);
        known.highest = known.highest.max(own);
        Ok(own)
    }

    async fn publish(&self, name: &str, generation: u64) -> Result<PublicationMove, ActivityError> {
        let mut kept = self.lock();
        let known = kept.names.entry(name.to_owned()).or_default();
        if known.own != Some(generation) {
            let message = format!("generation {generation} of {name} was never allocated");
            return Err(ActivityError::bug("unknown_generation", message));
        }
        // Readers never go back to an older one.
        if known.current.is_none_or(|current| current < generation) {
            known.previous = known.current.replace(generation);
        }
        Ok(PublicationMove {
            previous: known.previous,
            current: known.current.unwrap_or(generation),
        })
    }

    async fn publication(&self, name: &str) -> Result<Option<u64>, ActivityError> {
        Ok(self.lock().names.get(name).and_then(|known| known.current))
    }
}

/// The same as the real port does; see `publications.rs` of the conformance suite of stores.
#[cfg(test)]
mod tests {
    use telecine_engine::activity::AttemptPort as _;

    use super::Stage;

    #[tokio::test]
    async fn a_run_has_one_generation_above_all_others() {
        let stage = Stage::new().with_publication("a", 4);
        let allocate = |above| stage.memory.allocate_generation("a", above, None);
        assert_eq!(allocate(2).await.unwrap(), 5);
        assert_eq!(allocate(90).await.unwrap(), 5);
    }

    #[tokio::test]
    async fn publishing_never_moves_back() {
        let stage = Stage::new()
            .with_generation("a", 3)
            .with_publication("a", 7);
        let moved = stage.memory.publish("a", 3).await.unwrap();
        assert_eq!(moved.current, 7);
        let stage = Stage::new()
            .with_publication("a", 2)
            .with_generation("a", 3);
        for _ in 0..2 {
            let moved = stage.memory.publish("a", 3).await.unwrap();
            assert_eq!((moved.previous, moved.current), (Some(2), 3));
        }
    }

    #[tokio::test]
    async fn a_generation_that_nobody_has_allocated_cannot_be_published() {
        let error = Stage::new().memory.publish("a", 1).await.unwrap_err();
        assert_eq!(error.code, "unknown_generation");
    }
}
