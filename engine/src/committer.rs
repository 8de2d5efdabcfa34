//! The only writer of run state besides the fenced writes of attempts: folds commands of many runs
//! into one transaction.
//!
//! It drains whatever waits in its channel, with no timer: under load batches grow by themselves,
//! and an idle engine commits at once. A command is folded with everything that follows from it
//! (the next steps made ready and claimed, the run finished, the retry plan of a run that stopped)
//! in the same transaction.
//!
//! What it is about is locked: sessions, then fingerprints, then runs, each in their order and at once, so that
//! transactions of many processes wait for each other and never in a circle. Mostly nothing is asked before it is
//! [written](assumed).

mod assumed;
mod batch;
mod claims;
mod kept;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ::metrics::{counter, gauge, histogram};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast, mpsc, oneshot, watch};

use self::assumed::Known;
use self::batch::Batch;
use self::claims::Wish;
use self::kept::Kept;
use crate::clock;
use crate::definitions::Definitions;
use crate::dispatch::{Dispatcher, Hint};
use crate::id::{RunId, SessionId};
use crate::machine::{Command, Rejected};
use crate::metrics;
use crate::pulse::Pulse;
use crate::queue::Turns;
use crate::retry::edits::Edit;
use crate::retry::plan::RetryPlan;
use crate::retry::world::World;
use crate::run::RunStatus;
use crate::store::{Claim, ClaimRequest, Created, NewRun, RequestKey, Store, StoreError};

/// Requests that may wait for the committer. A sender waits when it is full.
const CHANNEL_REQUESTS: usize = 1024;
/// Requests folded into one transaction; bounds how long one transaction takes.
const BATCH_REQUESTS: usize = 256;
/// Requests that are divided among two transactions if there are more and none is under way: the second is folded
/// while the first is written, and so on.
const UNDIVIDED: usize = 16;
/// How long requests wait for others that would share their transaction, while one is under way. Most of those take a few
/// hundredths of this.
const HELD_BACK: Duration = Duration::from_secs(1);
/// Runs that stopped which a listener may fall behind.
const STOPPED_RUNS: usize = 4096;
/// How long a transaction may take. The longest, a fan-out of 100,000 steps, takes seconds; a network
/// that swallows packets would let one wait for a quarter of an hour.
const TRANSACTION: Duration = Duration::from_secs(60);
/// Times that a transaction is tried while others come in between.
const CONTENDED_TRIES: u32 = 20;

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

/// Something to be committed together with what others want.
#[derive(Debug)]
enum Work {
    /// A new run.
    Create {
        new: Box<NewRun>,
        force: bool,
        key: Option<RequestKey>,
    },
    /// A command to a run, and what whoever sends it wants to claim next.
    Fold {
        run: RunId,
        command: Box<Command>,
        next: Option<ClaimRequest>,
    },
    /// Steps for a worker.
    Claim(ClaimRequest),
}

impl Work {
    /// A command without the claim that came with it, if one did.
    fn without_claim(&self) -> Option<Self> {
        match self {
            Self::Fold {
                run,
                command,
                next: Some(_),
            } => Some(Self::Fold {
                run: run.clone(),
                command: command.clone(),
                next: None,
            }),
            _ => None,
        }
    }
}

/// Something that gets a transaction of its own.
#[derive(Debug)]
enum Chore {
    /// The end of a session, with everything it ran.
    EndSession {
        session: SessionId,
        only_if_dead: bool,
    },
    /// A plan computed anew for a run that stopped.
    Replan { run: RunId, with: Box<Replan> },
}

/// What the plan of a run that stopped is computed anew with.
#[derive(Debug, Default)]
pub(crate) struct Replan {
    /// What is known of the world.
    pub(crate) world: World,
    /// What somebody wants to be otherwise; the edits of the current plan if nobody says.
    pub(crate) edits: Option<Edited>,
}

/// Edits that were checked.
#[derive(Debug, Clone)]
pub(crate) struct Edited {
    /// The edits; none, if those of an earlier plan are withdrawn.
    pub(crate) edits: Vec<Edit>,
    /// Whose they are.
    pub(crate) by: String,
    /// Revision of the run that they were checked against.
    pub(crate) revision: u64,
}

/// What became of it.
#[derive(Debug, Clone)]
enum Answer {
    Done,
    Created(Created),
    Claimed(Vec<Claim>),
    Planned(Option<Box<RetryPlan>>),
    /// Whether the session was there.
    Ended(bool),
}

type Answered = Result<Answer, CommitError>;

#[derive(Debug)]
enum Request {
    Batched(Work, oneshot::Sender<Answered>),
    Alone(Chore, oneshot::Sender<Answered>),
    /// A claim that waits until there is something to claim.
    Wait(Waiter),
    /// The claim that a session waits for is wanted no more.
    Withdraw(SessionId),
    /// Steps may have become ready elsewhere: those who wait look again.
    Look,
}

/// A worker that waits for steps. It is part of every transaction of this process, so that what
/// becomes ready in one is claimed in the same.
#[derive(Debug)]
struct Waiter {
    request: ClaimRequest,
    reply: oneshot::Sender<Answered>,
}

/// Sends work to the committer. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Committer {
    requests: mpsc::Sender<Request>,
    stopped: broadcast::Sender<RunId>,
    short: broadcast::Sender<RunId>,
    timers: watch::Receiver<u64>,
    pulse: Pulse,
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
        let stopped = broadcast::Sender::new(STOPPED_RUNS);
        let short = broadcast::Sender::new(STOPPED_RUNS);
        let (set, timers) = watch::channel(0);
        let patience = dispatcher.patience();
        let writer = Writer {
            store,
            definitions,
            dispatcher,
            stopped: stopped.clone(),
            short: short.clone(),
            turns: Mutex::default(),
            kept: Arc::default(),
            known: Arc::new(Known::new(patience)),
            timers: set,
            pulse: Pulse::default(),
        };
        let pulse = writer.pulse.clone();
        tokio::spawn({
            let pulse = pulse.clone();
            async move { pulse.of(writer.work(inbox)).await }
        });
        Self {
            requests,
            stopped,
            short,
            timers,
            pulse,
        }
    }

    /// Whether the task that writes gets on.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// Tells of every run that this process's committer stops from now on, after the commit. One who
    /// listens too slowly is told that it missed some; runs that other processes stop are not told.
    #[must_use]
    pub fn stopped(&self) -> broadcast::Receiver<RunId> {
        self.stopped.subscribe()
    }

    /// The same of runs that stopped without having succeeded: those have a plan.
    #[must_use]
    pub fn stopped_short(&self) -> broadcast::Receiver<RunId> {
        self.short.subscribe()
    }

    /// Changes whenever this process has set a timer, after the commit.
    #[must_use]
    pub fn timers_set(&self) -> watch::Receiver<u64> {
        self.timers.clone()
    }

    /// Creates a run and starts it, unless one of the same fingerprint is there and `force` is
    /// false.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn create(&self, new: NewRun, force: bool) -> Result<Created, CommitError> {
        self.create_with_key(new, force, None).await
    }

    /// The same with a name that the caller chose for the request: whatever is sent under it again
    /// finds what became of the first.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn create_once(&self, new: NewRun, key: RequestKey) -> Result<Created, CommitError> {
        self.create_with_key(new, false, Some(key)).await
    }

    async fn create_with_key(
        &self,
        new: NewRun,
        force: bool,
        key: Option<RequestKey>,
    ) -> Result<Created, CommitError> {
        let new = Box::new(new);
        match self.batched(Work::Create { new, force, key }).await? {
            Answer::Created(created) => Ok(created),
            _ => Err(CommitError::Stopped),
        }
    }

    /// Folds a command into a run. Durable when it returns.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn fold(&self, run: &RunId, command: Command) -> Result<(), CommitError> {
        self.fold_and_claim(run, command, None).await.map(drop)
    }

    /// Folds a command into a run and, if it is accepted, claims in the same transaction: an attempt
    /// that ends gives its slot to the step that follows it without another commit.
    ///
    /// # Errors
    /// [`CommitError`]; nothing was claimed then.
    pub async fn fold_and_claim(
        &self,
        run: &RunId,
        command: Command,
        next: Option<ClaimRequest>,
    ) -> Result<Vec<Claim>, CommitError> {
        let work = Work::Fold {
            run: run.clone(),
            command: Box::new(command),
            next,
        };
        Ok(claimed(self.batched(work).await?))
    }

    /// Claims ready steps for a live session, in the order of [`queue`](crate::queue): each becomes `running` as a new
    /// attempt under a new fence, and a queued run becomes `running`. A step is claimed once,
    /// whoever asks. Fewer than there are if another process claims at the same time.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claim>, CommitError> {
        Ok(claimed(self.batched(Work::Claim(request)).await?))
    }

    /// Waits for steps to claim. What becomes ready by a transaction of this process is claimed in
    /// that same transaction; for what is ready already, or by other processes,
    /// [`Committer::look`] has to be called. Each transaction answers one wait of a session: one more for each
    /// of [`Store::transactions_at_once`] lets none be without.
    ///
    /// # Errors
    /// [`CommitError::Stopped`].
    pub async fn wait(&self, request: ClaimRequest) -> Result<Awaited, CommitError> {
        let (reply, answer) = oneshot::channel();
        let waiter = Request::Wait(Waiter { request, reply });
        let sent = self.requests.send(waiter).await;
        sent.map_err(|_| CommitError::Stopped)?;
        Ok(Awaited(answer))
    }

    /// Ends the wait of a session, which then answers no steps if it has not answered yet.
    pub async fn withdraw(&self, session: &SessionId) {
        // A committer that has stopped lets nobody wait.
        let _ = self.requests.send(Request::Withdraw(session.clone())).await;
    }

    /// Lets those who wait for steps look into the store.
    pub async fn look(&self) {
        let _ = self.requests.send(Request::Look).await;
    }

    /// Ends a session, of this process or of one that is known to be gone: whatever it ran is lost and can be
    /// claimed again. Answers whether it was there.
    ///
    /// # Errors
    /// [`CommitError`]; [`StoreError::Corrupt`] if it ran something of a run that cannot be read, with which it stays.
    pub async fn end_session(&self, session: &SessionId) -> Result<bool, CommitError> {
        self.end(session, false).await
    }

    /// Ends another process's session, unless it turns out to live. Answers whether it has ended it.
    ///
    /// # Errors
    /// As [`Committer::end_session`].
    pub async fn end_dead_session(&self, session: &SessionId) -> Result<bool, CommitError> {
        self.end(session, true).await
    }

    async fn end(&self, session: &SessionId, only_if_dead: bool) -> Result<bool, CommitError> {
        let session = session.clone();
        let chore = Chore::EndSession {
            session,
            only_if_dead,
        };
        let answered = self.send(|reply| Request::Alone(chore, reply)).await?;
        Ok(matches!(answered, Answer::Ended(true)))
    }

    /// Computes the plan of a stopped run anew, and answers it; `None` of a run that has none.
    ///
    /// # Errors
    /// [`CommitError`]; `Rejected` if the run has changed since its edits were checked.
    pub(crate) async fn replan(
        &self,
        run: &RunId,
        with: Replan,
    ) -> Result<Option<RetryPlan>, CommitError> {
        let (run, with) = (run.clone(), Box::new(with));
        let chore = Chore::Replan { run, with };
        match self.send(|reply| Request::Alone(chore, reply)).await? {
            Answer::Planned(plan) => Ok(plan.map(|plan| *plan)),
            _ => Err(CommitError::Stopped),
        }
    }

    async fn batched(&self, work: Work) -> Answered {
        self.send(|reply| Request::Batched(work, reply)).await
    }

    async fn send(&self, request: impl FnOnce(oneshot::Sender<Answered>) -> Request) -> Answered {
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(request(reply)).await;
        sent.map_err(|_| CommitError::Stopped)?;
        answer.await.map_err(|_| CommitError::Stopped)?
    }
}

/// Steps that are waited for. Who gives it up without [`Committer::withdraw`] may have steps claimed
/// that nobody runs.
#[derive(Debug)]
pub struct Awaited(oneshot::Receiver<Answered>);

impl Awaited {
    /// At least one step, or none after [`Committer::withdraw`]. May be given up and called again
    /// until it has answered.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn claims(&mut self) -> Result<Vec<Claim>, CommitError> {
        let answer = (&mut self.0).await.map_err(|_| CommitError::Stopped)?;
        Ok(claimed(answer?))
    }
}

fn claimed(answer: Answer) -> Vec<Claim> {
    match answer {
        Answer::Claimed(claims) => claims,
        Answer::Done | Answer::Created(_) | Answer::Planned(_) | Answer::Ended(_) => Vec::new(),
    }
}

/// Counts a transaction and what it came to.
fn measure(job: Job<'_>, took: Duration, done: &Result<Vec<Answered>, StoreError>) {
    let result = match done {
        Ok(_) => "ok",
        Err(StoreError::Contended(_)) => "again",
        Err(_) => "failed",
    };
    counter!(metrics::COMMITS.name, "result" => result).increment(1);
    histogram!(metrics::COMMIT_SECONDS.name).record(took);
    let Ok(answers) = done else { return };
    if let Job::Together(works) = job {
        histogram!(metrics::COMMIT_REQUESTS.name).record(works.len() as f64);
    }
    for answer in answers.iter().flatten() {
        match answer {
            Answer::Created(Created::New) => counter!(metrics::JOBS_CREATED.name).increment(1),
            Answer::Claimed(claims) => {
                for claim in claims {
                    let queue = claim.kind.queue.as_str();
                    counter!(metrics::STEPS_CLAIMED.name, "queue" => queue).increment(1);
                }
            }
            _ => {}
        }
    }
}

/// Waits for the right to do something about requests, and until there are enough of them, or some for long enough.
/// There are none when nobody can send any more.
async fn receive<'a>(
    (inbox, enough): (&mut mpsc::Receiver<Request>, usize),
    (requests, preparing): (&mut Vec<Request>, &'a Semaphore),
) -> Turn<'a> {
    // Nobody closes it.
    let turn = preparing.acquire().await.ok();
    if requests.is_empty() {
        inbox.recv_many(requests, BATCH_REQUESTS).await;
    }
    let more = async {
        while requests.len() < enough
            && inbox
                .recv_many(requests, BATCH_REQUESTS - requests.len())
                .await
                > 0
        {}
    };
    // With as many as there are then.
    let _ = clock::timeout(HELD_BACK, more).await;
    turn
}

/// Lets the tasks that can run say what they want, for as long as more of them do: whoever was
/// answered a moment ago mostly has the next request ready before a transaction would be.
async fn gather(inbox: &mut mpsc::Receiver<Request>, requests: &mut Vec<Request>) {
    let mut before = 0;
    while before < requests.len() && requests.len() < BATCH_REQUESTS {
        before = requests.len();
        tokio::task::yield_now().await;
        while requests.len() < BATCH_REQUESTS
            && let Ok(request) = inbox.try_recv()
        {
            requests.push(request);
        }
    }
}

/// Whether there are many requests, no two of them for one run: its two transactions would wait for each other.
fn can_be_divided(requests: &[Request]) -> bool {
    let run = |request: &Request| match request {
        Request::Batched(Work::Fold { run, .. }, _) => Some(run.clone()),
        _ => None,
    };
    let mut runs = HashSet::new();
    requests.len() > UNDIVIDED && requests.iter().filter_map(run).all(|run| runs.insert(run))
}

/// What is done at a time.
#[derive(Default)]
struct Round {
    works: Vec<Work>,
    /// One for each work.
    replies: Vec<oneshot::Sender<Answered>>,
    chores: Vec<(Chore, oneshot::Sender<Answered>)>,
    /// Those who wait, one of each session: their claims come behind the works.
    waiters: Vec<Waiter>,
    /// Something may wait in the store.
    look: bool,
}

impl Round {
    /// Sorts requests; who begins or ceases to wait is put to or taken from the others who do. Of those, one
    /// of each session is part of the round if there is work, or if they look into the store.
    fn of(requests: impl Iterator<Item = Request>, waiting: &mut Vec<Waiter>) -> Self {
        let mut round = Self::default();
        for request in requests {
            match request {
                Request::Batched(work, reply) => {
                    round.look |= matches!(work, Work::Claim(_));
                    round.works.push(work);
                    round.replies.push(reply);
                }
                Request::Alone(chore, reply) => round.chores.push((chore, reply)),
                Request::Wait(waiter) => waiting.push(waiter),
                Request::Withdraw(session) => {
                    for gone in waiting.extract_if(.., |it| it.request.session == session) {
                        let _ = gone.reply.send(Ok(Answer::Claimed(Vec::new())));
                    }
                }
                Request::Look => round.look = true,
            }
        }
        // Whoever gave up waiting would never run what was claimed.
        waiting.retain(|waiter| !waiter.reply.is_closed());
        if round.look || !round.works.is_empty() {
            round.invite(waiting);
        }
        round
    }

    /// The runs that it changes.
    fn runs(&self) -> Vec<RunId> {
        let run = |work: &Work| match work {
            Work::Fold { run, .. } => Some(run.clone()),
            Work::Create { .. } | Work::Claim(_) => None,
        };
        self.works.iter().filter_map(run).collect()
    }

    fn invite(&mut self, waiting: &mut Vec<Waiter>) {
        let mut sessions = BTreeSet::new();
        let first = |it: &mut Waiter| sessions.insert(it.request.session.clone());
        self.waiters = waiting.extract_if(.., first).collect();
        let claims = self.waiters.iter().map(|it| it.request.clone());
        self.works.extend(claims.map(Work::Claim));
    }
}

/// The end of a transaction: the runs that requests changed in it, and who still waits.
type Ending<'w> = Pin<Box<dyn Future<Output = (Vec<RunId>, Vec<Waiter>)> + Send + 'w>>;

/// Transactions that are under way, the runs that requests change in them, and in the end who still waits.
struct UnderWay<'w> {
    transactions: FuturesUnordered<Ending<'w>>,
    runs: HashSet<RunId>,
    /// Requests of the latest two.
    sizes: [usize; 2],
}

impl<'w> UnderWay<'w> {
    fn new() -> Self {
        Self {
            transactions: FuturesUnordered::new(),
            runs: HashSet::new(),
            sizes: [0; 2],
        }
    }

    /// How many requests are worth a transaction beside those that are under way: one that takes the first few of
    /// those who were just answered leaves the others to wait for it too.
    fn enough(&self) -> usize {
        match self.len() {
            0 => 1,
            _ => (self.sizes.iter().sum::<usize>() / 3).clamp(1, BATCH_REQUESTS),
        }
    }

    fn len(&self) -> usize {
        self.transactions.len()
    }

    fn push(
        &mut self,
        runs: Vec<RunId>,
        transaction: impl Future<Output = Vec<Waiter>> + Send + 'w,
    ) {
        self.runs.extend(runs.iter().cloned());
        let ending = async move { (runs, transaction.await) };
        self.transactions.push(Box::pin(ending));
    }

    /// The end of one of them. Never, if there are none.
    async fn next(&mut self) -> Vec<Waiter> {
        let Some((runs, waiters)) = self.transactions.next().await else {
            return std::future::pending().await;
        };
        for run in runs {
            self.runs.remove(&run);
        }
        waiters
    }

    /// The end of all of them.
    async fn all(&mut self) -> Vec<Waiter> {
        let mut waiters = Vec::new();
        while !self.transactions.is_empty() {
            waiters.extend(self.next().await);
        }
        waiters
    }

    /// Whether a request has to wait for all of them. Whoever ceases to wait is told once nothing can be
    /// claimed for him any more; what gets a transaction of its own has none beside it; somebody has to be
    /// there who looks; and a run that is being changed would have to be read anew.
    fn hinders(&self, request: &Request, waiting: &[Waiter]) -> bool {
        match request {
            Request::Alone(..) | Request::Withdraw(_) => self.len() > 0,
            Request::Look => self.len() > 0 && waiting.is_empty(),
            Request::Batched(Work::Fold { run, .. }, _) => self.runs.contains(run),
            Request::Batched(..) | Request::Wait(_) => false,
        }
    }
}

/// The right to prepare a transaction: one at a time, so that what arrives meanwhile is gathered for the
/// next. It is given back when the transaction has nothing left but to become durable, or to be written where
/// nothing was [asked](assumed) before.
type Turn<'a> = Option<SemaphorePermit<'a>>;

/// When a transaction asks the store for what it is prepared on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// Before.
    First,
    /// With what it writes, as far as this process [knows](assumed) what it would hear.
    AtTheEnd,
}

/// What one transaction is for.
#[derive(Clone, Copy)]
enum Job<'a> {
    Together(&'a [Work]),
    Alone(&'a Chore),
}

struct Writer {
    store: Arc<dyn Store>,
    definitions: Arc<Definitions>,
    dispatcher: Arc<dyn Dispatcher>,
    stopped: broadcast::Sender<RunId>,
    short: broadcast::Sender<RunId>,
    /// Whose turn it is among the queues, as of the last commit.
    turns: Mutex<Turns>,
    kept: Arc<Kept>,
    known: Arc<Known>,
    timers: watch::Sender<u64>,
    pulse: Pulse,
}

impl Writer {
    async fn work(self, mut inbox: mpsc::Receiver<Request>) {
        let at_once = self.store.transactions_at_once();
        let preparing = Semaphore::new(1);
        let mut requests = Vec::with_capacity(BATCH_REQUESTS);
        let mut waiting = Vec::new();
        let mut under_way = UnderWay::new();
        loop {
            let enough = under_way.enough();
            let turn = tokio::select! {
                biased;
                waiters = under_way.next() => {
                    waiting.extend(waiters);
                    continue;
                }
                turn = receive((&mut inbox, enough), (&mut requests, &preparing)), if under_way.len() < at_once => turn,
            };
            if requests.is_empty() {
                break;
            }
            gather(&mut inbox, &mut requests).await;
            if requests.iter().any(|it| under_way.hinders(it, &waiting)) {
                waiting.extend(under_way.all().await);
                gather(&mut inbox, &mut requests).await;
            }
            let part = match at_once > 1 && under_way.len() == 0 && can_be_divided(&requests) {
                true => {
                    // The other half is enough.
                    under_way.sizes[0] = requests.len() / 2;
                    requests.len() / 2
                }
                false => requests.len(),
            };
            let left = inbox.len() + requests.len() - part;
            gauge!(metrics::COMMIT_QUEUE.name).set(left as f64);
            let mut round = Round::of(requests.drain(..part), &mut waiting);
            let chores = std::mem::take(&mut round.chores);
            if !round.replies.is_empty() {
                under_way.sizes = [round.replies.len(), under_way.sizes[0]];
            }
            under_way.push(round.runs(), self.go(round, turn));
            if !chores.is_empty() {
                waiting.extend(under_way.all().await);
                self.do_chores(chores).await;
            }
        }
        under_way.all().await;
    }

    /// Commits what was asked for, together with the claims of those who wait, and answers. Those who got
    /// nothing go on waiting.
    async fn go(&self, round: Round, turn: Turn<'_>) -> Vec<Waiter> {
        if round.look {
            self.known.something_waits();
        }
        let mut answers = self.answer((&round.works, turn)).await.into_iter();
        for (reply, answer) in round.replies.into_iter().zip(answers.by_ref()) {
            // Whoever asked may be gone; what was committed stays committed.
            let _ = reply.send(answer);
        }
        let mut left = Vec::new();
        for (waiter, answer) in round.waiters.into_iter().zip(answers) {
            match &answer {
                Ok(Answer::Claimed(claims)) if !claims.is_empty() => {}
                // A session that is dead gets nothing; its process will hear of that.
                Ok(_) => {
                    left.push(waiter);
                    continue;
                }
                Err(_) => {}
            }
            let _ = waiter.reply.send(answer);
        }
        left
    }

    async fn do_chores(&self, chores: Vec<(Chore, oneshot::Sender<Answered>)>) {
        for (chore, reply) in chores {
            let done = self.transact(Job::Alone(&chore), &mut None).await;
            let answer = done.and_then(|mut answers| answers.pop().unwrap_or(Ok(Answer::Done)));
            let _ = reply.send(answer);
        }
    }

    /// Commits everything at once; if that fails, each work alone, so that a broken one harms
    /// nobody else.
    async fn answer(&self, (works, mut turn): (&[Work], Turn<'_>)) -> Vec<Answered> {
        if works.is_empty() {
            return Vec::new();
        }
        if works.len() > 1 {
            match self.transact(Job::Together(works), &mut turn).await {
                Ok(answers) => return answers,
                // It may have been committed. Done again, it would be refused, and nobody would look
                // for what was claimed in it.
                Err(CommitError::Store(error)) if matches!(*error, StoreError::Unreachable(_)) => {
                    return works
                        .iter()
                        .map(|_| Err(CommitError::Store(error.clone())))
                        .collect();
                }
                Err(_) => {}
            }
        }
        let mut answers = Vec::with_capacity(works.len());
        for work in works {
            answers.push(self.answer_one(work, &mut turn).await);
        }
        answers
    }

    async fn answer_one(&self, work: &Work, turn: &mut Turn<'_>) -> Answered {
        let alone = Job::Together(std::slice::from_ref(work));
        let answered = match self.transact(alone, turn).await {
            // What was to be claimed with it may be what cannot be read: the report counts for more.
            Err(CommitError::Store(error)) if matches!(*error, StoreError::Corrupt(_)) => {
                let Some(report) = work.without_claim() else {
                    return Err(CommitError::Store(error));
                };
                tracing::error!(%error, "nothing could be claimed with the end of an attempt");
                self.transact(Job::Together(&[report]), turn).await
            }
            answered => answered,
        };
        answered.and_then(|mut answers| answers.remove(0))
    }

    /// Does a job in one transaction, and again while other transactions come in between.
    async fn transact(
        &self,
        job: Job<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Vec<Answered>, CommitError> {
        let mut tries = 1;
        let mut asking = Asking::AtTheEnd;
        loop {
            let began = Instant::now();
            let going_on = self.pulse.transaction();
            let done = self.attempt((job, asking), turn).await;
            drop(going_on);
            measure(job, began.elapsed(), &done);
            asking = Asking::First;
            if done.is_err() {
                // What it was about to claim is left.
                self.known.something_waits();
            }
            match done {
                Err(StoreError::Contended(why)) if tries < CONTENDED_TRIES => {
                    tracing::debug!(why, "a transaction is done again");
                    tries += 1;
                }
                Err(error) => {
                    // Whoever asked reports it.
                    tracing::debug!(%error, "a change was rolled back");
                    return Err(error.into());
                }
                Ok(done) => return Ok(done),
            }
        }
    }

    /// One transaction, in time. What has become of one that took too long is not known.
    async fn attempt(
        &self,
        (job, asking): (Job<'_>, Asking),
        turn: &mut Turn<'_>,
    ) -> Result<Vec<Answered>, StoreError> {
        let transaction = async {
            match job {
                Job::Together(works) => self.commit((works, asking), turn).await,
                Job::Alone(chore) => self.do_alone(chore).await,
            }
        };
        let done = clock::timeout(TRANSACTION, transaction).await;
        done.unwrap_or_else(|_| {
            let seconds = TRANSACTION.as_secs();
            let why = format!("a transaction took longer than {seconds} s");
            Err(StoreError::Unreachable(why))
        })
    }

    async fn commit(
        &self,
        (works, asking): (&[Work], Asking),
        turn: &mut Turn<'_>,
    ) -> Result<Vec<Answered>, StoreError> {
        let mut batch = Batch::begin(self, (works.len(), asking)).await?;
        let mut wishes = batch.live(claims::wishes(works)).await?;
        batch.create(works).await?;
        let candidates = batch.candidates(&wishes).await?;
        batch.open(works, &candidates).await?;
        batch.fold().await?;
        batch.claim(&mut wishes, &candidates).await?;
        batch.finish().await?;
        // The next transaction may have what this one leaves.
        wishes.iter_mut().for_each(Wish::leave);
        *turn = None;
        let answers = batch.commit(self).await?;
        wishes.into_iter().for_each(Wish::settle);
        Ok(answers)
    }

    async fn do_alone(&self, chore: &Chore) -> Result<Vec<Answered>, StoreError> {
        let mut batch = Batch::begin(self, (0, Asking::First)).await?;
        match chore {
            Chore::EndSession {
                session,
                only_if_dead,
            } => {
                if *only_if_dead && !batch.session_is_dead(session).await? {
                    return Ok(Vec::new());
                }
                let ended = batch.end_session(session).await?;
                batch.answers.push(ended.map(Answer::Ended));
            }
            Chore::Replan { run, with } => {
                let planned = batch.replan(run, with).await?;
                batch
                    .answers
                    .push(planned.map(|plan| Answer::Planned(plan.map(Box::new))));
            }
        }
        batch.finish().await?;
        batch.commit(self).await
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of a commit.
    fn tell(&self, stopped: BTreeMap<RunId, RunStatus>, (hints, timers): (&[Hint], bool)) {
        for (run, status) in stopped {
            counter!(metrics::JOBS_STOPPED.name, "status" => status.as_str()).increment(1);
            // Mostly nobody listens.
            if status != RunStatus::Succeeded {
                let _ = self.short.send(run.clone());
            }
            let _ = self.stopped.send(run);
        }
        if timers {
            self.timers.send_modify(|set| *set = set.wrapping_add(1));
        }
        if !hints.is_empty() {
            self.dispatcher.ring(hints);
        }
    }
}
