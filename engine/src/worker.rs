//! Claims steps and runs their activities.
//!
//! A [`Worker`] is one session: it holds a lease, claims ready steps into its free slots, runs
//! each as an attempt, and reports how it ended. It listens for the doorbell before it looks into
//! the store, and looks anyway now and then, because a bell can be lost.

mod attempt;
mod board;
mod contact;
mod copies;
mod held;
mod neighbours;
mod outage;
mod port;
mod reuse;
mod scratch;
mod session;
mod slots;
mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::gauge;
use futures_util::future::select_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::activity::{Registry, Usage};
use crate::committer::{Awaited, CommitError, Committer};
use crate::definitions::Definitions;
use crate::dispatch::Dispatcher;
use crate::id::{RunId, SessionId};
use crate::machine::Command;
use crate::metrics;
use crate::objects::ObjectStores;
use crate::queue::{Capability, Free, Machine, Turns};
use crate::store::{Claim, ClaimRequest, Store, StoreError};

pub use contact::Contact;
use copies::{IDLE_BYTES, SourceCopies};
pub use held::Held;
pub use neighbours::Neighbours;
pub use outage::report;
pub use scratch::ATTEMPTS;
pub(crate) use session::BEAT;
pub use session::{LEASE, MISSED, Session};
use slots::Slots;

/// How often the progress of running attempts is saved, and with it found out which of them have lost
/// their step; bounds how long the attempts of a cancelled run go on. Each time is a transaction that
/// is synced, 5 KiB of writes for whoever watches the job; whether an attempt stalls is judged in the
/// worker and waits for none.
const SAVE: Duration = Duration::from_secs(2);

/// How soon a worker looks for steps again when the database was away.
const AGAIN: Duration = Duration::from_millis(500);

/// What a worker is made of.
#[derive(Debug, Clone)]
pub struct WorkerParts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The writer of run state.
    pub committer: Committer,
    /// Definitions by digest.
    pub definitions: Arc<Definitions>,
    /// The doorbell.
    pub dispatcher: Arc<dyn Dispatcher>,
    /// Installed activities.
    pub registry: Arc<Registry>,
    /// Sources and results.
    pub objects: Arc<dyn ObjectStores>,
    /// Directory for the scratch directories of attempts.
    pub scratch: PathBuf,
}

impl WorkerParts {
    /// The workers that share its scratch directory.
    fn neighbours(&self) -> Neighbours {
        Neighbours::of(&self.scratch, self.committer.clone())
    }
}

/// How a worker behaves.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// What it may use of its machine: slots, and what attempts take besides.
    pub machine: Machine,
    /// Only steps of this run.
    pub run: Option<RunId>,
    /// How long running attempts get to reach a checkpoint, or their end, when the worker stops.
    pub grace: Duration,
}

/// Why a worker stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The database can no longer be written: nothing that the worker does would be kept.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// Another process found this session dead (a pause longer than the lease). Its steps run
    /// elsewhere.
    #[error("this worker's lease ended; its steps were given to others")]
    LeaseLost,
}

impl From<StoreError> for WorkerError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// A session that runs steps.
#[derive(Debug)]
pub struct Worker {
    parts: WorkerParts,
    options: WorkerOptions,
    session: Session,
    slots: Slots,
    scratch: Arc<scratch::Room>,
}

impl Worker {
    /// Opens a session.
    ///
    /// # Errors
    /// What the store says.
    pub async fn open(parts: WorkerParts, options: WorkerOptions) -> Result<Self, WorkerError> {
        let session = Session::open(parts.store.clone(), &parts.committer).await?;
        let slots = options.machine.room().attempts();
        gauge!(metrics::WORKER_SLOTS.name).set(slots as f64);
        // What a process left that was here before is ready when this one begins.
        parts.neighbours().bury().await;
        let scratch = scratch::Room::open(&parts.scratch, session.id()).await;
        let activities = parts
            .registry
            .iter()
            .map(|activity| activity.info())
            .map(|info| format!("{}@{}", info.name, info.version))
            .collect::<Vec<_>>();
        let offer = Capability {
            activities: activities.clone(),
            machine: options.machine,
            run: options.run.clone(),
        };
        parts.store.offer(session.id(), &offer).await?;
        let slots = Slots::new(ClaimRequest {
            session: session.id().clone(),
            run: options.run.clone(),
            machine: options.machine,
            free: Free::default(),
            activities,
        });
        Ok(Self {
            parts,
            options,
            session,
            slots,
            scratch,
        })
    }

    /// Id of the session.
    #[must_use]
    pub fn session(&self) -> &SessionId {
        self.session.id()
    }

    /// Since when its process has been able to reach the database.
    #[must_use]
    pub fn contact(&self) -> &Contact {
        self.session.contact()
    }

    /// Runs steps until `stop` is cancelled, then lets running attempts reach a checkpoint or their end
    /// within the grace period, gives back what is left, and ends the session. Each is given back as
    /// soon as it returns, whatever the others do.
    ///
    /// # Errors
    /// [`WorkerError`] if it cannot go on; running attempts have then been stopped.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WorkerError> {
        let copies = SourceCopies::new(self.scratch.sources(), IDLE_BYTES);
        let signals = attempt::Signals::new(copies, self.scratch.clone());
        let mut attempts: Attempts = JoinSet::new();
        let mut saving = JoinSet::new();
        saving.spawn(save(signals.board.clone(), self.parts.store.clone()));
        saving.spawn(signals.held.clone().watch(
            self.parts.store.clone(),
            self.parts.committer.clone(),
            self.session.id().clone(),
        ));
        saving.spawn(self.parts.neighbours().watch());
        let result = self.work(&mut attempts, &signals, &stop).await;
        if result.is_ok() {
            self.drain(&mut attempts).await;
        }
        signals.cancelled.cancel();
        while let Some(ended) = attempts.join_next().await {
            let claims = settle(ended).ok().flatten();
            self.give_back(claims.unwrap_or_default()).await;
        }
        let ended = match result.is_ok() {
            true => {
                // The tools of a worker that was killed may have been writing for another moment when
                // this one began.
                self.parts.neighbours().bury().await;
                let ended = self.parts.committer.end_session(self.session.id()).await;
                ended.map(drop)
            }
            false => Ok(()),
        };
        // Trees of many gigabytes are removed in seconds, and nobody can turn meanwhile.
        let left = (signals, self.scratch);
        let _ = tokio::task::spawn_blocking(move || drop(left)).await;
        result.and(ended.map_err(fatal))
    }

    async fn work(
        &self,
        attempts: &mut Attempts,
        signals: &attempt::Signals,
        stop: &CancellationToken,
    ) -> Result<(), WorkerError> {
        let mut bell = self.parts.dispatcher.listen();
        let mut waiting: Vec<Awaited> = Vec::new();
        let (mut look, mut away) = (true, false);
        let stopped = loop {
            // One for each transaction that may claim something at the same time.
            while waiting.len() < self.parts.store.transactions_at_once() {
                waiting.push(self.wait().await?);
            }
            if std::mem::take(&mut look) {
                away = tokio::select! {
                    () = stop.cancelled() => break Ok(()),
                    () = self.session.lost() => break Err(WorkerError::LeaseLost),
                    away = self.look() => away?,
                };
            }
            let has_room = !self.slots.are_taken();
            let claims = tokio::select! {
                () = stop.cancelled() => break Ok(()),
                () = self.session.lost() => break Err(WorkerError::LeaseLost),
                Some(ended) = attempts.join_next() => {
                    let claims = settle(ended)?;
                    // Nobody has looked what fits into what it left.
                    look = claims.is_none();
                    claims.unwrap_or_default()
                }
                claimed = claims(&mut waiting) => {
                    signals.held.note(&claimed);
                    if claimed.as_ref().is_err_and(outage::Passing::passes) {
                        away = true;
                        continue;
                    }
                    claimed.map_err(fatal)?
                }
                // A full worker does not listen: whoever rings for one rings for another then.
                () = bell.rung(), if has_room && !away => { look = true; continue }
                () = tokio::time::sleep(self.patience(away)) => { look = true; continue }
            };
            self.start(claims, attempts, signals);
        };
        if stopped.is_ok() {
            // First of all: others wait for what runs here.
            signals.draining.cancel();
            self.give_up(waiting).await;
        }
        stopped
    }

    fn start(&self, claims: Vec<Claim>, attempts: &mut Attempts, signals: &attempt::Signals) {
        for claim in claims {
            let seat = self.slots.seat(&claim);
            if !signals.held.holds(&claim.fence) {
                continue;
            }
            let run = attempt::run(self.parts.clone(), (claim, seat), signals.clone());
            attempts.spawn(run);
        }
    }

    /// Waits for steps that fit into what is free.
    async fn wait(&self) -> Result<Awaited, WorkerError> {
        let awaited = self.parts.committer.wait(self.slots.request()).await;
        awaited.map_err(fatal)
    }

    /// How long to wait before looking again by itself.
    fn patience(&self, away: bool) -> Duration {
        match away {
            true => AGAIN,
            false => self.parts.dispatcher.patience(),
        }
    }

    /// Claims what is ready already. Most looks end without a transaction. Answers whether the
    /// database is away.
    async fn look(&self) -> Result<bool, WorkerError> {
        match self.prospects(&self.slots.request()).await {
            Ok(Prospects {
                some_fit,
                some_do_not,
            }) => {
                if some_fit {
                    self.parts.committer.look().await;
                }
                if some_do_not {
                    self.parts.dispatcher.pass_on();
                }
            }
            Err(error) if error.passes() => {
                tracing::warn!(%error, "nothing can be claimed for now");
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(false)
    }

    /// Waits no more. What was claimed in the last moment is given back: nobody else would run it.
    async fn give_up(&self, waiting: Vec<Awaited>) {
        self.parts.committer.withdraw(self.session.id()).await;
        for mut awaited in waiting {
            if let Ok(claims) = awaited.claims().await {
                self.give_back(claims).await;
            }
        }
    }

    /// What the request could get.
    async fn prospects(&self, request: &ClaimRequest) -> Result<Prospects, StoreError> {
        let free = request.free.now();
        if free.attempts() == 0 {
            return Ok(Prospects {
                some_fit: false,
                some_do_not: true,
            });
        }
        // The first of each kind is enough to know.
        let limit = request.run.as_ref().map_or(1, |_| request.looks_at(free));
        let waiting = self.parts.store.waiting(request.run.as_ref(), limit);
        let waiting = waiting.await?;
        let all = waiting.len();
        let fitting = request.choose(free, waiting, &mut Turns::default());
        Ok(Prospects {
            some_fit: !fitting.is_empty(),
            some_do_not: fitting.len() < all,
        })
    }

    async fn drain(&self, attempts: &mut Attempts) {
        let all = async {
            while let Some(ended) = attempts.join_next().await {
                let claims = settle(ended).ok().flatten();
                self.give_back(claims.unwrap_or_default()).await;
            }
        };
        if tokio::time::timeout(self.options.grace, all).await.is_err() {
            tracing::warn!("the grace period is over; the steps still running are given back");
        }
    }

    /// Gives back what was claimed just before the worker was told to stop.
    async fn give_back(&self, claims: Vec<Claim>) {
        for claim in claims {
            let release = Command::Release {
                step: claim.fence.step,
                fence: claim.fence.fence,
                usage: Usage::default(),
            };
            if let Err(error) = self.parts.committer.fold(&claim.fence.run, release).await {
                tracing::warn!(%error, "a step was not given back; it is when the session ends");
            }
        }
    }
}

/// What waits, as a worker sees it.
#[derive(Debug)]
struct Prospects {
    /// Some of it fits.
    some_fit: bool,
    /// Some of it may not, and fit others.
    some_do_not: bool,
}

/// Saves what attempts show, for as long as it is not dropped.
async fn save(board: board::Board, store: Arc<dyn Store>) {
    loop {
        tokio::time::sleep(SAVE).await;
        board.save(store.as_ref()).await;
    }
}

/// The first that is answered of what is waited for, which then is not any more.
async fn claims(waiting: &mut Vec<Awaited>) -> Result<Vec<Claim>, CommitError> {
    let answers = waiting.iter_mut().map(|awaited| Box::pin(awaited.claims()));
    let (claims, answered, _) = select_all(answers).await;
    waiting.swap_remove(answered);
    claims
}

/// What was claimed when an attempt ended (`None` if there was nothing to claim with), or why its end
/// could not be recorded.
type Report = Result<Option<Vec<Claim>>, CommitError>;
type Attempts = JoinSet<Report>;
type Ended = Result<Report, tokio::task::JoinError>;

/// What the end of an attempt means for its worker: the next step, if one was claimed. Only a store
/// that cannot be written is fatal.
fn settle(ended: Ended) -> Result<Option<Vec<Claim>>, WorkerError> {
    match ended {
        Ok(Ok(claims)) => Ok(claims),
        Ok(Err(CommitError::Rejected(_))) => Ok(None),
        Ok(Err(CommitError::Store(error))) if matches!(*error, StoreError::Corrupt(_)) => {
            tracing::error!(%error, "the end of an attempt could not be recorded");
            Ok(None)
        }
        Ok(Err(error)) => Err(fatal(error)),
        Err(error) => {
            tracing::error!(%error, "the task of an attempt ended unexpectedly");
            Ok(None)
        }
    }
}

fn fatal(error: CommitError) -> WorkerError {
    match error {
        CommitError::Store(error) => WorkerError::Store(error),
        other => StoreError::Unavailable(other.to_string()).into(),
    }
}
