use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use serde_json::Value;
use telecine_engine::activity::{
    Activity, ActivityError, AttemptPort, Checkpoint, Context, ContextParts, MediaSpan,
    ProgressCell, PublicationMove, Registry,
};
use telecine_engine::objects::Artifact;
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
    artifacts: Vec<Artifact>,
    published: BTreeMap<String, u64>,
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
        kept.artifacts.extend(artifacts);
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

    /// Cancels the attempts that follow, from their start.
    pub fn cancel(&self) {
        self.cancelled.cancel();
    }

    /// Lets the attempts that follow find their worker shutting down.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    fn attempt(&self) -> Context {
        let attempt = {
            let mut kept = self.memory.lock();
            kept.attempts += 1;
            kept.attempts
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
            checkpoint: self.memory.lock().checkpoint.clone(),
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
        artifacts: Vec<Artifact>,
    ) -> Result<(), ActivityError> {
        let mut kept = self.lock();
        kept.artifacts.extend(artifacts);
        kept.checkpoint = Some(Checkpoint {
            seq: kept.checkpoint.as_ref().map_or(1, |last| last.seq + 1),
            value,
            covers,
            compat: String::new(),
        });
        Ok(())
    }

    async fn allocate_generation(&self, _name: &str, above: u32) -> Result<u64, ActivityError> {
        Ok(u64::from(above) + 1)
    }

    async fn publish(&self, name: &str, generation: u64) -> Result<PublicationMove, ActivityError> {
        let previous = self.lock().published.insert(name.to_owned(), generation);
        Ok(PublicationMove {
            previous,
            current: generation,
        })
    }
}
