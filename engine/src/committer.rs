//! The only writer of run state besides claims and the fenced writes of attempts: folds commands
//! of many runs into one transaction.
//!
//! It drains whatever waits in its channel, with no timer: under load batches grow by themselves,
//! and an idle engine commits at once. A command is folded with everything that follows from it
//! (the next steps made ready, the run finished, the retry plan of a run that stopped) in the same
//! transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::definitions::Definitions;
use crate::dispatch::Dispatcher;
use crate::id::{PlanId, RunId, SessionId};
use crate::machine::{self, Changes, Command, Facts, Rejected, View};
use crate::retry::plan::{self, PlanState, RetryPlan, Verdicts};
use crate::run::RunStatus;
use crate::store::{Created, NewRun, StepSet, Store, StoreError, Transaction};

/// Requests that may wait for the committer. A sender waits when it is full.
const CHANNEL_REQUESTS: usize = 1024;
/// Requests folded into one transaction; bounds how long one transaction takes.
const BATCH_REQUESTS: usize = 256;

/// Why a request changed nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The rules do not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The store failed; the whole batch was rolled back.
    #[error(transparent)]
    Store(Arc<StoreError>),
    /// The committer has stopped: the process is shutting down.
    #[error("the engine is shutting down")]
    Stopped,
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoRun(_) => Self::Rejected(Rejected::Conflict(error.to_string())),
            other => Self::Store(Arc::new(other)),
        }
    }
}

/// Something to be committed.
#[derive(Debug)]
enum Work {
    /// A new run.
    Create { new: Box<NewRun>, force: bool },
    /// A command to a run.
    Fold { run: RunId, command: Box<Command> },
    /// The end of a session, with everything it ran.
    EndSession {
        session: SessionId,
        only_if_dead: bool,
    },
    /// A plan computed anew for a run that stopped.
    Replan { run: RunId, verdicts: Verdicts },
}

#[derive(Debug)]
struct Request {
    work: Work,
    reply: oneshot::Sender<Result<Created, CommitError>>,
}

/// Sends work to the committer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Committer {
    requests: mpsc::Sender<Request>,
}

impl Committer {
    /// Starts the committer's task; it ends when the last handle is dropped.
    #[must_use]
    pub fn start(
        store: Arc<dyn Store>,
        definitions: Arc<Definitions>,
        dispatcher: Arc<dyn Dispatcher>,
    ) -> Self {
        let (requests, inbox) = mpsc::channel(CHANNEL_REQUESTS);
        let folding = Folding {
            store,
            definitions,
            dispatcher,
        };
        tokio::spawn(folding.work(inbox));
        Self { requests }
    }

    /// Creates a run and starts it, unless one of the same fingerprint is there and `force` is
    /// false.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn create(&self, new: NewRun, force: bool) -> Result<Created, CommitError> {
        self.send(Work::Create {
            new: Box::new(new),
            force,
        })
        .await
    }

    /// Folds a command into a run. Durable when it returns.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn fold(&self, run: &RunId, command: Command) -> Result<(), CommitError> {
        let command = Box::new(command);
        self.send(Work::Fold {
            run: run.clone(),
            command,
        })
        .await
        .map(drop)
    }

    /// Ends the session of this process: whatever it ran is lost and can be claimed again.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn end_session(&self, session: &SessionId) -> Result<(), CommitError> {
        let (session, only_if_dead) = (session.clone(), false);
        self.send(Work::EndSession {
            session,
            only_if_dead,
        })
        .await
        .map(drop)
    }

    /// Ends another process's session, unless it turns out to live.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn end_dead_session(&self, session: &SessionId) -> Result<(), CommitError> {
        let (session, only_if_dead) = (session.clone(), true);
        self.send(Work::EndSession {
            session,
            only_if_dead,
        })
        .await
        .map(drop)
    }

    /// Computes the plan of a stopped run anew, with what is known about its objects.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn replan(&self, run: &RunId, verdicts: Verdicts) -> Result<(), CommitError> {
        self.send(Work::Replan {
            run: run.clone(),
            verdicts,
        })
        .await
        .map(drop)
    }

    async fn send(&self, work: Work) -> Result<Created, CommitError> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Request { work, reply })
            .await
            .map_err(|_| CommitError::Stopped)?;
        answer.await.map_err(|_| CommitError::Stopped)?
    }
}

struct Folding {
    store: Arc<dyn Store>,
    definitions: Arc<Definitions>,
    dispatcher: Arc<dyn Dispatcher>,
}

/// One transaction, the views loaded in it, and what has to follow.
struct Batch {
    tx: Box<dyn Transaction>,
    views: BTreeMap<RunId, View>,
    stopped: BTreeSet<RunId>,
    ring: bool,
}

impl Batch {
    fn new(tx: Box<dyn Transaction>) -> Self {
        Self {
            tx,
            views: BTreeMap::new(),
            stopped: BTreeSet::new(),
            ring: false,
        }
    }

    async fn write(&mut self, run: &RunId, changes: &Changes) -> Result<(), StoreError> {
        self.ring |= changes.has_ready_steps() || changes.stopped();
        if changes.stopped() {
            self.stopped.insert(run.clone());
        }
        self.tx.save(run, changes).await
    }

    /// Writes what was folded so far; the views are loaded anew when they are needed again.
    async fn write_views(&mut self) -> Result<(), StoreError> {
        for (run, mut view) in std::mem::take(&mut self.views) {
            self.write(&run, &view.flush()).await?;
        }
        Ok(())
    }

    /// Outputs come from the store, so what was folded but not written yet is written first.
    async fn facts(
        &mut self,
        run: &RunId,
        view: &mut View,
        command: &Command,
    ) -> Result<Facts, StoreError> {
        let names = machine::outputs_needed(view, command);
        let mut outputs = BTreeMap::new();
        if !names.is_empty() {
            self.write(run, &view.flush()).await?;
            outputs = self.tx.load_outputs(run, &names).await?;
        }
        Ok(Facts {
            now: self.tx.now().await?,
            outputs,
        })
    }
}

impl Folding {
    async fn work(self, mut inbox: mpsc::Receiver<Request>) {
        let mut requests = Vec::with_capacity(BATCH_REQUESTS);
        while inbox.recv_many(&mut requests, BATCH_REQUESTS).await > 0 {
            let (works, replies): (Vec<_>, Vec<_>) = requests
                .drain(..)
                .map(|request| (request.work, request.reply))
                .unzip();
            let answers = self.answer(&works).await;
            for (reply, answer) in replies.into_iter().zip(answers) {
                // Whoever asked may be gone; what was committed stays committed.
                let _ = reply.send(answer);
            }
        }
    }

    /// Commits everything at once; if that fails, each work alone, so that a broken one harms
    /// nobody else.
    async fn answer(&self, works: &[Work]) -> Vec<Result<Created, CommitError>> {
        match self.commit(works).await {
            Ok(answers) => answers,
            Err(error) if works.len() == 1 => {
                // Whoever asked reports it.
                tracing::debug!(%error, "a change was rolled back");
                vec![Err(error.into())]
            }
            Err(_) => {
                let mut answers = Vec::with_capacity(works.len());
                for work in works {
                    let alone = self.commit(std::slice::from_ref(work)).await;
                    answers.push(match alone {
                        Ok(mut answer) => answer.remove(0),
                        Err(error) => Err(error.into()),
                    });
                }
                answers
            }
        }
    }

    async fn commit(
        &self,
        works: &[Work],
    ) -> Result<Vec<Result<Created, CommitError>>, StoreError> {
        let mut batch = Batch::new(self.store.begin().await?);
        let mut answers = Vec::with_capacity(works.len());
        for work in works {
            answers.push(match self.apply(&mut batch, work).await {
                Ok(created) => Ok(created),
                Err(CommitError::Store(error)) => return Err(unshare(error)),
                Err(rejected) => Err(rejected),
            });
        }
        batch.write_views().await?;
        for run in std::mem::take(&mut batch.stopped) {
            self.plan(&mut batch, &run, &Verdicts::new()).await?;
        }
        batch.tx.commit().await?;
        if batch.ring {
            self.dispatcher.ring();
        }
        Ok(answers)
    }

    async fn apply(&self, batch: &mut Batch, work: &Work) -> Result<Created, CommitError> {
        match work {
            Work::Create { new, force } => self.create(batch, new, *force).await,
            Work::Fold { run, command } => {
                if let Command::Reopen { plan } = &**command {
                    check_current(batch, run, plan).await?;
                }
                self.fold(batch, run, command).await?;
                if let Command::Reopen { plan } = &**command {
                    let executed = RetryPlan {
                        state: PlanState::Executed,
                        ..(**plan).clone()
                    };
                    batch.tx.save_plan(&executed).await?;
                }
                Ok(Created::New)
            }
            Work::EndSession {
                session,
                only_if_dead,
            } => {
                if !only_if_dead || batch.tx.session_is_dead(session).await? {
                    self.end_session(batch, session).await?;
                }
                Ok(Created::New)
            }
            Work::Replan { run, verdicts } => {
                batch.write_views().await?;
                batch.stopped.remove(run);
                self.plan(batch, run, verdicts).await?;
                Ok(Created::New)
            }
        }
    }

    async fn create(
        &self,
        batch: &mut Batch,
        new: &NewRun,
        force: bool,
    ) -> Result<Created, CommitError> {
        let created = batch.tx.create_run(new, force).await?;
        if created == Created::New {
            self.fold(batch, &new.run.id, &Command::Start).await?;
        }
        Ok(created)
    }

    async fn end_session(&self, batch: &mut Batch, session: &SessionId) -> Result<(), CommitError> {
        for fence in batch.tx.running_of(session).await? {
            let command = Command::Lose {
                step: fence.step,
                fence: fence.fence,
            };
            match self.fold(batch, &fence.run, &command).await {
                // It ended in this very batch.
                Ok(()) | Err(CommitError::Rejected(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // Its steps must be released before the session goes.
        batch.write_views().await?;
        Ok(batch.tx.end_session(session).await?)
    }

    /// Folds a command and everything that follows from it.
    async fn fold(
        &self,
        batch: &mut Batch,
        run: &RunId,
        command: &Command,
    ) -> Result<(), CommitError> {
        let mut view = match batch.views.get(run) {
            Some(view) => view.clone(),
            None => self.load(batch, run).await?,
        };
        self.decide(batch, &mut view, command).await?;
        let mut queue = view.take_follow_ups();
        while !queue.is_empty() {
            for command in std::mem::take(&mut queue) {
                self.decide(batch, &mut view, &command)
                    .await
                    .map_err(unexpected)?;
                queue.extend(view.take_follow_ups());
            }
        }
        batch.views.insert(run.clone(), view);
        Ok(())
    }

    async fn decide(
        &self,
        batch: &mut Batch,
        view: &mut View,
        command: &Command,
    ) -> Result<(), CommitError> {
        let run = view.run.id.clone();
        if matches!(
            machine::steps_needed(command),
            StepSet::Unsettled | StepSet::All
        ) {
            // They come from the store, so what was folded but not written yet is written first.
            batch.write(&run, &view.flush()).await?;
        }
        let steps = batch
            .tx
            .load_steps(&run, &machine::steps_needed(command))
            .await?;
        view.add_steps(steps);
        let facts = batch.facts(&run, view, command).await?;
        Ok(machine::decide(view, command, &facts)?)
    }

    async fn load(&self, batch: &mut Batch, run: &RunId) -> Result<View, CommitError> {
        let rows = batch.tx.load_view(run).await?;
        let definition = self.definitions.get(&rows.run.definition).await?;
        Ok(View::new(rows, definition))
    }

    async fn plan(
        &self,
        batch: &mut Batch,
        run: &RunId,
        verdicts: &Verdicts,
    ) -> Result<(), StoreError> {
        let snapshot = batch.tx.snapshot(run).await?;
        let status = snapshot.run.status;
        if !status.is_stopped() || status == RunStatus::Succeeded {
            return Ok(());
        }
        let definition = self.definitions.get(&snapshot.run.definition).await?;
        let plan = plan::compute(PlanId::generate(), &snapshot, &definition, verdicts);
        let current = batch.tx.load_plan(run).await?;
        // Who has seen a plan and looks again finds it under the id it was seen under.
        let known = current.is_some_and(|current| {
            current.state == PlanState::Proposed && current.digest == plan.digest
        });
        if known {
            return Ok(());
        }
        batch.tx.save_plan(&plan).await
    }
}

/// Only the plan that was shown last can be executed, and once.
async fn check_current(
    batch: &mut Batch,
    run: &RunId,
    plan: &RetryPlan,
) -> Result<(), CommitError> {
    let current = batch.tx.load_plan(run).await?;
    let same = current.is_some_and(|current| {
        current.digest == plan.digest && current.state == PlanState::Proposed
    });
    if same {
        return Ok(());
    }
    let why = "the plan is no longer the current one: look at the new one first".to_owned();
    Err(Rejected::Conflict(why).into())
}

/// What follows from a command is never refused; if it is, the rules contradict each other.
fn unexpected(error: CommitError) -> CommitError {
    match error {
        CommitError::Rejected(why) => {
            StoreError::Corrupt(format!("a transition could not be finished: {why}")).into()
        }
        other => other,
    }
}

fn unshare(error: Arc<StoreError>) -> StoreError {
    Arc::try_unwrap(error).unwrap_or_else(|shared| StoreError::Unavailable(shared.to_string()))
}
