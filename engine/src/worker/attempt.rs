//! One attempt, from its claim to the report of how it ended.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ::metrics::{counter, gauge, histogram};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::WorkerParts;
use super::board::{Board, Place};
use super::copies::SourceCopies;
use super::held::Held;
use super::outage::{report, wait_out};
use super::port::{FencedPort, Latest};
use super::reuse::{Done, Sharing};
use super::scratch::{Room, Scratch};
use super::slots::Seat;
use super::source::SubmittedSource;
use crate::activity::{
    ActivityError, Checkpoint, Context, ContextParts, DynActivity, ErrorClass, Progress,
    ProgressCell, Usage, compat, hex,
};
use crate::committer::CommitError;
use crate::definition::{Cache, Timeouts};
use crate::limits;
use crate::machine::Command;
use crate::metrics;
use crate::objects::ObjectError;
use crate::retry::policy::DISK_FULL;
use crate::retry::reuse::Beside;
use crate::run::Failure;
use crate::store::{Claim, Fence, Outcome, StoreError};

/// How often time limits are looked at.
const WATCH: Duration = Duration::from_secs(1);
/// How long it may take to look at the objects that a step reads, before its own time begins.
const LOOKS: Duration = Duration::from_secs(60);
/// How long an activity gets to return after it was told to stop, before it is abandoned.
const STOP: Duration = Duration::from_secs(5);

/// What attempts of a worker share: what tells them to stop, where they show how far they are, and the
/// copies of their sources.
#[derive(Debug, Clone)]
pub(super) struct Signals {
    /// At the next checkpoint.
    pub(super) draining: CancellationToken,
    /// At once.
    pub(super) cancelled: CancellationToken,
    /// Progress.
    pub(super) board: Board,
    /// What was claimed.
    pub(super) held: Held,
    /// Sources that are in no file.
    pub(super) copies: Arc<SourceCopies>,
    /// Where they put files.
    pub(super) scratch: Arc<Room>,
}

impl Signals {
    pub(super) fn new(copies: SourceCopies, scratch: Arc<Room>) -> Self {
        Self {
            draining: CancellationToken::new(),
            cancelled: CancellationToken::new(),
            board: Board::default(),
            held: Held::default(),
            copies: Arc::new(copies),
            scratch,
        }
    }
}

/// How an attempt ended, as far as the worker can tell.
enum Ending {
    Succeeded(Done),
    Failed(Failure),
    /// Given back: the worker shuts down.
    Released,
    /// Somebody else owns the step: there is nothing to report.
    Fenced,
}

/// Runs a claimed step and reports how it ended, whatever happens in between; answers what was
/// claimed `next` with that report, or `None` if there was none to claim with. Errors are those of the
/// report.
pub(super) async fn run(
    parts: WorkerParts,
    (claim, seat): (Claim, Seat),
    signals: Signals,
) -> Result<Option<Vec<Claim>>, CommitError> {
    let (committer, fence) = (parts.committer.clone(), claim.fence.clone());
    let measured = Measured::begin(&claim.activity);
    let ended = tokio::spawn(attempt(parts, claim, signals.clone())).await;
    measured.end(ended.as_ref().ok().map(Option::as_ref));
    let command = match ended {
        Ok(Some(command)) => command,
        Ok(None) => {
            signals.held.remove(&fence);
            return Ok(None);
        }
        Err(error) => {
            let error = ActivityError::bug("panic", format!("the attempt panicked: {error}"));
            Command::Fail {
                step: fence.step.clone(),
                fence: fence.fence,
                error: failure(&error),
                usage: Usage::default(),
                warnings: Vec::new(),
            }
        }
    };
    // A worker that stops takes nothing more.
    let stops = signals.draining.is_cancelled() || signals.cancelled.is_cancelled();
    let next = Some(seat.leave()).filter(|_| !stops);
    let (unwanted, held) = (&signals.cancelled, &signals.held);
    let send = |command| {
        let end = (&fence.run, command, next.clone());
        report(&committer, end, (unwanted, held))
    };
    let reported = match send(command).await {
        // Left at that, the step would be running for as long as this process is.
        Err(CommitError::Store(error)) if matches!(*error, StoreError::Corrupt(_)) => {
            send(refused(&fence, &error)).await
        }
        reported => reported,
    };
    held.remove(&fence);
    match reported {
        // The run was cancelled, or the lease ended, while the result was on its way.
        Err(CommitError::Rejected(_)) => Ok(None),
        other => other.map(Some),
    }
}

/// What is reported of an attempt whose report cannot be kept as it is.
fn refused(fence: &Fence, error: &StoreError) -> Command {
    let message = format!("what the attempt reported cannot be kept: {error}");
    Command::Fail {
        step: fence.step.clone(),
        fence: fence.fence,
        error: failure(&ActivityError::bug("report_refused", message)),
        usage: Usage::default(),
        warnings: Vec::new(),
    }
}

/// An attempt, while it is measured.
struct Measured {
    activity: String,
    began: Instant,
}

impl Measured {
    fn begin(activity: &str) -> Self {
        let activity = activity.to_owned();
        gauge!(metrics::ATTEMPTS_RUNNING.name, "activity" => activity.clone()).increment(1.0);
        Self {
            activity,
            began: Instant::now(),
        }
    }

    /// Counts how it ended: with its report, with nothing to report, or in a panic.
    fn end(self, report: Option<Option<&Command>>) {
        let outcome = match report {
            Some(Some(Command::Complete { .. })) => "succeeded",
            Some(Some(Command::Release { .. })) => "released",
            Some(None) => "fenced",
            _ => "failed",
        };
        let activity = self.activity;
        gauge!(metrics::ATTEMPTS_RUNNING.name, "activity" => activity.clone()).decrement(1.0);
        histogram!(metrics::ATTEMPT_SECONDS.name, "activity" => activity.clone())
            .record(self.began.elapsed());
        counter!(metrics::ATTEMPTS.name, "activity" => activity, "outcome" => outcome).increment(1);
    }
}

/// Runs a claimed step; answers the report of how it ended, if there is something to report.
async fn attempt(parts: WorkerParts, claim: Claim, signals: Signals) -> Option<Command> {
    let fence = claim.fence.clone();
    let (ending, outcome) = match Attempt::prepare(&parts, claim, &signals).await {
        Ok(attempt) => attempt.execute(&signals).await,
        Err(_) if signals.cancelled.is_cancelled() => (Ending::Released, Outcome::default()),
        Err(error) => (Ending::Failed(failure(&error)), Outcome::default()),
    };
    let (step, number) = (fence.step, fence.fence);
    let Outcome {
        usage, warnings, ..
    } = outcome.clone();
    Some(match ending {
        Ending::Succeeded(done) => Command::Complete {
            step,
            fence: number,
            outcome: Outcome {
                output: done.output,
                made: done.made.map(Box::new),
                shared: done.shared.map(Box::new),
                ..outcome
            },
        },
        Ending::Failed(error) => Command::Fail {
            step,
            fence: number,
            error,
            usage,
            warnings,
        },
        Ending::Released => Command::Release {
            step,
            fence: number,
            usage,
        },
        Ending::Fenced => return None,
    })
}

struct Attempt {
    parts: WorkerParts,
    claim: Claim,
    activity: Arc<dyn DynActivity>,
    timeouts: Timeouts,
    context: Arc<Context>,
    source: Arc<SubmittedSource>,
    /// What it reads beside the source, as it was at the beginning.
    beside: Beside,
    sharing: Sharing,
    progress: Arc<ProgressCell>,
    place: Place,
    cancelled: CancellationToken,
    scratch: Scratch,
}

impl Attempt {
    async fn prepare(
        parts: &WorkerParts,
        claim: Claim,
        signals: &Signals,
    ) -> Result<Self, ActivityError> {
        let activity = find_activity(parts, &claim)?;
        let cancelled = signals.cancelled.child_token();
        let source = SubmittedSource::new(parts, &claim, (&signals.copies, &cancelled))?;
        let source = Arc::new(source);
        let media = parts.objects.open(&claim.stores.media)?;
        let asked = wait_out(&signals.cancelled, || asked(parts, &claim)).await;
        let (timeouts, cache) = asked.map_err(store_error)?;
        if let Some(limit) = attempt_limit(&timeouts, claim.age) {
            let limit = limit + 2 * (WATCH + STOP) + LOOKS;
            let set = || parts.store.set_deadline(&claim.fence, limit);
            let set = wait_out(&signals.cancelled, set).await;
            set.map_err(store_error)?;
        }
        let info = activity.info();
        let look = source.beside((&info, &claim.input));
        let beside = tokio::select! {
            looked = tokio::time::timeout(LOOKS, look) => looked.map_err(|_| no_answer())??,
            () = cancelled.cancelled() => return Err(ActivityError::cancelled()),
        };
        let scratch = signals.scratch.attempt(&claim.fence).await?;
        let progress = Arc::new(ProgressCell::default());
        let compat = compat(
            &claim.activity,
            &activity.tool_fingerprint(),
            &claim.input,
            &beside,
        );
        let checkpoint = usable(parts, &claim, (&compat, &beside), &signals.cancelled).await?;
        let port = FencedPort {
            store: parts.store.clone(),
            fence: claim.fence.clone(),
            compat: compat.clone(),
            cancelled: cancelled.clone(),
            latest: latest(checkpoint.as_ref()),
        };
        let stores = (parts.store.clone(), media.clone());
        let sharing = Sharing::new(stores, &claim, (cache, checkpoint.is_some()));
        let context = Arc::new(Context::new(ContextParts {
            run: claim.fence.run.to_string(),
            step: claim.fence.step.to_string(),
            attempt: claim.attempt,
            attempt_tag: attempt_tag(&claim),
            scratch: scratch.path().to_owned(),
            source: source.clone(),
            media,
            damaged: damaged(&claim, checkpoint.as_ref()),
            checkpoint,
            cancelled: cancelled.clone(),
            draining: signals.draining.clone(),
            progress: progress.clone(),
            port: Arc::new(port),
        }));
        let place = signals.board.enter(claim.fence.clone(), progress.clone());
        let parts = parts.clone();
        Ok(Self {
            parts,
            place,
            claim,
            activity,
            timeouts,
            context,
            source,
            beside,
            sharing,
            progress,
            cancelled,
            scratch,
        })
    }

    async fn execute(self, signals: &Signals) -> (Ending, Outcome) {
        let (activity, context) = (self.activity.clone(), self.context.clone());
        let (sharing, source) = (self.sharing.clone(), self.source.clone());
        let root = self.parts.scratch.clone();
        let (beside, input) = (self.beside.clone(), self.claim.input.clone());
        // A task of its own: a panic ends the attempt, not the worker.
        let mut task = tokio::spawn(async move {
            let ended = sharing.perform(activity.as_ref(), &context, &source).await;
            let info = activity.info();
            let read = (info.as_ref(), &input, &beside);
            let ended = source.judge_beside(read, ended).await;
            ended.map_err(|error| name_disk(context.scratch_error().unwrap_or(error), &root))
        });
        let ending = tokio::select! {
            ended = &mut task => ending(flatten(ended), signals, &self.cancelled),
            verdict = self.watch() => {
                self.cancelled.cancel();
                match (tokio::time::timeout(STOP, &mut task).await, verdict) {
                    // Nobody else has the step, and it was done after all.
                    (Ok(Ok(Ok(done))), Ending::Failed(_) | Ending::Released) => {
                        Ending::Succeeded(done)
                    }
                    (Ok(_), verdict) => verdict,
                    (Err(_), verdict) => {
                        task.abort();
                        verdict
                    }
                }
            }
        };
        let (artifacts, warnings, usage) = self.context.take_outcome();
        let usage = Usage {
            processors: processors(),
            ..usage
        };
        drop(self.scratch);
        let progress =
            Some(self.progress.get()).filter(|progress| *progress != Progress::default());
        // That of an attempt that succeeds is written with its output.
        if let (Some(progress), false) = (progress, matches!(ending, Ending::Succeeded(_))) {
            let last = [(self.claim.fence.clone(), progress)];
            if let Err(error) = self.parts.store.save_progress(&last).await {
                tracing::warn!(%error, "the last progress of a step was not saved");
            }
        }
        (
            ending,
            Outcome {
                output: serde_json::Value::Null,
                artifacts,
                warnings,
                usage,
                progress,
                ..Outcome::default()
            },
        )
    }

    /// Watches the limits; returns when the attempt must not go on.
    async fn watch(&self) -> Ending {
        let started = Instant::now();
        let limit = attempt_limit(&self.timeouts, self.claim.age);
        loop {
            tokio::select! {
                () = self.cancelled.cancelled() => return self.stopped().await,
                () = self.place.fenced.cancelled() => return Ending::Fenced,
                () = tokio::time::sleep(WATCH) => {}
            }
            if let Some(limit) = limit.filter(|limit| started.elapsed() > *limit) {
                return Ending::Failed(over_time(limit));
            }
            let stall = self
                .timeouts
                .stall
                .filter(|stall| self.progress.idle() > *stall);
            if let Some(stall) = stall {
                return Ending::Failed(stalled(stall));
            }
        }
    }

    /// The attempt was told to stop, by its worker or because it lost its lease.
    async fn stopped(&self) -> Ending {
        if self.is_fenced().await {
            Ending::Fenced
        } else {
            Ending::Released
        }
    }

    async fn is_fenced(&self) -> bool {
        let progress = [(self.claim.fence.clone(), self.progress.get())];
        match self.parts.store.save_progress(&progress).await {
            Ok(lost) => !lost.is_empty(),
            Err(error) => {
                tracing::warn!(%error, "the progress of a step was not saved");
                false
            }
        }
    }
}

/// Processors that this process may use.
fn processors() -> Option<u32> {
    static PROCESSORS: OnceLock<Option<u32>> = OnceLock::new();
    let count = || {
        let count = std::thread::available_parallelism().ok()?;
        u32::try_from(count.get()).ok()
    };
    *PROCESSORS.get_or_init(count)
}

type TaskResult = Result<Done, ActivityError>;

fn flatten(ended: Result<TaskResult, tokio::task::JoinError>) -> TaskResult {
    ended.unwrap_or_else(|error| {
        let message = format!("the activity panicked: {}", panic_message(error));
        Err(ActivityError::bug("panic", message))
    })
}

/// What a task said when it panicked.
fn panic_message(error: JoinError) -> String {
    let payload = match error.try_into_panic() {
        Ok(payload) => payload,
        Err(error) => return error.to_string(),
    };
    let said = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    said.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}

fn ending(result: TaskResult, signals: &Signals, cancelled: &CancellationToken) -> Ending {
    match result {
        Ok(done) => Ending::Succeeded(done),
        Err(error) if error.class != ErrorClass::Cancelled => Ending::Failed(failure(&error)),
        Err(_) if signals.draining.is_cancelled() || signals.cancelled.is_cancelled() => {
            Ending::Released
        }
        Err(_) if cancelled.is_cancelled() => Ending::Fenced,
        Err(error) => Ending::Failed(Failure {
            class: ErrorClass::Bug,
            ..failure(&error)
        }),
    }
}

fn find_activity(
    parts: &WorkerParts,
    claim: &Claim,
) -> Result<Arc<dyn DynActivity>, ActivityError> {
    let unknown = || {
        ActivityError::config(
            "unknown_activity",
            format!("there is no activity {}", claim.activity),
        )
    };
    let (name, version) = claim.activity.split_once('@').ok_or_else(unknown)?;
    let version = version.parse().map_err(|_| unknown())?;
    parts.registry.get(name, version).ok_or_else(unknown)
}

/// What the definition says of how long the step may take, and of sharing its output.
async fn asked(parts: &WorkerParts, claim: &Claim) -> Result<(Timeouts, Cache), StoreError> {
    let definition = parts.definitions.get(&claim.definition).await?;
    let step = definition.steps.get(&claim.fence.step.node);
    let asked = step.map(|step| (step.timeout.clone(), step.cache));
    Ok(asked.unwrap_or_default())
}

/// The time an attempt gets: its own limit, or what is left of the step's total.
fn attempt_limit(timeouts: &Timeouts, age: Duration) -> Option<Duration> {
    let total = timeouts.total.map(|total| total.saturating_sub(age));
    [timeouts.attempt, total].into_iter().flatten().min()
}

/// The checkpoint that the attempt goes on from; one that it cannot use is forgotten, so that nothing
/// says that it resumed. An object that is not there is not another one: it may come back.
async fn usable(
    parts: &WorkerParts,
    claim: &Claim,
    (compat, beside): (&str, &Beside),
    unwanted: &CancellationToken,
) -> Result<Option<Checkpoint>, ActivityError> {
    let gone = || beside.iter().find(|(_, found)| found.is_none());
    match (&claim.checkpoint, gone()) {
        (Some(checkpoint), _) if checkpoint.compat == compat => Ok(Some(checkpoint.clone())),
        (Some(_), Some((name, _))) => Err(ObjectError::NotFound { key: name.clone() }.into()),
        (Some(_), None) => {
            let refuse = || parts.store.refuse_checkpoint(&claim.fence);
            let refused = wait_out(unwanted, refuse).await;
            refused.map_err(store_error).map(|()| None)
        }
        (None, _) => Ok(None),
    }
}

/// What the attempt makes again. One that begins from the start makes everything.
fn damaged(claim: &Claim, checkpoint: Option<&Checkpoint>) -> Vec<String> {
    checkpoint.map_or_else(Vec::new, |_| claim.damaged.clone())
}

fn latest(checkpoint: Option<&Checkpoint>) -> Latest {
    Latest::new(checkpoint.map(|checkpoint| (checkpoint.seq, checkpoint.value.clone())))
}

/// Eight hex digits of a hash over run, step and fence: no two attempts share it.
fn attempt_tag(claim: &Claim) -> String {
    let fence = &claim.fence;
    let name = format!("{}/{}/{}", fence.run, fence.step, fence.fence);
    let mut tag = hex(&Sha256::digest(name.as_bytes()));
    tag.truncate(limits::ATTEMPT_TAG_CHARS);
    tag
}

/// Names the scratch directory in an error about a full disk that names none: stores name their own.
fn name_disk(mut error: ActivityError, scratch: &Path) -> ActivityError {
    // A cause as the system gave it is of a file in scratch; whoever knows of another disk said so.
    let names_one = error.source.as_ref().is_some_and(|cause| {
        let plain = cause.downcast_ref::<std::io::Error>();
        plain.is_none_or(|cause| cause.get_ref().is_some())
    });
    if error.code == DISK_FULL && !names_one {
        let place = scratch.display();
        error.message = format!("{} (scratch is {place})", error.message);
    }
    error
}

fn no_answer() -> ActivityError {
    let seconds = LOOKS.as_secs();
    let why = format!("the store of sources did not say within {seconds} s what the step reads");
    ActivityError::new(ErrorClass::Dependency, "store_timeout", why)
}

fn store_error(error: StoreError) -> ActivityError {
    if matches!(error, StoreError::Full(_)) {
        return ActivityError::resource("disk_full", error.to_string()).with_source(error);
    }
    ActivityError::new(
        ErrorClass::Dependency,
        "database_unavailable",
        error.to_string(),
    )
    .with_source(error)
}

fn failure(error: &ActivityError) -> Failure {
    Failure {
        class: error.class,
        code: error.code.clone().into_owned(),
        message: error.message.chars().take(limits::MESSAGE_CHARS).collect(),
        step: None,
    }
}

fn over_time(limit: Duration) -> Failure {
    Failure {
        class: ErrorClass::Timeout,
        code: "attempt_timeout".to_owned(),
        message: format!("the attempt took longer than {} s", limit.as_secs()),
        step: None,
    }
}

fn stalled(stall: Duration) -> Failure {
    Failure {
        class: ErrorClass::Stalled,
        code: "stalled".to_owned(),
        message: format!("the attempt made no progress for {} s", stall.as_secs()),
        step: None,
    }
}
