//! Retry plans of many jobs: one for each job that fits, what they come to together, and their execution
//! with no more than so many of the jobs running.
//!
//! Nothing of it is kept but the plans themselves. An execution names plans and digests, does what may be
//! done now and says what waits; asked again, it goes on. Whoever asks may go away at any time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use telecine_engine::coordinator::PlanError;
use telecine_engine::id::{PlanId, RunId};
use telecine_engine::retry::edits::Edits;
use telecine_engine::retry::plan::{PlanState, Reason, RetryPlan, Seen, Summary};
use telecine_engine::retry::world::Verification;
use telecine_engine::run::{Run, RunStatus};
use telecine_engine::store::{RunFilter, StoreError};
use utoipa::ToSchema;

use crate::app::App;
use crate::document::{ErrorDocument, json_name};
use crate::error::Code;

/// Jobs of one page, and plans of one execution.
pub(crate) const PAGE: usize = 100;
/// Plans that are made at a time: each looks at all objects of a job, 64 at once.
const AT_ONCE: usize = 4;
/// How long plans are executed one after the other; what is left then waits. A request has 30 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which jobs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// `failed`, or `held`, or `cancelled`. Unless given, those that failed, and with a code also those that
    /// are held with it: a step of a later round waits for a decision where it failed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, pattern = "^(failed|held|cancelled)$")]
    pub(crate) status: Option<RunStatus>,
    /// Only jobs of this workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub(crate) r#type: Option<String>,
    /// Only jobs with this label: `name=value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "=", max_length = 512)]
    pub(crate) label: Option<String>,
    /// Only jobs whose error has this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 64)]
    pub(crate) code: Option<String>,
    /// Only jobs that stopped at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<DateTime<Utc>>,
}

impl Filter {
    /// How the jobs stopped.
    fn statuses(&self) -> Vec<RunStatus> {
        match (self.status, &self.code) {
            (Some(status), _) => vec![status],
            (None, Some(_)) => vec![RunStatus::Failed, RunStatus::Held],
            (None, None) => vec![RunStatus::Failed],
        }
    }

    /// What a store can look for of it.
    fn of_store(&self, status: RunStatus, before: Option<RunId>, limit: usize) -> RunFilter {
        let label = self
            .label
            .as_deref()
            .and_then(|label| label.split_once('='));
        RunFilter {
            status: Some(status),
            workflow: self.r#type.clone(),
            label: label.map(|(name, value)| (name.to_owned(), value.to_owned())),
            before,
            limit,
            ..RunFilter::default()
        }
    }

    /// The rest of it.
    fn fits(&self, run: &Run) -> bool {
        let code = run.error.as_ref().map(|error| error.code.as_str());
        let of_code = self.code.is_none() || code == self.code.as_deref();
        let recent = self
            .since
            .is_none_or(|since| run.ended_at.is_some_and(|at| at >= since));
        of_code && recent
    }
}

/// Plans that are wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Of which jobs.
    pub(crate) filter: Filter,
    /// With these edits; `None` leaves each plan the edits that it has.
    pub(crate) edits: Option<Edits>,
    /// After such a look at their objects.
    pub(crate) how: Verification,
    /// Behind this job.
    pub(crate) before: Option<RunId>,
    /// Jobs to look at, at most [`PAGE`].
    pub(crate) limit: usize,
    /// Who wants them.
    pub(crate) by: String,
}

/// A plan of many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Planned {
    #[schema(value_type = String)]
    pub(crate) job: RunId,
    pub(crate) r#type: String,
    /// Why the job stopped.
    pub(crate) error: Option<ErrorDocument>,
    /// What retrying it would do.
    pub(crate) plan: Option<PlanHeader>,
    /// Why it has no plan.
    pub(crate) refused: Option<Refused>,
}

/// What a list of plans shows of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct PlanHeader {
    #[schema(value_type = String)]
    pub(crate) id: PlanId,
    pub(crate) digest: String,
    pub(crate) executable: bool,
    #[schema(value_type = Object)]
    pub(crate) summary: Summary,
    /// What the reader should know; says what would make the plan executable.
    pub(crate) warnings: Vec<String>,
}

impl From<&RetryPlan> for PlanHeader {
    fn from(plan: &RetryPlan) -> Self {
        Self {
            id: plan.id.clone(),
            digest: plan.digest.clone(),
            executable: plan.executable,
            summary: plan.summary,
            warnings: plan.warnings.clone(),
        }
    }
}

/// Why something was not done for one job of many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Refused {
    /// As the answer for this job alone would have it.
    pub(crate) code: String,
    pub(crate) detail: String,
}

impl From<&PlanError> for Refused {
    fn from(error: &PlanError) -> Self {
        Self {
            code: Code::from(error).as_str().to_owned(),
            detail: error.to_string(),
        }
    }
}

/// What many plans come to together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct RollUp {
    /// Jobs that have a plan.
    pub(crate) jobs: u64,
    /// Of those, whose plan can be executed.
    pub(crate) executable: u64,
    /// Jobs that have none: what went wrong is with each.
    pub(crate) refused: u64,
    /// Steps by action.
    #[schema(value_type = std::collections::HashMap<String, u64>)]
    pub(crate) actions: BTreeMap<String, u64>,
    /// Steps by reason, of those that are not kept.
    #[schema(value_type = std::collections::HashMap<String, u64>)]
    pub(crate) reasons: BTreeMap<String, u64>,
    /// Wall time that reuse saves, in seconds.
    pub(crate) saved_wall_s: f64,
    /// Wall time of the executable plans one after the other, in seconds; half of the time it is less.
    pub(crate) estimate_wall_s: f64,
    /// Executable plans of which nobody can tell how long they take.
    pub(crate) without_estimate: u64,
}

impl RollUp {
    fn of(plan: &Result<RetryPlan, PlanError>) -> Self {
        let mut sum = Self::default();
        match plan {
            Ok(plan) => sum.count(plan),
            Err(_) => sum.refused = 1,
        }
        sum
    }

    fn count(&mut self, plan: &RetryPlan) {
        self.jobs += 1;
        self.executable += u64::from(plan.executable);
        for step in &plan.steps {
            *self.actions.entry(json_name(&step.action)).or_default() += 1;
            if step.reason != Reason::Succeeded {
                *self.reasons.entry(json_name(&step.reason)).or_default() += 1;
            }
        }
        self.saved_wall_s += plan.summary.saved.wall_s;
        match plan.summary.estimate.filter(|_| plan.executable) {
            Some(estimate) => self.estimate_wall_s += estimate.wall_s.p50,
            None => self.without_estimate += u64::from(plan.executable),
        }
    }

    /// Adds those of another page.
    pub(crate) fn add(&mut self, other: &Self) {
        self.jobs += other.jobs;
        self.executable += other.executable;
        self.refused += other.refused;
        for (to, from) in [
            (&mut self.actions, &other.actions),
            (&mut self.reasons, &other.reasons),
        ] {
            for (name, count) in from {
                *to.entry(name.clone()).or_default() += count;
            }
        }
        self.saved_wall_s += other.saved_wall_s;
        self.estimate_wall_s += other.estimate_wall_s;
        self.without_estimate += other.without_estimate;
    }
}

/// Plans of some jobs, newest job first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Page {
    pub(crate) items: Vec<Planned>,
    /// What the plans of this page come to.
    pub(crate) rollup: RollUp,
    /// For the next page; null on the last one.
    pub(crate) next_cursor: Option<String>,
}

/// A plan as somebody saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    #[schema(value_type = String, max_length = 64)]
    pub(crate) job: RunId,
    #[schema(value_type = String, max_length = 64)]
    pub(crate) plan: PlanId,
    /// What it has to be still.
    #[schema(max_length = 128)]
    pub(crate) digest: String,
}

/// Plans to execute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Execution {
    /// In this order.
    #[schema(inline, min_items = 1, max_items = 100)]
    pub(crate) plans: Vec<Wanted>,
    /// How many of these jobs may run at a time; all of them unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub(crate) concurrency: Option<u32>,
}

/// What has become of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// Was executed; its job is at work.
    Running,
    /// Not yet: as many of the jobs run as may.
    Waiting,
    /// Was executed, and its job has stopped again: its status says how.
    Stopped,
    /// Cannot be executed.
    Refused,
}

/// What has become of one plan of many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Progressed {
    #[schema(value_type = String)]
    pub(crate) job: RunId,
    #[schema(value_type = String)]
    pub(crate) plan: PlanId,
    pub(crate) stage: Stage,
    /// Of the job; null if it could not be told.
    #[schema(value_type = Option<String>)]
    pub(crate) status: Option<RunStatus>,
    /// Why it was refused.
    pub(crate) refused: Option<Refused>,
}

/// What has become of many plans.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Executed {
    /// In the order of the request.
    pub(crate) items: Vec<Progressed>,
    /// How many of the jobs are at work.
    pub(crate) running: usize,
    /// How many plans wait for that to be fewer: the same request again goes on with them.
    pub(crate) waiting: usize,
}

/// Makes a plan for each job of a page, without executing any.
///
/// # Errors
/// What the database says; what is wrong with single jobs is with them.
pub(crate) async fn plan(
    app: &App,
    request: &Request,
) -> Result<(Page, Option<RunId>), StoreError> {
    let (listed, next) = list(app, request).await?;
    let runs = listed.into_iter();
    let runs: Vec<Run> = runs.filter(|run| request.filter.fits(run)).collect();
    let plans: Vec<_> = runs.iter().map(|run| make(app, run, request)).collect();
    let plans: Vec<_> = stream::iter(plans).buffered(AT_ONCE).collect().await;
    let mut page = Page::default();
    for (planned, sum) in plans {
        page.items.push(planned);
        page.rollup.add(&sum);
    }
    Ok((page, next))
}

/// Jobs that stopped as they are to have, newest first, and behind which of them the next page begins.
async fn list(app: &App, request: &Request) -> Result<(Vec<Run>, Option<RunId>), StoreError> {
    let (mut runs, mut next) = (Vec::new(), None);
    for status in request.filter.statuses() {
        let (before, limit) = (request.before.clone(), request.limit);
        let filter = request.filter.of_store(status, before, limit);
        let listed = app.store().list_runs(&filter).await?;
        runs.extend(listed.runs);
        // What is older may lie between jobs that the store has not told yet.
        next = next.max(listed.before);
    }
    runs.sort_unstable_by(|a: &Run, b: &Run| (&b.id, b.revision).cmp(&(&a.id, a.revision)));
    // One may have stopped once more between the two looks.
    runs.dedup_by(|a, b| a.id == b.id);
    runs.retain(|run| next.as_ref().is_none_or(|next| run.id >= *next));
    if runs.len() > request.limit {
        runs.truncate(request.limit);
        next = runs.last().map(|run| run.id.clone());
    }
    Ok((runs, next))
}

/// The plan of one of many, of which no more is kept than is told: it may have 100,000 steps.
async fn make(app: &App, run: &Run, request: &Request) -> (Planned, RollUp) {
    let made = match &request.edits {
        None => app.coordinator.verify(&run.id, request.how).await,
        Some(edits) => {
            let wanted = (edits, request.by.as_str());
            app.coordinator.plan(&run.id, wanted, request.how).await
        }
    };
    let planned = Planned {
        job: run.id.clone(),
        r#type: run.workflow.clone(),
        error: run.error.as_ref().map(ErrorDocument::from),
        plan: made.as_ref().ok().map(PlanHeader::from),
        refused: made.as_ref().err().map(Refused::from),
    };
    (planned, RollUp::of(&made))
}

/// Executes plans in their order until as many of their jobs run as may.
pub(crate) async fn execute(app: &App, wanted: &Execution, by: &str) -> Executed {
    let most = wanted.concurrency.map_or(usize::MAX, |most| most as usize);
    let looks: Vec<_> = wanted.plans.iter().map(|plan| look(app, plan)).collect();
    let mut items: Vec<Progressed> = stream::iter(looks).buffered(AT_ONCE).collect().await;
    let count = |items: &[Progressed], stage| items.iter().filter(|it| it.stage == stage).count();
    let free = most.saturating_sub(count(&items, Stage::Running));
    let next = items
        .iter_mut()
        .zip(&wanted.plans)
        .filter(|(item, _)| item.stage == Stage::Waiting);
    // A plan that is refused leaves its place to the next one.
    let (mut begun, began) = (0, Instant::now());
    for (item, plan) in next {
        if begun >= free || began.elapsed() > PATIENCE {
            break;
        }
        *item = begin(app, plan, by).await;
        begun += usize::from(item.stage == Stage::Running);
    }
    Executed {
        running: count(&items, Stage::Running),
        waiting: count(&items, Stage::Waiting),
        items,
    }
}

/// What has become of a plan so far.
async fn look(app: &App, wanted: &Wanted) -> Progressed {
    let found = async {
        let Wanted { job, plan, .. } = wanted;
        let plan = app.coordinator.load_plan(job, plan).await?;
        let run = app.store().load_run(job).await?;
        Ok::<_, PlanError>((plan, run))
    };
    let (plan, run) = match found.await {
        Ok(found) => found,
        Err(error) => return refused(wanted, &error),
    };
    let status = run.as_ref().map(|run| run.status);
    // A later round is another plan's: what this one began has stopped before.
    let at_work =
        run.is_some_and(|run| !run.status.is_stopped() && run.round == plan.basis.round + 1);
    let stage = match plan.state {
        PlanState::Executed if at_work => Stage::Running,
        PlanState::Executed => Stage::Stopped,
        // What is wrong with one that was superseded is said when it is tried.
        PlanState::Proposed | PlanState::Superseded => Stage::Waiting,
    };
    progressed(wanted, stage, status)
}

async fn begin(app: &App, wanted: &Wanted, by: &str) -> Progressed {
    let seen = Seen {
        id: wanted.plan.clone(),
        digest: wanted.digest.clone(),
    };
    match app.coordinator.execute(&wanted.job, &seen, by).await {
        Ok(_) => progressed(wanted, Stage::Running, Some(RunStatus::Running)),
        Err(error) => refused(wanted, &error),
    }
}

fn progressed(wanted: &Wanted, stage: Stage, status: Option<RunStatus>) -> Progressed {
    Progressed {
        job: wanted.job.clone(),
        plan: wanted.plan.clone(),
        stage,
        status,
        refused: None,
    }
}

fn refused(wanted: &Wanted, error: &PlanError) -> Progressed {
    Progressed {
        refused: Some(error.into()),
        ..progressed(wanted, Stage::Refused, None)
    }
}
