//! Retry plans: made, changed, proved and executed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::Utc;

use super::{Coordinator, SubmitError, history, look};
use crate::activity::Registry;
use crate::committer::{CommitError, Edited, Replan};
use crate::definition::{ActivityRef, Definition};
use crate::id::{PlanId, RunId};
use crate::machine::Command;
use crate::objects::ObjectError;
use crate::retry::adoption::Adoption;
use crate::retry::edits::{Checked, Edit, EditError, Edits, RecordedEdit, check};
use crate::retry::plan::{Computed, Given, PlanState, RetryPlan, Seen, Unmet, compute_checked};
use crate::retry::reuse;
use crate::retry::world::{Installed, Source, Verification, Verified, World};
use crate::run::{RunStatus, Snapshot};
use crate::store::StoreError;

/// How often a plan is made again that the run has overtaken.
const TRIES: u32 = 3;

/// Why a plan was not made, found or executed. Nothing of the run has changed then, but for its plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is no such run.
    #[error("there is no job {0}")]
    NoRun(RunId),
    /// The run has no such plan.
    #[error("{run} has no plan {plan}")]
    NoPlan {
        /// The run.
        run: RunId,
        /// What was asked for.
        plan: PlanId,
    },
    /// The run has succeeded, or has not stopped: there is nothing to retry.
    #[error("{run} is {status}: there is nothing to retry")]
    NotStopped {
        /// The run.
        run: RunId,
        /// What it is.
        status: RunStatus,
    },
    /// Edits that cannot work, all of them.
    #[error("{}", join(.0))]
    Edits(Vec<EditError>),
    /// The plan says something else now than the caller saw.
    #[error("the plan is another one now: look at the new one first")]
    Stale(Box<RetryPlan>),
    /// A later plan took its place: this one.
    #[error("a later plan, {}, took the place of this one: look at it first", .0.id)]
    Superseded(Box<RetryPlan>),
    /// It was executed already.
    #[error("the plan {0} was executed already")]
    Executed(PlanId),
    /// Executing it would not help.
    #[error("{}", obstacles(.0))]
    NotExecutable(Box<RetryPlan>),
    /// A store cannot be used.
    #[error(transparent)]
    Objects(#[from] ObjectError),
    /// The engine could not commit.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<StoreError> for PlanError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoRun(run) => Self::NoRun(run),
            other => Self::Commit(other.into()),
        }
    }
}

fn join(errors: &[EditError]) -> String {
    let errors = errors
        .iter()
        .map(|it| format!("{}: {}", it.pointer, it.message));
    errors.collect::<Vec<_>>().join("; ")
}

fn obstacles(plan: &RetryPlan) -> String {
    match plan.warnings.is_empty() {
        true => "trying again as it is would not help".to_owned(),
        false => plan.warnings.join("; "),
    }
}

/// A plan that is being executed.
#[derive(Debug, Clone, PartialEq)]
pub struct Executed {
    /// The plan.
    pub plan: RetryPlan,
    /// The round that it begins.
    pub round: u32,
}

impl Coordinator {
    /// Makes a plan with edits for a run that stopped, proves it, and makes it the current one; the one
    /// before is superseded. Nothing is executed. The same edits again, with nothing changed, answer the
    /// same plan. `by` is for people and goes into the history of the run.
    ///
    /// # Errors
    /// [`PlanError`]; the former plan stays the current one then.
    pub async fn plan(
        &self,
        run: &RunId,
        (edits, by): (&Edits, &str),
        how: Verification,
    ) -> Result<RetryPlan, PlanError> {
        let mut tries = 1;
        loop {
            match self.try_plan(run, (edits, by), how).await {
                Err(PlanError::Commit(CommitError::Rejected(_))) if tries < TRIES => tries += 1,
                made => return made,
            }
        }
    }

    async fn try_plan(
        &self,
        run: &RunId,
        (edits, by): (&Edits, &str),
        how: Verification,
    ) -> Result<RetryPlan, PlanError> {
        let snapshot = self.stopped(run).await?;
        let world = self.world(&snapshot, how).await?;
        let edits = self.checked(&snapshot, (edits, by), &world).await?;
        let edited = Edited {
            edits,
            by: by.to_owned(),
            revision: snapshot.run.revision,
        };
        let replan = Replan {
            world,
            edits: Some(edited),
        };
        let plan = self.committer.replan(run, replan).await?;
        plan.ok_or_else(|| not_stopped(&snapshot))
    }

    /// Computes the plan of a stopped run anew with what is known of the world now; its edits stay. `None`
    /// if the run has no plan.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn verify_plan(&self, run: &RunId) -> Result<Option<RetryPlan>, SubmitError> {
        match self.verify(run, Verification::Heads).await {
            Ok(plan) => Ok(Some(plan)),
            Err(PlanError::NotStopped { .. }) => Ok(None),
            Err(PlanError::Objects(error)) => Err(error.into()),
            Err(PlanError::Commit(error)) => Err(error.into()),
            Err(other) => {
                let run = run.clone();
                tracing::debug!(%other, "a plan could not be looked at again");
                Err(StoreError::NoRun(run).into())
            }
        }
    }

    /// The same, looking at objects as closely as asked for.
    ///
    /// # Errors
    /// [`PlanError`].
    pub async fn verify(&self, run: &RunId, how: Verification) -> Result<RetryPlan, PlanError> {
        let snapshot = self.stopped(run).await?;
        let world = self.world(&snapshot, how).await?;
        let replan = Replan { world, edits: None };
        let plan = self.committer.replan(run, replan).await?;
        plan.ok_or_else(|| not_stopped(&snapshot))
    }

    /// Proves the plan of a stopped run for whoever will look at it, if its store of results is there: one that
    /// is not mounted yet would look like one that has lost everything.
    pub(crate) async fn prove(&self, run: &RunId) -> Result<(), PlanError> {
        let snapshot = self.stopped(run).await?;
        let made_any = snapshot.steps.iter().any(|it| !it.artifacts.is_empty());
        if made_any {
            self.objects
                .open(&snapshot.run.stores.media)?
                .ready()
                .await?;
        }
        self.verify(run, Verification::Heads).await.map(drop)
    }

    /// A plan of a run, whatever has become of it.
    ///
    /// # Errors
    /// [`PlanError::NoPlan`], also of a plan of another run, or what the store says.
    pub async fn load_plan(&self, run: &RunId, plan: &PlanId) -> Result<RetryPlan, PlanError> {
        let found = self.store.find_plan(plan).await?;
        let found = found.filter(|found| found.job == *run);
        found.ok_or_else(|| PlanError::NoPlan {
            run: run.clone(),
            plan: plan.clone(),
        })
    }

    /// Executes a plan as somebody saw it: the run goes on in its next round. What the plan stands on is
    /// looked at once more before that.
    ///
    /// # Errors
    /// [`PlanError`]: the plan that was seen is not the current one, or cannot be executed.
    pub async fn execute(&self, run: &RunId, seen: &Seen, by: &str) -> Result<Executed, PlanError> {
        let plan = self.load_plan(run, &seen.id).await?;
        self.check_state(&plan).await?;
        if plan.digest != seen.digest {
            return Err(PlanError::Stale(Box::new(plan)));
        }
        let plan = match self.verify(run, Verification::Heads).await {
            // Somebody else was quicker, or the run has gone on otherwise.
            Err(why @ PlanError::NotStopped { .. }) => {
                let now = self.load_plan(run, &seen.id).await?;
                self.check_state(&now).await?;
                return Err(why);
            }
            verified => verified?,
        };
        if plan.digest != seen.digest {
            return Err(PlanError::Stale(Box::new(plan)));
        }
        if !plan.executable {
            return Err(PlanError::NotExecutable(Box::new(plan)));
        }
        let plan = RetryPlan {
            executed_by: Some(by.to_owned()),
            ..plan
        };
        let command = Command::Reopen {
            plan: Box::new(plan.clone()),
        };
        match self.committer.fold(run, command).await {
            Ok(()) => {}
            Err(CommitError::Rejected(why)) => {
                return Err(self.overtaken(&plan, why.into()).await?);
            }
            Err(error) => return Err(error.into()),
        }
        let round = plan.basis.round + 1;
        let plan = RetryPlan {
            state: PlanState::Executed,
            ..plan
        };
        Ok(Executed { plan, round })
    }

    /// Whether a plan can still be executed by its state.
    async fn check_state(&self, plan: &RetryPlan) -> Result<(), PlanError> {
        match plan.state {
            PlanState::Executed => Err(PlanError::Executed(plan.id.clone())),
            PlanState::Superseded => match self.store.load_plan(&plan.job).await? {
                Some(current) if current.id != plan.id => {
                    Err(PlanError::Superseded(Box::new(current)))
                }
                _ => Err(PlanError::Executed(plan.id.clone())),
            },
            PlanState::Proposed => Ok(()),
        }
    }

    /// Why a plan was refused that was right a moment ago: somebody else was quicker.
    async fn overtaken(&self, plan: &RetryPlan, why: CommitError) -> Result<PlanError, PlanError> {
        let now = self.load_plan(&plan.job, &plan.id).await?;
        self.check_state(&now).await?;
        Ok(why.into())
    }

    /// The key of an object that a finished run made and that is gone, or has another size.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn missing_artifact(&self, run: &RunId) -> Result<Option<String>, SubmitError> {
        let snapshot = self.store.snapshot(run).await?;
        Ok(look::missing(self.objects.as_ref(), &snapshot).await?)
    }

    /// A run that has stopped short.
    async fn stopped(&self, run: &RunId) -> Result<Snapshot, PlanError> {
        let header = self.store.load_run(run).await?;
        let header = header.ok_or_else(|| PlanError::NoRun(run.clone()))?;
        if !header.status.is_stopped() || header.status == RunStatus::Succeeded {
            return Err(PlanError::NotStopped {
                run: run.clone(),
                status: header.status,
            });
        }
        Ok(self.store.snapshot(run).await?)
    }

    /// What is to be known of the world for the plan of a run.
    async fn world(&self, snapshot: &Snapshot, how: Verification) -> Result<World, PlanError> {
        let objects = self.objects.as_ref();
        let current = self.store.load_plan(&snapshot.run.id).await?;
        // Only reading them tells whether they still are wrong.
        let suspects = current.map(|plan| plan.corrupt).unwrap_or_default();
        let suspects = suspects.into_iter().collect();
        let verdicts = look::verdicts((objects, &self.proven), (snapshot, &suspects), how).await?;
        // Much of a run can go on without its source, and a step that reads it looks at it itself.
        let source = look::source(objects, &snapshot.run).await;
        let (source, found) = source.unwrap_or_else(|error| {
            tracing::warn!(%error, run.id = %snapshot.run.id, "the source of a plan could not be looked at");
            (Source::Unknown, None)
        });
        let activities = installed(&self.registry, snapshot);
        let beside = look::beside(objects, snapshot, &activities).await;
        let verified = Verified {
            how,
            at: Utc::now(),
            objects: u32::try_from(verdicts.len()).unwrap_or(u32::MAX),
        };
        Ok(World {
            verdicts,
            verified: Some(verified),
            suspects,
            source,
            found,
            beside,
            activities,
            published: self.store.published_by(&snapshot.run.id).await?,
            history: history::history(self.store.as_ref(), snapshot).await?,
        })
    }

    /// The definition of that name or digest, which the store has then.
    async fn named(&self, name: &str) -> Result<Arc<Definition>, PlanError> {
        if name.starts_with("sha256:") {
            return match self.definitions.find(name).await? {
                Some(found) => Ok(found),
                None => Err(unknown_definition(
                    name,
                    "no job that is known has executed one of that digest".to_owned(),
                )),
            };
        }
        let is_meant = |known: &&Arc<Definition>| {
            *known.name == *name || format!("{}@{}", known.name, known.version) == name
        };
        let Some(found) = self.workflows.iter().find(is_meant) else {
            return Err(unknown_definition(name, self.installed_versions()));
        };
        self.definitions.save(found).await?;
        Ok(found.clone())
    }

    /// What could have been named instead.
    fn installed_versions(&self) -> String {
        let known = self.workflows.iter();
        let known: Vec<_> = known
            .map(|it| format!("{}@{}", it.name, it.version))
            .collect();
        match known.is_empty() {
            true => "no workflow is installed here; a definition that a job has executed is named by its digest".to_owned(),
            false => format!(
                "installed are {}; another one that a job has executed is named by its digest",
                known.join(", ")
            ),
        }
    }

    /// The changes that edits come to, each of which the plan can follow.
    async fn checked(
        &self,
        snapshot: &Snapshot,
        (edits, by): (&Edits, &str),
        world: &World,
    ) -> Result<Vec<Edit>, PlanError> {
        let definition = self.definitions.get(&snapshot.run.definition).await?;
        let onto = match &edits.definition {
            Some(name) => Some(self.named(name).await?),
            None => None,
        };
        let adoption = onto
            .as_deref()
            .map(|onto| Adoption::of(snapshot, &definition, onto));
        let adoption = adoption.transpose().map_err(PlanError::Edits)?;
        let against = Checked {
            snapshot: adoption.as_ref().map_or(snapshot, |it| &it.snapshot),
            definition: onto.as_ref().unwrap_or(&definition),
            adoption: adoption.as_ref(),
            registry: &self.registry,
        };
        let changes = check(edits, &against).map_err(PlanError::Edits)?;
        let recorded = changes.iter().map(|edit| RecordedEdit {
            edit: edit.clone(),
            by: by.to_owned(),
            at: snapshot.run.created_at,
        });
        let given = Given {
            snapshot,
            definition: &definition,
            onto: onto.as_deref(),
            world,
            edits: &recorded.collect::<Vec<_>>(),
        };
        let Computed { unmet, .. } = compute_checked(PlanId::generate(), given);
        match unmet.is_empty() {
            true => Ok(changes),
            false => {
                let refused = unmet.into_iter().map(|it| refused(it, edits));
                Err(PlanError::Edits(refused.collect()))
            }
        }
    }
}

fn unknown_definition(name: &str, why: String) -> PlanError {
    PlanError::Edits(vec![EditError {
        pointer: "/definition".to_owned(),
        code: "unknown_definition",
        message: format!("there is no definition {name}: {why}"),
    }])
}

fn refused(unmet: Unmet, edits: &Edits) -> EditError {
    EditError {
        pointer: unmet.edit.place_in(edits),
        code: unmet.code,
        message: unmet.why,
    }
}

fn not_stopped(snapshot: &Snapshot) -> PlanError {
    PlanError::NotStopped {
        run: snapshot.run.id.clone(),
        status: RunStatus::Running,
    }
}

/// The activities of steps that were reached, as they are installed here.
fn installed(registry: &Registry, snapshot: &Snapshot) -> BTreeMap<String, Installed> {
    let reached = snapshot.steps.iter().filter(|it| it.step.input.is_some());
    let names: BTreeSet<&str> = reached.map(|it| it.step.activity.as_str()).collect();
    let installed = names.into_iter().filter_map(|name| {
        let reference = ActivityRef::parse(name)?;
        let activity = registry.get(&reference.name, reference.version)?;
        let info = activity.info();
        let names_sources = reuse::marks_sources(&info.input_schema);
        let installed = Installed {
            fingerprint: activity.tool_fingerprint(),
            mends: info.mends,
            names_sources: names_sources.then(|| info.input_schema.clone()),
        };
        Some((name.to_owned(), installed))
    });
    installed.collect()
}
