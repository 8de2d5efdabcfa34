//! Background loops, each one file, each started and stopped alike: a task that runs until its
//! handle is dropped.

mod contact;
mod litter;
mod prover;
mod retention;
mod sweeper;
mod timers;
mod unfit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::committer::{CommitError, Committer};
use crate::coordinator::Coordinator;
use crate::dispatch::Dispatcher;
use crate::id::{RunId, SessionId};
use crate::store::{Store, StoreError};
use crate::worker::Contact;

pub use unfit::Unfit;

/// What the loops work on.
#[derive(Debug, Clone)]
pub struct ServiceParts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The writer of run state.
    pub committer: Committer,
    /// The doorbell.
    pub dispatcher: Arc<dyn Dispatcher>,
    /// The session of the worker of this process; of a process without a worker, one that nobody has.
    pub session: SessionId,
    /// Since when this process has been able to reach the database.
    pub contact: Contact,
}

/// Ends the sessions of processes that are gone, once; for whoever wants what they ran at once.
///
/// # Errors
/// What the store says.
pub async fn end_dead_sessions(parts: &ServiceParts) -> Result<(), CommitError> {
    sweeper::sweep(parts).await.map(drop)
}

/// Looks for steps that no worker has fitted for a minute by `now`, and holds those for which no other will
/// come; `unfit` remembers since when. For whoever keeps the time.
///
/// # Errors
/// What the store says.
pub async fn hold_unfit_steps(
    parts: &ServiceParts,
    unfit: &mut Unfit,
    now: Instant,
) -> Result<(), CommitError> {
    unfit::look(parts, unfit, now).await
}

/// Removes what killed attempts have left in generations of runs that ended `grace` ago; answers the keys. For whoever
/// wants that at once.
///
/// # Errors
/// What the database says. An object store that is away is passed over.
pub async fn remove_litter(
    coordinator: &Coordinator,
    grace: Duration,
) -> Result<Vec<String>, StoreError> {
    litter::sweep(coordinator, grace).await
}

/// Forgets runs that ended so long ago and never published anything, and removes what is left of those that did not
/// succeed; answers them. For whoever wants that at once.
///
/// # Errors
/// What the database says. An object store that is away is passed over.
pub async fn forget_runs(
    coordinator: &Coordinator,
    age: Duration,
) -> Result<Vec<RunId>, StoreError> {
    retention::forget(coordinator, age).await
}

/// Running loops; they stop when this is dropped.
#[derive(Debug)]
pub struct Services {
    tasks: JoinSet<()>,
}

impl Services {
    /// Starts those of a process with a worker, which makes contact with its beats.
    #[must_use]
    pub fn start(parts: &ServiceParts) -> Self {
        let mut services = Self::of_every_process(parts);
        services.tasks.spawn(unfit::run(parts.clone()));
        services
    }

    /// Starts those of a process without a worker: it ends the sessions of workers that are gone, and attempts past
    /// their deadline, also when no other process is left to do so.
    #[must_use]
    pub fn without_worker(parts: &ServiceParts) -> Self {
        let mut services = Self::of_every_process(parts);
        services.tasks.spawn(contact::run(parts.clone()));
        services
    }

    fn of_every_process(parts: &ServiceParts) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(sweeper::run(parts.clone()));
        tasks.spawn(timers::run(parts.clone()));
        Self { tasks }
    }

    /// Looks at objects besides: at those of plans, as runs stop short, and for what killed attempts have left.
    pub fn look_at_objects(&mut self, coordinator: &Coordinator) {
        self.tasks.spawn(prover::run(coordinator.clone()));
        self.tasks.spawn(litter::run(coordinator.clone()));
    }

    /// Forgets runs besides, so long after they stopped.
    pub fn forget_runs(&mut self, coordinator: &Coordinator, age: Duration) {
        self.tasks.spawn(retention::run(coordinator.clone(), age));
    }
}
