//! What callers ask of runs: submit, cancel, retry, look.

mod history;
mod look;
mod plans;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;
use serde_json::Value;

use crate::activity::Registry;
use crate::committer::{CommitError, Committer};
use crate::definition::{Definition, InputError};
use crate::definitions::Definitions;
use crate::id::RunId;
use crate::machine::{self, Command};
use crate::objects::{ObjectError, ObjectMeta, ObjectStores};
use crate::queue::Queue;
use crate::retry::reuse::SourceIdentity;
use crate::retry::world::fingerprint;
use crate::run::{Run, RunStatus, StoreUrls};
use crate::store::{Created, RequestKey, Store, StoreError};

pub use look::Proven;
pub use plans::{Executed, PlanError};

/// A request to run a workflow.
#[derive(Debug, Clone)]
pub struct Submission {
    /// What to run.
    pub definition: Arc<Definition>,
    /// Its input; defaults are filled in.
    pub input: Value,
    /// Where sources and results are.
    pub stores: StoreUrls,
    /// Where its steps wait; by the size of the source if nobody says.
    pub queue: Option<Queue>,
    /// Higher goes first; 0 is usual.
    pub priority: i32,
    /// For people and filters.
    pub labels: BTreeMap<String, String>,
    /// Makes a new run even if an equal request was made before.
    pub force: bool,
}

/// What makes two requests the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// Digest of the definition.
    pub definition: String,
    /// The input with its defaults.
    pub input: Value,
    /// Hash over definition, input, stores, and size and etag of the source.
    pub fingerprint: String,
    /// Size of the source, if the input names one.
    pub source_bytes: Option<u64>,
}

/// Says what request a submission is, and changes nothing.
///
/// # Errors
/// [`SubmitError`]: what submitting it would say of input and source.
pub async fn identify(
    objects: &dyn ObjectStores,
    submission: &Submission,
) -> Result<Identity, SubmitError> {
    identify_as(objects, submission, submission.definition.digest()).await
}

/// The same where the digest of the definition is known.
async fn identify_as(
    objects: &dyn ObjectStores,
    submission: &Submission,
    definition: String,
) -> Result<Identity, SubmitError> {
    let input = submission
        .definition
        .check_input(submission.input.clone())
        .map_err(SubmitError::BadInput)?;
    let source = source_identity(objects, &input, &submission.stores).await?;
    Ok(Identity {
        fingerprint: fingerprint((&definition, &input), &submission.stores, source.as_ref()),
        source_bytes: source.map(|source| source.size),
        definition,
        input,
    })
}

/// The key of the object that an input names as its source.
pub(crate) fn source_key(input: &Value) -> Option<&str> {
    input.get("source").and_then(Value::as_str)
}

/// Whether an object is still the source that a run was submitted with.
pub(crate) fn is_source_of(run: &Run, found: &ObjectMeta) -> bool {
    let Run {
        definition,
        input,
        stores,
        ..
    } = run;
    fingerprint((definition, input), stores, Some(&found.into())) == run.fingerprint
}

/// Size and etag of the object that the input names as `source`, if it names one.
async fn source_identity(
    objects: &dyn ObjectStores,
    input: &Value,
    stores: &StoreUrls,
) -> Result<Option<SourceIdentity>, SubmitError> {
    let Some(key) = source_key(input) else {
        return Ok(None);
    };
    match objects.open_source(&stores.source)?.head(key).await? {
        Some(meta) => Ok(Some((&meta).into())),
        None => Err(SubmitError::SourceMissing {
            key: key.to_owned(),
            store: stores.source.clone(),
        }),
    }
}

/// A run that was submitted now or before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submitted {
    /// The run.
    pub run: RunId,
    /// Whether it was there already.
    pub existing: bool,
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The input does not fit the workflow's schema.
    #[error("the input does not fit the workflow: {}", join(.0))]
    BadInput(Vec<InputError>),
    /// The source is not there.
    #[error("there is no source {key} in {store}")]
    SourceMissing {
        /// Its key.
        key: String,
        /// The store's address.
        store: String,
    },
    /// The request key came with another request before.
    #[error("the request key was used for another request before; choose a new one")]
    KeyReused,
    /// A store cannot be used.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The engine could not commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<StoreError> for SubmitError {
    fn from(error: StoreError) -> Self {
        Self::Commit(error.into())
    }
}

/// Accepts and changes runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Coordinator {
    /// The database.
    pub store: Arc<dyn Store>,
    /// Definitions by digest.
    pub definitions: Arc<Definitions>,
    /// The writer.
    pub committer: Committer,
    /// Sources and results.
    pub objects: Arc<dyn ObjectStores>,
    /// What proving plans has read.
    pub proven: Arc<Proven>,
    /// Activities that are installed here: what edits of plans are checked against.
    pub registry: Arc<Registry>,
    /// Workflows that are installed here: what edits of plans name as another definition.
    pub workflows: Arc<[Arc<Definition>]>,
    /// From this size of its source on, a job waits in the queue `video:large` unless its request or
    /// its definition names another.
    pub large_source_bytes: u64,
}

impl Coordinator {
    /// Accepts a run, or finds the one that an equal request made: same definition, same input,
    /// same stores, same size and etag of the source.
    ///
    /// # Errors
    /// [`SubmitError`]; nothing was written then.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, SubmitError> {
        self.submit_with_key(submission, None).await
    }

    /// The same under a name that the caller chose: sent again, it finds the run that it made or
    /// found then, whatever has become of the source.
    ///
    /// # Errors
    /// [`SubmitError`], also if the name came with another request before; nothing was written then.
    pub async fn submit_once(
        &self,
        submission: Submission,
        key: RequestKey,
    ) -> Result<Submitted, SubmitError> {
        match self.store.find_key(&key.key).await? {
            Some(taken) if taken.digest == key.digest => Ok(Submitted {
                run: taken.run,
                existing: true,
            }),
            Some(_) => Err(SubmitError::KeyReused),
            None => self.submit_with_key(submission, Some(key)).await,
        }
    }

    async fn submit_with_key(
        &self,
        submission: Submission,
        key: Option<RequestKey>,
    ) -> Result<Submitted, SubmitError> {
        let digest = self.definitions.digest(&submission.definition);
        let identity = identify_as(self.objects.as_ref(), &submission, digest).await?;
        let definition = submission.definition;
        self.definitions.save(&definition).await?;
        let now = Utc::now();
        let run = Run {
            id: RunId::generate(),
            workflow: definition.name.clone(),
            version: definition.version,
            definition: identity.definition,
            status: RunStatus::Queued,
            round: 1,
            revision: 0,
            events: 0,
            input: identity.input,
            fingerprint: identity.fingerprint,
            stores: submission.stores,
            queue: submission
                .queue
                .unwrap_or_else(|| self.queue_for(identity.source_bytes)),
            priority: submission.priority,
            labels: submission.labels,
            output: None,
            error: None,
            created_at: now,
            started_at: None,
            ended_at: None,
        };
        let id = run.id.clone();
        let new = machine::plan_run(run, &definition, now);
        let created = match key {
            Some(key) => self.committer.create_once(new, key).await?,
            None => self.committer.create(new, submission.force).await?,
        };
        match created {
            Created::New => Ok(Submitted {
                run: id,
                existing: false,
            }),
            Created::Existing(run) => Ok(Submitted {
                run,
                existing: true,
            }),
            Created::KeyReused => Err(SubmitError::KeyReused),
        }
    }

    /// Where a job on a source of that size waits.
    fn queue_for(&self, source_bytes: Option<u64>) -> Queue {
        match source_bytes {
            Some(bytes) if bytes >= self.large_source_bytes => Queue::VideoLarge,
            _ => Queue::Default,
        }
    }

    /// Cancels a run. `by` and `reason` are for people and go into its history.
    ///
    /// # Errors
    /// `Rejected` if it has ended already; one that is held can be cancelled.
    pub async fn cancel(
        &self,
        run: &RunId,
        by: &str,
        reason: Option<&str>,
    ) -> Result<(), CommitError> {
        let command = Command::Cancel {
            by: by.to_owned(),
            reason: reason.map(str::to_owned),
        };
        self.committer.fold(run, command).await
    }
}

fn join(errors: &[InputError]) -> String {
    errors
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
