use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::select_all;
use serde_json::json;
use telecine_engine::activity::{ErrorClass, Usage};
use telecine_engine::clock;
use telecine_engine::committer::{Awaited, CommitError, Committer};
use telecine_engine::definitions::Definitions;
use telecine_engine::dispatch::{Bell, Dispatcher, Hint, InProcessDispatcher};
use telecine_engine::id::SessionId;
use telecine_engine::machine::Command;
use telecine_engine::queue::{Free, Machine};
use telecine_engine::run::Failure;
use telecine_engine::services::{ServiceParts, Services};
use telecine_engine::store::{
    Claim, ClaimRequest, Content, NewCheckpoint, Outcome, Store, StoreError,
};
use telecine_engine::worker::{Contact, Held, LEASE, report};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::fate::{Life, Phase, Way};
use super::{FaintBell, Shared, lock};
use crate::memory::MemoryStore;

/// The activity of every step.
const ACTIVITY: &str = "test.step@1";
/// Attempts of a process at a time.
const SLOTS: usize = 2;
/// How often a session is renewed.
const BEAT: Duration = Duration::from_millis(2500);
/// How soon again, after it could not be.
const AGAIN: Duration = Duration::from_millis(250);
/// How long a process that is told to stop lets its attempts go on, in milliseconds: for long enough or not.
const GRACE: usize = 5000;

/// A process, as the others see it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) committer: Committer,
    pub(super) life: Arc<Life>,
    number: usize,
    main: AbortHandle,
    bell: Arc<FaintBell>,
    stop: Stop,
}

/// What tells the session of a process to end.
type Stop = Arc<Mutex<CancellationToken>>;

impl Process {
    pub(super) fn start(shared: &Arc<Shared>, number: usize) -> Self {
        let life = Arc::<Life>::default();
        let way = Arc::new(Way::new(shared, life.clone()));
        let store: Arc<dyn Store> = Arc::new(shared.database.with_fate(way.clone()));
        let bell = Arc::new(FaintBell {
            shared: Arc::downgrade(shared),
            here: InProcessDispatcher::default(),
        });
        let definitions = Arc::new(Definitions::new(store.clone()));
        let committer = Committer::start(store.clone(), definitions, bell.clone());
        let stop = Stop::default();
        let working = Working {
            shared: shared.clone(),
            store,
            committer: committer.clone(),
            bell: bell.clone(),
            number,
            way,
            stop: stop.clone(),
        };
        let main = tokio::spawn(working.live()).abort_handle();
        Self {
            committer,
            life,
            number,
            main,
            bell,
            stop,
        }
    }

    /// Tells a process to end its session; it begins another one.
    pub(super) fn stop(&self) {
        lock(&self.stop).cancel();
    }

    /// Kills a process, which is started again a little later.
    pub(super) fn kill(shared: &Arc<Shared>, place: usize) {
        let number = {
            let processes = lock(&shared.processes);
            let victim = &processes[place];
            if victim.life.phase() == Phase::Dead {
                return;
            }
            victim.life.end();
            victim.main.abort();
            victim.number
        };
        lock(&shared.told).killed += 1;
        let shared = shared.clone();
        tokio::spawn(async move {
            clock::sleep(shared.up_to(4000)).await;
            let anew = Self::start(&shared, number + 10);
            lock(&shared.processes)[place] = anew;
        });
    }
}

#[async_trait]
impl Dispatcher for FaintBell {
    fn ring(&self, _hints: &[Hint]) {
        self.here.ring(&[]);
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        let bells: Vec<_> = lock(&shared.processes)
            .iter()
            .map(|process| process.bell.clone())
            .collect();
        for bell in bells {
            let rings = [0, 1, 1, 1, 2][shared.random().below(5)];
            for _ in 0..rings {
                let late = shared.up_to(300);
                let bell = bell.clone();
                tokio::spawn(async move {
                    clock::sleep(late).await;
                    bell.here.ring(&[]);
                });
            }
        }
    }

    fn listen(&self) -> Box<dyn Bell> {
        self.here.listen()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(5)
    }
}

/// The inside of a process.
#[derive(Debug, Clone)]
struct Working {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    committer: Committer,
    bell: Arc<FaintBell>,
    number: usize,
    way: Arc<Way>,
    stop: Stop,
}

/// One session of a process.
#[derive(Debug, Clone)]
struct Shift {
    id: SessionId,
    request: ClaimRequest,
    contact: Contact,
    held: Held,
    lost: CancellationToken,
    /// It is told to end: SIGTERM.
    stop: CancellationToken,
}

impl Shift {
    fn new(id: SessionId) -> Self {
        let machine = Machine::with_slots(SLOTS);
        let request = ClaimRequest {
            session: id.clone(),
            run: None,
            machine,
            free: Free::new(machine.room()),
            activities: vec![ACTIVITY.to_owned()],
        };
        Self {
            id,
            request,
            contact: Contact::default(),
            held: Held::default(),
            lost: CancellationToken::new(),
            stop: CancellationToken::new(),
        }
    }
}

/// A claimed step, and what it takes of the machine until this is dropped.
struct Seat {
    claim: Claim,
    shift: Shift,
}

impl Seat {
    fn of(claim: Claim, shift: &Shift) -> Self {
        let shift = shift.clone();
        Self { claim, shift }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let ClaimRequest { machine, free, .. } = &self.shift.request;
        free.give(machine.cost(&self.claim.kind).unwrap_or_default());
    }
}

/// What was claimed with the end of an attempt; nothing if there was nothing to claim with.
type Report = Result<Option<Vec<Claim>>, CommitError>;
type Attempts = JoinSet<Report>;

/// The first that is answered of what is waited for, which then is not any more; never, if nothing is.
async fn claims(waiting: &mut Vec<Awaited>) -> Result<Vec<Claim>, CommitError> {
    if waiting.is_empty() {
        return std::future::pending().await;
    }
    let answers = waiting.iter_mut().map(|awaited| Box::pin(awaited.claims()));
    let (claims, answered, _) = select_all(answers).await;
    waiting.swap_remove(answered);
    claims
}

impl Working {
    /// One session after the other.
    async fn live(self) {
        for number in 0.. {
            let id = format!("session_{:03}_{number:03}", self.number);
            let shift = Shift::new(SessionId::from(id));
            while self.store.open_session(&shift.id, "", LEASE).await.is_err() {
                clock::sleep(AGAIN).await;
            }
            shift.contact.made();
            *lock(&self.stop) = shift.stop.clone();
            self.shared.judge.begins(&shift.id);
            let mut tasks = JoinSet::new();
            tasks.spawn(beat(self.store.clone(), shift.clone()));
            let (store, committer) = (self.store.clone(), self.committer.clone());
            tasks.spawn(shift.held.clone().watch(store, committer, shift.id.clone()));
            let _services = Services::start(&ServiceParts {
                store: self.store.clone(),
                committer: self.committer.clone(),
                dispatcher: self.bell.clone(),
                session: shift.id.clone(),
                contact: shift.contact.clone(),
            });
            self.work(&shift).await;
            self.shared.judge.ends(&shift.id);
        }
    }

    /// Waits for steps and runs them, until the session is lost or told to end: the loop of
    /// `Worker::run`, which reads the machine's clock and renews its session from a thread.
    async fn work(&self, shift: &Shift) {
        let mut bell = self.bell.listen();
        let mut attempts = Attempts::new();
        let mut waiting = Vec::new();
        let (mut look, mut away) = (true, false);
        loop {
            while waiting.len() < self.store.transactions_at_once() {
                match self.committer.wait(shift.request.clone()).await {
                    Ok(awaited) => waiting.push(awaited),
                    Err(_) => break,
                }
            }
            if std::mem::take(&mut look) {
                away = self.look(shift).await.is_err();
            }
            let has_room = shift.request.free.now().attempts() > 0;
            let patience = if away { AGAIN } else { self.bell.patience() };
            let claims = tokio::select! {
                biased;
                () = shift.lost.cancelled() => return,
                () = shift.stop.cancelled() => break,
                Some(ended) = attempts.join_next() => {
                    let claims = ended.ok().and_then(Result::ok).flatten();
                    // Nobody has looked what fits into what it left.
                    look = claims.is_none();
                    claims.unwrap_or_default()
                }
                claimed = claims(&mut waiting) => {
                    shift.held.note(&claimed);
                    away |= claimed.is_err();
                    claimed.unwrap_or_default()
                }
                () = bell.rung(), if has_room && !away => { look = true; continue }
                () = clock::sleep(patience) => { look = true; continue }
            };
            for claim in claims {
                let fence = claim.fence.clone();
                let seat = Seat::of(claim, shift);
                if shift.held.holds(&fence) {
                    attempts.spawn(self.clone().attempt(seat));
                }
            }
        }
        self.leave(shift, (waiting, attempts)).await;
    }

    /// Claims what is ready already: most looks end without a transaction.
    async fn look(&self, shift: &Shift) -> Result<(), StoreError> {
        if shift.request.free.now().attempts() > 0 && !self.store.waiting(None, 1).await?.is_empty()
        {
            self.committer.look().await;
        }
        Ok(())
    }

    /// Waits no more, gives back what was claimed in the last moment, lets attempts come to a part's end for a
    /// while, and ends the session with what it runs then.
    async fn leave(&self, shift: &Shift, (waiting, mut attempts): (Vec<Awaited>, Attempts)) {
        self.committer.withdraw(&shift.id).await;
        for mut awaited in waiting {
            self.give_back(awaited.claims().await.unwrap_or_default())
                .await;
        }
        let drained = async {
            while let Some(ended) = attempts.join_next().await {
                let claims = ended.ok().and_then(Result::ok).flatten();
                self.give_back(claims.unwrap_or_default()).await;
            }
        };
        let _ = clock::timeout(self.shared.up_to(GRACE), drained).await;
        attempts.shutdown().await;
        // One that cannot be ended now is found dead later.
        let _ = self.committer.end_session(&shift.id).await;
    }

    async fn give_back(&self, claims: Vec<Claim>) {
        for claim in claims {
            let release = release(&claim);
            // It goes back with the session otherwise.
            let _ = self.committer.fold(&claim.fence.run, release).await;
        }
    }

    async fn attempt(self, seat: Seat) -> Report {
        lock(&self.shared.told).attempts += 1;
        let (claim, shift) = (seat.claim.clone(), seat.shift.clone());
        let fence = &claim.fence;
        self.shared.judge.runs(&shift.id, fence);
        let ended = self.execute((&claim, &shift)).await;
        let Some(command) = ended else {
            self.shared.judge.rests(&shift.id, fence);
            shift.held.remove(fence);
            return Ok(None);
        };
        // Others may have the slot as soon as the end is on its way.
        drop(seat);
        let next = (!shift.stop.is_cancelled()).then(|| shift.request.clone());
        let succeeds = matches!(command, Command::Complete { .. });
        let reported = report(
            &self.committer,
            (&fence.run, command, next),
            (&shift.lost, &shift.held),
        );
        let reported = reported.await;
        if succeeds && reported.is_ok() {
            self.shared.judge.completed(fence);
        }
        self.shared.judge.rests(&shift.id, fence);
        shift.held.remove(fence);
        match reported {
            Err(CommitError::Rejected(_)) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Does what an attempt does; answers how it ended, or nothing if the step is somebody else's.
    async fn execute(&self, (claim, shift): (&Claim, &Shift)) -> Option<Command> {
        let fence = &claim.fence;
        let limited = self.shared.random().chance(20);
        if limited {
            let deadline = self.shared.up_to(30_000);
            // Without one it takes longer.
            let _ = self.store.set_deadline(fence, deadline).await;
        }
        let parts = self.shared.random().below(4);
        for _ in 0..parts {
            clock::sleep(self.shared.up_to(self.shared.pace)).await;
            self.way.up().await;
            let saves = self.shared.random().chance(40);
            if saves {
                let checkpoint = NewCheckpoint {
                    content: Content::Whole(json!({"fence": fence.fence})),
                    covers: None,
                    compat: String::new(),
                    artifacts: Vec::new(),
                };
                let saved = self.store.save_checkpoint(fence, &checkpoint).await;
                if matches!(saved, Err(StoreError::Fenced { .. })) {
                    return None;
                }
            }
            if shift.stop.is_cancelled() {
                return Some(release(claim));
            }
        }
        Some(self.ending(claim))
    }

    fn ending(&self, claim: &Claim) -> Command {
        let (step, fence) = (claim.fence.step.clone(), claim.fence.fence);
        let mut random = self.shared.random();
        let usage = Usage::default();
        match random.below(20) {
            0 => release(claim),
            luck @ 1..=4 => Command::Fail {
                step,
                fence,
                error: Failure {
                    class: if luck == 4 {
                        ErrorClass::Input
                    } else {
                        ErrorClass::Transient
                    },
                    code: "simulated".to_owned(),
                    message: "the simulation wants it".to_owned(),
                    step: None,
                },
                usage,
                warnings: Vec::new(),
            },
            _ => Command::Complete {
                step,
                fence,
                outcome: Outcome {
                    output: json!({"list": vec![1; random.below(3)]}),
                    ..Outcome::default()
                },
            },
        }
    }
}

/// Gives a step back as it is.
fn release(claim: &Claim) -> Command {
    Command::Release {
        step: claim.fence.step.clone(),
        fence: claim.fence.fence,
        usage: Usage::default(),
    }
}

/// Renews a session until it turns out to be lost.
async fn beat(store: Arc<dyn Store>, shift: Shift) {
    let mut pause = BEAT;
    loop {
        clock::sleep(pause).await;
        pause = match store.renew_session(&shift.id, LEASE).await {
            Ok(true) => {
                shift.contact.made();
                BEAT
            }
            Ok(false) => {
                shift.lost.cancel();
                return;
            }
            Err(_) => {
                shift.contact.broken();
                AGAIN
            }
        };
    }
}

impl Shared {
    /// The database as somebody outside sees it.
    pub(super) fn database(&self) -> &MemoryStore {
        &self.database
    }
}
