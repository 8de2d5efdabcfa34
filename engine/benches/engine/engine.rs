//! The engine as a process has it: coordinator, committer, worker and services.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use telecine_engine::activity::{Activity, ActivityError, Context, Registry};
use telecine_engine::committer::Committer;
use telecine_engine::coordinator::{Coordinator, Submission};
use telecine_engine::definition::{Definition, validate};
use telecine_engine::definitions::Definitions;
use telecine_engine::dispatch::{Dispatcher, InProcessDispatcher};
use telecine_engine::id::RunId;
use telecine_engine::queue::Machine;
use telecine_engine::run::StoreUrls;
use telecine_engine::services::{ServiceParts, Services};
use telecine_engine::store::Store;
use telecine_engine::worker::{Worker, WorkerError, WorkerOptions, WorkerParts};
use telecine_object_stores::FsStores;
use telecine_store_postgres::{PostgresDispatcher, PostgresStore};
use telecine_store_sqlite::SqliteStore;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

/// Steps that the worker runs at a time: as many as can be ready.
const SLOTS: usize = 512;

const WORKFLOW: &str = "
workflow: bench:chain
version: 1
input: {type: object, properties: {n: {type: integer}}}
steps:
  a: {activity: bench.echo@1, with: {n: '${{ input.n }}'}}
  b: {activity: bench.echo@1, with: {n: '${{ steps.a.output.n }}'}}
  c: {activity: bench.echo@1, with: {n: '${{ steps.b.output.n }}'}}
output: {n: '${{ steps.c.output.n }}'}
";

const FAN_OUT: &str = "
workflow: bench:fan-out
version: 1
input: {type: object, properties: {n: {type: integer}}}
steps:
  list: {activity: bench.list@1, with: {n: '${{ input.n }}'}}
  each: {activity: bench.leaf@1, for_each: steps.list.output.items, with: {n: '${{ each }}'}}
output: {}
";

/// Gives back what it is given.
#[derive(Debug)]
struct Echo;

/// The same under a name that not every worker has.
#[derive(Debug)]
struct Leaf;

/// Lists the numbers below one.
#[derive(Debug)]
struct List;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Numbers {
    items: Vec<i64>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Number {
    n: i64,
}

impl Activity for Echo {
    const NAME: &'static str = "bench.echo";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Gives back what it is given.";
    type Input = Number;
    type Output = Number;

    async fn run(&self, _: &Context, number: Number) -> Result<Number, ActivityError> {
        Ok(number)
    }
}

impl Activity for Leaf {
    const NAME: &'static str = "bench.leaf";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Gives back what it is given.";
    type Input = Number;
    type Output = Number;

    async fn run(&self, _: &Context, number: Number) -> Result<Number, ActivityError> {
        Ok(number)
    }
}

impl Activity for List {
    const NAME: &'static str = "bench.list";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Lists the numbers below one.";
    type Input = Number;
    type Output = Numbers;

    async fn run(&self, _: &Context, number: Number) -> Result<Numbers, ActivityError> {
        Ok(Numbers {
            items: (0..number.n).collect(),
        })
    }
}

/// What a worker has.
fn registry(with_leaf: bool) -> Registry {
    let mut registry = Registry::default();
    registry.register(Echo).unwrap();
    registry.register(List).unwrap();
    if with_leaf {
        registry.register(Leaf).unwrap();
    }
    registry
}

type Waiting = Arc<Mutex<HashMap<RunId, oneshot::Sender<()>>>>;

/// A running engine.
pub(crate) struct Engine {
    coordinator: Coordinator,
    definition: Arc<Definition>,
    fan_out: Arc<Definition>,
    waiting: Waiting,
    stop: CancellationToken,
    worker: JoinHandle<Result<(), WorkerError>>,
    _services: Services,
    _tasks: JoinSet<()>,
    _scratch: tempfile::TempDir,
}

impl Engine {
    /// `with_leaf`: whether the worker can run the steps of a fan-out.
    pub(crate) async fn on_sqlite(directory: &Path, with_leaf: bool) -> Self {
        let store = SqliteStore::open(directory).await.unwrap();
        let dispatcher = Arc::new(InProcessDispatcher::default());
        Self::start(Arc::new(store), dispatcher, with_leaf).await
    }

    pub(crate) async fn on_postgres(url: &str, with_leaf: bool) -> Self {
        let store = PostgresStore::open(url).await.unwrap();
        let dispatcher = PostgresDispatcher::start(url).unwrap();
        Self::start(Arc::new(store), Arc::new(dispatcher), with_leaf).await
    }

    async fn start(
        store: Arc<dyn Store>,
        dispatcher: Arc<dyn Dispatcher>,
        with_leaf: bool,
    ) -> Self {
        let definitions = Arc::new(Definitions::new(store.clone()));
        let committer = Committer::start(store.clone(), definitions.clone(), dispatcher.clone());
        let objects = Arc::new(FsStores);
        let define = |text| Arc::new(validate(text, &registry(true)).unwrap());
        let (definition, fan_out) = (define(WORKFLOW), define(FAN_OUT));
        let scratch = tempfile::tempdir().unwrap();
        let parts = WorkerParts {
            store: store.clone(),
            committer: committer.clone(),
            definitions: definitions.clone(),
            dispatcher: dispatcher.clone(),
            registry: Arc::new(registry(with_leaf)),
            objects: objects.clone(),
            scratch: PathBuf::from(scratch.path()),
        };
        let options = WorkerOptions {
            machine: Machine::with_slots(SLOTS),
            run: None,
            grace: Duration::from_secs(5),
        };
        let worker = Worker::open(parts, options).await.unwrap();
        let services = Services::start(&ServiceParts {
            store: store.clone(),
            committer: committer.clone(),
            dispatcher,
            session: worker.session().clone(),
            contact: worker.contact().clone(),
        });
        let waiting = Waiting::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(tell(committer.clone(), waiting.clone()));
        let stop = CancellationToken::new();
        Self {
            coordinator: Coordinator {
                store,
                definitions,
                committer,
                objects,
                large_source_bytes: u64::MAX,
            },
            definition,
            fan_out,
            waiting,
            worker: tokio::spawn(worker.run(stop.clone())),
            stop,
            _services: services,
            _tasks: tasks,
            _scratch: scratch,
        }
    }

    /// Runs workflows, so many at a time; answers how long each took from submission to its end.
    pub(crate) async fn run(&self, in_flight: usize, workflows: usize) -> Vec<Duration> {
        let slots = Arc::new(Semaphore::new(in_flight));
        let mut running = JoinSet::new();
        for n in 0..workflows {
            let slot = slots.clone().acquire_owned().await.unwrap();
            let (coordinator, waiting) = (self.coordinator.clone(), self.waiting.clone());
            let submission = submission(&self.definition, &json!({"n": n}));
            running.spawn(async move {
                let _slot = slot;
                let started = Instant::now();
                let submitted = coordinator.submit(submission).await.unwrap();
                wait(&coordinator, &waiting, &submitted.run).await;
                started.elapsed()
            });
        }
        running.join_all().await
    }

    /// Submits a fan-out.
    pub(crate) async fn fan_out(&self, input: &Value) -> RunId {
        let submission = submission(&self.fan_out, input);
        self.coordinator.submit(submission).await.unwrap().run
    }

    /// How many steps can be claimed.
    pub(crate) async fn waiting_steps(&self) -> u64 {
        let waiting = self.coordinator.store.count_waiting().await.unwrap();
        waiting.iter().map(|(_, steps)| steps).sum()
    }

    /// Waits for the end of a run.
    pub(crate) async fn wait(&self, run: &RunId) {
        wait(&self.coordinator, &self.waiting, run).await;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
    }
}

fn submission(definition: &Arc<Definition>, input: &Value) -> Submission {
    Submission {
        definition: definition.clone(),
        input: input.clone(),
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

async fn wait(coordinator: &Coordinator, waiting: &Waiting, run: &RunId) {
    let (ended, end) = oneshot::channel();
    waiting.lock().unwrap().insert(run.clone(), ended);
    // It may have ended before anybody waited.
    let header = coordinator.store.load_run(run).await.unwrap().unwrap();
    if !header.status.is_stopped() {
        end.await.unwrap();
    }
}

async fn tell(committer: Committer, waiting: Waiting) {
    let mut stopped = committer.stopped();
    while let Ok(run) = stopped.recv().await {
        let waiter = waiting.lock().unwrap().remove(&run);
        if let Some(waiter) = waiter {
            let _ = waiter.send(());
        }
    }
}
