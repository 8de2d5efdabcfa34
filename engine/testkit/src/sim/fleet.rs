//! Several processes on one database. What is theirs in production is theirs here: a committer, the
//! services, the doubts about what is held. The database is in memory, attempts do nothing but take
//! time, and time passes as fast as everybody waits.

mod fate;
mod judge;
mod process;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use telecine_engine::clock;
use telecine_engine::committer::Committer;
use telecine_engine::definition::Definition;
use telecine_engine::dispatch::InProcessDispatcher;
use telecine_engine::id::RunId;
use telecine_engine::machine::{self, Command};
use telecine_engine::queue::Queue;
use telecine_engine::run::{Run, RunStatus, StoreUrls};
use telecine_engine::store::{Created, Store as _};

use self::fate::{Phase, Weather};
use self::judge::Judge;
use self::process::Process;
use super::Random;
use crate::memory::MemoryStore;

/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(40);
/// How long a history may take after that: backoffs of minutes, deadlines, two further rounds.
const CALM: Duration = Duration::from_secs(900);
/// How often everybody's state is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Rounds of a run.
const ROUNDS: u32 = 3;
/// Of so many histories, one has a crowd of clients who come at once: so many requests that two transactions share
/// them.
const CROWDS: u64 = 101;
/// How many they are at least.
const CROWD: usize = 24;
/// How long a part of an attempt takes at most, in milliseconds.
const PACE: usize = 3000;
/// The same in a crowd, which has to get done.
const QUICK: usize = 60;

/// What a history went through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// Runs that were accepted.
    pub runs: u32,
    /// Attempts that began.
    pub attempts: u32,
    /// Attempts that were lost with their process.
    pub lost: u32,
    /// Runs that ended held.
    pub held: u32,
    /// Commits whose answer got lost.
    pub unanswered: u32,
    /// Processes that were killed.
    pub killed: u32,
    /// A number that two histories share only if the same happened in both.
    pub digest: u64,
}

impl Told {
    /// Adds another history.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.attempts += other.attempts;
        self.lost += other.lost;
        self.held += other.held;
        self.unanswered += other.unanswered;
        self.killed += other.killed;
        self.digest ^= other.digest;
    }
}

/// What everybody in a history shares.
#[derive(Debug)]
struct Shared {
    random: Mutex<Random>,
    database: MemoryStore,
    weather: Weather,
    judge: Arc<Judge>,
    processes: Mutex<Vec<Process>>,
    told: Mutex<Told>,
    /// How long a part of an attempt takes at most, in milliseconds.
    pace: usize,
}

impl Shared {
    fn random(&self) -> MutexGuard<'_, Random> {
        lock(&self.random)
    }

    /// Up to so many milliseconds.
    fn up_to(&self, millis: usize) -> Duration {
        let millis = self.random().below(millis + 1);
        Duration::from_millis(u64::try_from(millis).unwrap_or_default())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A history to be.
#[derive(Debug)]
pub struct Fleet {
    seed: u64,
    /// Whether processes die and stand still; otherwise only the database goes away.
    deadly: bool,
}

impl Fleet {
    /// A history in which everything goes wrong that can.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, deadly: true }
    }

    /// A history in which nothing goes wrong but the database: it is nobody's fault.
    #[must_use]
    pub fn with_outages_only(seed: u64) -> Self {
        Self {
            seed,
            deadly: false,
        }
    }

    /// Lets it happen.
    ///
    /// # Errors
    /// What rule was broken.
    pub fn run(self) -> Result<Told, String> {
        clock::simulate(self.happen()).map_err(|error| error.to_string())?
    }

    async fn happen(self) -> Result<Told, String> {
        let mut random = Random::new(self.seed);
        let is_crowd = self.seed % CROWDS == 7;
        let definitions: Vec<Arc<Definition>> = match is_crowd {
            true => {
                let wanted = Arc::new(super::definition(&mut random));
                let clients = 0..CROWD + random.below(CROWD);
                clients.map(|_| wanted.clone()).collect()
            }
            false => (0..=random.below(2))
                .map(|_| Arc::new(super::definition(&mut random)))
                .collect(),
        };
        let count = 2 + random.below(2);
        let judge = Arc::<Judge>::default();
        let shared = Arc::new(Shared {
            random: Mutex::new(random),
            database: MemoryStore::witnessed(judge.clone()),
            weather: Weather::new(self.deadly),
            judge,
            processes: Mutex::default(),
            told: Mutex::default(),
            pace: if is_crowd { QUICK } else { PACE },
        });
        for number in 0..count {
            let process = Process::start(&shared, number);
            lock(&shared.processes).push(process);
        }
        let mut clients = Vec::new();
        for (number, definition) in definitions.into_iter().enumerate() {
            let client = Client {
                shared: shared.clone(),
                definition,
                run: RunId::from(format!("job_{number:04}")),
                is_one_of_a_crowd: is_crowd,
            };
            clients.push(tokio::spawn(client.live()));
        }
        tokio::spawn(trouble(shared.clone(), self.deadly));
        let end = clock::now() + TROUBLE + CALM;
        while clients.iter().any(|client| !client.is_finished()) {
            clock::sleep(LOOK).await;
            shared.judge.look(&shared);
            if clock::now() > end {
                return Err(shared.judge.stuck(&shared.database));
            }
            shared.judge.verdict()?;
        }
        shared.judge.conclude(&shared, self.deadly)?;
        Ok(*lock(&shared.told))
    }
}

/// Lets things go wrong, and mends them in the end.
async fn trouble(shared: Arc<Shared>, deadly: bool) {
    let end = clock::now() + TROUBLE;
    while clock::now() < end {
        clock::sleep(shared.up_to(6000)).await;
        let count = lock(&shared.processes).len();
        let (what, victim) = {
            let mut random = shared.random();
            (random.below(10), random.below(count))
        };
        match what {
            0..=2 if deadly => Process::kill(&shared, victim),
            3..=5 if deadly => {
                let life = lock(&shared.processes)[victim].life.clone();
                let pause = shared.up_to(20_000);
                tokio::spawn(async move {
                    life.change(Phase::Up, Phase::Paused);
                    clock::sleep(pause).await;
                    life.change(Phase::Paused, Phase::Up);
                });
            }
            6 | 7 => {
                shared.weather.set_outage(true);
                clock::sleep(shared.up_to(15_000)).await;
                shared.weather.set_outage(false);
            }
            8 if deadly => lock(&shared.processes)[victim].stop(),
            _ => {}
        }
    }
    shared.weather.calm();
}

/// Somebody who wants a run, and does not give up.
struct Client {
    shared: Arc<Shared>,
    definition: Arc<Definition>,
    run: RunId,
    is_one_of_a_crowd: bool,
}

impl Client {
    async fn live(self) {
        if !self.is_one_of_a_crowd {
            clock::sleep(self.shared.up_to(8000)).await;
        }
        self.submit().await;
        lock(&self.shared.told).runs += 1;
        self.shared.judge.accepted(&self.run);
        if self.shared.random().chance(10) {
            clock::sleep(self.shared.up_to(20_000)).await;
            let cancel = Command::Cancel {
                by: "a client".to_owned(),
                reason: None,
            };
            // It may be over already, or the way be broken: a client may give that up.
            let _ = self.committer().fold(&self.run, cancel).await;
        }
        while !self.is_over().await {
            clock::sleep(LOOK).await;
        }
    }

    fn committer(&self) -> Committer {
        let processes = lock(&self.shared.processes);
        let chosen = match self.is_one_of_a_crowd {
            true => 0,
            false => self.shared.random().below(processes.len()),
        };
        processes[chosen].committer.clone()
    }

    async fn submit(&self) {
        loop {
            let definition = telecine_engine::store::DefinitionRecord {
                digest: self.definition.digest(),
                name: self.definition.name.clone(),
                version: self.definition.version,
                canonical: self.definition.canonical(),
            };
            let saved = self.shared.database.save_definition(&definition).await;
            saved.expect("the way of the client is good");
            let new = machine::plan_run(self.queued(), &self.definition, self.skewed());
            let committer = self.committer();
            match committer.create(new, false).await {
                Ok(Created::New | Created::Existing(_)) => return,
                _ => clock::sleep(Duration::from_millis(300)).await,
            }
        }
    }

    /// The clock of a client may be off by an hour, which nobody may see.
    fn skewed(&self) -> chrono::DateTime<chrono::Utc> {
        let seconds = i64::try_from(self.shared.random().below(7200)).unwrap_or_default();
        chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(seconds)
    }

    fn queued(&self) -> Run {
        Run {
            id: self.run.clone(),
            workflow: self.definition.name.clone(),
            version: self.definition.version,
            definition: self.definition.digest(),
            status: RunStatus::Queued,
            round: 1,
            revision: 0,
            events: 0,
            queue: Queue::default(),
            priority: 0,
            input: serde_json::json!({}),
            fingerprint: self.run.to_string(),
            stores: StoreUrls {
                source: String::new(),
                media: String::new(),
            },
            labels: std::collections::BTreeMap::new(),
            output: None,
            error: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            started_at: None,
            ended_at: None,
        }
    }

    /// Whether the run has ended for good; executes its plan now and then if not.
    async fn is_over(&self) -> bool {
        let store = &self.shared.database;
        let run = store.load_run(&self.run).await;
        let run = run.expect("the way of the client is good");
        let Some(run) = run.filter(|run| run.status.is_stopped()) else {
            return false;
        };
        if run.status == RunStatus::Succeeded || run.round >= ROUNDS {
            return true;
        }
        let plan = store.load_plan(&self.run).await;
        let plan = plan.expect("the way of the client is good");
        self.shared.judge.may_stop(&run, plan.as_ref());
        let Some(plan) = plan.filter(|plan| plan.executable) else {
            return true;
        };
        if self.shared.random().chance(40) {
            return true;
        }
        let reopen = Command::Reopen {
            plan: Box::new(plan),
        };
        let committer = self.committer();
        // It may have been done without an answer: the next look tells.
        let _ = committer.fold(&self.run, reopen).await;
        false
    }
}

/// A doorbell whose rings get lost, come late, and come twice.
#[derive(Debug)]
struct FaintBell {
    shared: std::sync::Weak<Shared>,
    here: InProcessDispatcher,
}
