//! The engine as a process has it: coordinator, committer, worker and services.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use telecine_engine::committer::Committer;
use telecine_engine::coordinator::{Coordinator, Submission};
use telecine_engine::definition::{Definition, validate};
use telecine_engine::definitions::Definitions;
use telecine_engine::dispatch::{Dispatcher, InProcessDispatcher};
use telecine_engine::id::RunId;
use telecine_engine::queue::Machine;
use telecine_engine::run::{Run, RunStatus, StoreUrls};
use telecine_engine::services::{ServiceParts, Services};
use telecine_engine::store::Store;
use telecine_engine::worker::{Worker, WorkerError, WorkerOptions, WorkerParts};
use telecine_object_stores::FsStores;
use telecine_store_postgres::{PostgresDispatcher, PostgresStore};
use telecine_store_sqlite::SqliteStore;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::activities::{CHAIN, FAN_OUT, registry};

/// Steps that the worker runs at a time: as many as can be ready.
const SLOTS: usize = 512;

/// What the worker of an engine can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runs {
    Everything,
    /// All but the steps of a fan-out.
    NoLeaves,
    /// There is no worker in this process.
    Nothing,
}

/// Whoever waits for the end of a run, or that it came before anybody waited.
enum Seat {
    Taken(oneshot::Sender<()>),
    Ended,
}

type Seats = Arc<Mutex<HashMap<RunId, Seat>>>;

/// A running engine.
pub(crate) struct Engine {
    coordinator: Coordinator,
    chain: Arc<Definition>,
    fan_out: Arc<Definition>,
    seats: Seats,
    working: Option<Working>,
    _scratch: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

struct Working {
    worker: JoinHandle<Result<(), WorkerError>>,
    stop: CancellationToken,
    _services: Services,
}

impl Engine {
    /// On the Postgres at an address, or on SQLite in a directory.
    pub(crate) async fn open(place: &str, runs: Runs) -> Self {
        if place.starts_with("postgres") {
            let store = PostgresStore::open(place).await.unwrap();
            let dispatcher = PostgresDispatcher::start(place).unwrap();
            Self::start(Arc::new(store), Arc::new(dispatcher), runs).await
        } else {
            let store = SqliteStore::open(Path::new(place)).await.unwrap();
            let dispatcher = Arc::new(InProcessDispatcher::default());
            Self::start(Arc::new(store), dispatcher, runs).await
        }
    }

    async fn start(store: Arc<dyn Store>, dispatcher: Arc<dyn Dispatcher>, runs: Runs) -> Self {
        let definitions = Arc::new(Definitions::new(store.clone()));
        let committer = Committer::start(store.clone(), definitions.clone(), dispatcher.clone());
        let scratch = tempfile::tempdir().unwrap();
        let parts = WorkerParts {
            store: store.clone(),
            committer: committer.clone(),
            definitions: definitions.clone(),
            dispatcher,
            registry: Arc::new(registry(runs == Runs::Everything)),
            objects: Arc::new(FsStores),
            scratch: PathBuf::from(scratch.path()),
        };
        let seats = Seats::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(tell(committer.clone(), seats.clone()));
        let working = match runs {
            Runs::Nothing => None,
            _ => Some(work(parts).await),
        };
        let define = |text| Arc::new(validate(text, &registry(true)).unwrap());
        Self {
            coordinator: Coordinator {
                store,
                definitions,
                committer,
                objects: Arc::new(FsStores),
                proven: Arc::default(),
                registry: Arc::new(registry(true)),
                workflows: Arc::default(),
                large_source_bytes: u64::MAX,
            },
            chain: define(CHAIN),
            fan_out: define(FAN_OUT),
            seats,
            working,
            _scratch: scratch,
            _tasks: tasks,
        }
    }

    /// Runs three steps, one after the other, and returns when their end is durable.
    pub(crate) async fn chain(&self, n: usize) -> RunId {
        let run = self.submit(&self.chain, n).await;
        self.ended(&run).await;
        run
    }

    /// Submits so many steps that can run at once.
    pub(crate) async fn fan_out(&self, n: usize) -> RunId {
        self.submit(&self.fan_out, n).await
    }

    /// How many steps can be claimed.
    pub(crate) async fn waiting_steps(&self) -> u64 {
        let waiting = self.coordinator.store.count_waiting().await.unwrap();
        waiting.iter().map(|(_, steps)| steps).sum()
    }

    /// Waits for the end of a run, whoever brings it about, by looking every now and then.
    pub(crate) async fn look_until_ended(&self, run: &RunId, every: Duration) {
        while !self.load(run).await.status.is_stopped() {
            tokio::time::sleep(every).await;
        }
    }

    /// Sees to it that a run did what it was to do.
    pub(crate) async fn check(&self, run: &RunId, n: usize) {
        let run = self.load(run).await;
        let wanted = json!({"n": n + 3});
        assert_eq!(
            (run.status, run.output),
            (RunStatus::Succeeded, Some(wanted))
        );
    }

    /// Ends the worker in order.
    pub(crate) async fn stop(self) {
        if let Some(working) = self.working {
            working.stop.cancel();
            working.worker.await.unwrap().unwrap();
        }
    }

    async fn submit(&self, definition: &Arc<Definition>, n: usize) -> RunId {
        let submission = submission(definition, json!({"n": n}));
        self.coordinator.submit(submission).await.unwrap().run
    }

    /// Waits until this process has brought a run to its end.
    async fn ended(&self, run: &RunId) {
        if self.working.is_none() {
            return self.look_until_ended(run, Duration::from_millis(1)).await;
        }
        let (tell, told) = oneshot::channel();
        {
            let mut seats = self.seats.lock().unwrap();
            if let Some(Seat::Ended) = seats.remove(run) {
                return;
            }
            seats.insert(run.clone(), Seat::Taken(tell));
        }
        told.await.unwrap();
    }

    async fn load(&self, run: &RunId) -> Run {
        let run = self.coordinator.store.load_run(run).await;
        run.unwrap().unwrap()
    }
}

async fn work(parts: WorkerParts) -> Working {
    let options = WorkerOptions {
        machine: Machine::with_slots(SLOTS),
        run: None,
        grace: Duration::from_secs(5),
    };
    let worker = Worker::open(parts.clone(), options).await.unwrap();
    let services = Services::start(&ServiceParts {
        store: parts.store,
        committer: parts.committer,
        dispatcher: parts.dispatcher,
        session: worker.session().clone(),
        contact: worker.contact().clone(),
    });
    let stop = CancellationToken::new();
    Working {
        worker: tokio::spawn(worker.run(stop.clone())),
        stop,
        _services: services,
    }
}

fn submission(definition: &Arc<Definition>, input: Value) -> Submission {
    Submission {
        definition: definition.clone(),
        input,
        stores: StoreUrls {
            source: "file:///".to_owned(),
            media: "file:///".to_owned(),
        },
        queue: None,
        priority: 0,
        labels: Default::default(),
        force: true,
    }
}

async fn tell(committer: Committer, seats: Seats) {
    let mut stopped = committer.stopped();
    while let Ok(run) = stopped.recv().await {
        let mut seats = seats.lock().unwrap();
        match seats.remove(&run) {
            // Who waited may have given up.
            Some(Seat::Taken(told)) => drop(told.send(())),
            _ => drop(seats.insert(run, Seat::Ended)),
        }
    }
}
