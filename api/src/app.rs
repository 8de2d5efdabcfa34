//! The composition root: the one place that knows every concrete type.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use telecine_dispatch_apalis::ApalisDispatcher;
use telecine_engine::activity::Registry;
use telecine_engine::committer::{CommitError, Committer};
use telecine_engine::coordinator::Coordinator;
use telecine_engine::definition::Definition;
use telecine_engine::definitions::Definitions;
use telecine_engine::dispatch::{Dispatcher, InProcessDispatcher};
use telecine_engine::id::{RunId, SessionId};
use telecine_engine::objects::ObjectStores;
use telecine_engine::queue::Capability;
use telecine_engine::run::{RunStatus, Snapshot, StepRecord, StepStatus};
use telecine_engine::services::{self, ServiceParts, Services};
use telecine_engine::store::{Outline, Store, StoreError, Window};
use telecine_engine::worker::{Contact, Worker, WorkerError, WorkerOptions, WorkerParts};
use telecine_store_postgres::{PostgresDispatcher, PostgresStore};
use telecine_store_sqlite::SqliteStore;

use crate::builder::AppBuilder;
use crate::config::{Config, Database};
use crate::document::{Sources, Whole};
use crate::machine::{self, Pools};

/// What processes that share a Redis call their doorbell. Deployments that share one use databases of
/// different numbers.
const DOORBELL: &str = "jobs";
/// How long a doorbell gets to connect before its trouble is told.
const CONNECT: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// What workers can run, if a step waits for one.
async fn offers(
    store: &Arc<dyn Store>,
    snapshot: &Snapshot,
) -> Result<Vec<Capability>, StoreError> {
    let ready = |record: &StepRecord| record.step.status == StepStatus::Ready;
    match snapshot.steps.iter().any(ready) {
        true => store.offers().await,
        false => Ok(Vec::new()),
    }
}

/// A database, the same for those who look at it over HTTP, and the doorbell that comes with it.
struct Opened {
    store: Arc<dyn Store>,
    visitors: Arc<dyn Store>,
    dispatcher: Arc<dyn Dispatcher>,
}

async fn open(database: &Database) -> Result<Opened, StoreError> {
    Ok(match database {
        Database::Directory(directory) => {
            let store = SqliteStore::open(directory).await?;
            Opened {
                visitors: Arc::new(store.for_visitors()),
                store: Arc::new(store),
                dispatcher: Arc::new(InProcessDispatcher::default()),
            }
        }
        Database::Postgres(url, connections) => {
            let store = PostgresStore::open_with(url, *connections).await?;
            Opened {
                visitors: Arc::new(store.for_visitors()),
                store: Arc::new(store),
                dispatcher: Arc::new(PostgresDispatcher::start(url)?),
            }
        }
    })
}

/// telecine: the engine on one database.
///
/// [`App::builder`] makes a program of it.
#[derive(Debug, Clone)]
pub struct App {
    /// Accepts and changes jobs; holds the database, the definitions and the object stores.
    pub(crate) coordinator: Coordinator,
    visitors: Arc<dyn Store>,
    dispatcher: Arc<dyn Dispatcher>,
    /// After which time jobs are forgotten that have stopped.
    retention: Option<Duration>,
}

impl App {
    /// A program with telecine's commands, activities and workflows, to which others are added.
    pub fn builder() -> AppBuilder {
        AppBuilder::new()
    }

    /// Opens the database; a data directory is made if it is missing. Sources and results are in the
    /// stores that `objects` opens.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn open(
        database: &Database,
        objects: Arc<dyn ObjectStores>,
    ) -> Result<Self, StoreError> {
        Ok(Self::new(open(database).await?, objects))
    }

    /// The same with a doorbell on Redis, which its processes share.
    ///
    /// # Errors
    /// What the database says, or that the address of Redis is none. A Redis that is not there is none.
    pub(crate) async fn open_with_redis(
        database: &Database,
        redis: &str,
        objects: Arc<dyn ObjectStores>,
    ) -> Result<Self, StoreError> {
        let opened = open(database).await?;
        let dispatcher = ApalisDispatcher::start(redis, DOORBELL, opened.dispatcher)
            .map_err(|error| StoreError::Incompatible(error.to_string()))?;
        let opened = Opened {
            dispatcher: Arc::new(dispatcher),
            ..opened
        };
        Ok(Self::new(opened, objects))
    }

    fn new(opened: Opened, objects: Arc<dyn ObjectStores>) -> Self {
        let Opened {
            store,
            visitors,
            dispatcher,
        } = opened;
        let definitions = Arc::new(Definitions::new(store.clone()));
        let committer = Committer::start(store.clone(), definitions.clone(), dispatcher.clone());
        Self {
            coordinator: Coordinator {
                store,
                definitions,
                committer,
                objects,
                proven: Arc::default(),
                registry: Arc::default(),
                workflows: Arc::default(),
                large_source_bytes: u64::MAX,
            },
            visitors,
            dispatcher,
            retention: None,
        }
    }

    /// What is wrong with the doorbell, in one sentence: steps begin later, and nothing else.
    pub(crate) fn doorbell_trouble(&self) -> Option<String> {
        self.dispatcher.trouble()
    }

    /// The same once it had the time to connect.
    pub(crate) async fn doorbell_trouble_at_start(&self) -> Option<String> {
        let began = Instant::now();
        while self.dispatcher.trouble().is_some() && began.elapsed() < CONNECT {
            tokio::time::sleep(LOOK).await;
        }
        self.dispatcher.trouble()
    }

    /// The same with the activities that are installed here: what is asked of retry plans is checked against
    /// them.
    pub(crate) fn with_activities(mut self, registry: Arc<Registry>) -> Self {
        self.coordinator.registry = registry;
        self
    }

    /// The same with the workflows that are installed here: what retry plans may give a job instead of its own.
    pub(crate) fn with_workflows(mut self, workflows: &[Arc<Definition>]) -> Self {
        self.coordinator.workflows = workflows.into();
        self
    }

    /// The same with jobs on sources of that size or more in the queue for large ones.
    pub(crate) fn with_large_sources_from(mut self, bytes: u64) -> Self {
        self.coordinator.large_source_bytes = bytes;
        self
    }

    /// The same where jobs are forgotten so long after they stopped.
    pub(crate) fn with_retention(mut self, retention: Option<Duration>) -> Self {
        self.retention = retention;
        self
    }

    /// Whether there is a database to look into, so that looking makes no directory.
    pub(crate) fn is_there(database: &Database) -> bool {
        match database {
            Database::Directory(directory) => telecine_store_sqlite::holds_database(directory),
            Database::Postgres(..) => true,
        }
    }

    /// The database.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.coordinator.store
    }

    /// The database for those who look at it from outside: however many do, the engine does not wait for
    /// them.
    pub(crate) fn visitors(&self) -> &Arc<dyn Store> {
        &self.visitors
    }

    /// Ends the sessions of dead processes, so that what they ran can go on at once.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn sweep(&self) -> Result<(), CommitError> {
        // Of a process that has just begun, only proof counts.
        let parts = self.service_parts(&SessionId::generate(), Contact::default());
        services::end_dead_sessions(&parts).await
    }

    /// What the document of a job is made of.
    ///
    /// # Errors
    /// [`StoreError::NoRun`], or what the database says.
    pub(crate) async fn job(&self, job: &RunId) -> Result<Sources, StoreError> {
        let snapshot = self.store().snapshot(job).await?;
        let definitions = &self.coordinator.definitions;
        let offers = offers(self.store(), &snapshot).await?;
        Ok(Sources {
            definition: definitions.get(&snapshot.run.definition).await?,
            plan: self.store().load_plan(job).await?,
            now: chrono::Utc::now(),
            offers,
            snapshot,
            whole: None,
        })
    }

    /// The same of some steps only, for a visitor.
    ///
    /// # Errors
    /// [`StoreError::NoRun`], or what the database says.
    pub(crate) async fn part_of_job(
        &self,
        job: &RunId,
        window: &Window,
    ) -> Result<Sources, StoreError> {
        let Outline {
            snapshot,
            total,
            last,
        } = self.visitors.outline(job, window).await?;
        let definitions = &self.coordinator.definitions;
        // Of the plan, what is shown.
        let stopped = snapshot.run.status.is_stopped();
        let shown =
            stopped && snapshot.run.status != RunStatus::Succeeded && *window == Window::Head;
        let head = match shown {
            true => self.visitors.plan_head(job).await?,
            false => None,
        };
        let planned = head.as_ref().map_or(0, |head| head.total);
        Ok(Sources {
            definition: definitions.get(&snapshot.run.definition).await?,
            plan: head.map(|head| head.plan),
            now: chrono::Utc::now(),
            offers: offers(&self.visitors, &snapshot).await?,
            snapshot,
            whole: Some(Whole {
                total,
                last,
                planned,
            }),
        })
    }

    fn service_parts(&self, session: &SessionId, contact: Contact) -> ServiceParts {
        ServiceParts {
            store: self.coordinator.store.clone(),
            committer: self.coordinator.committer.clone(),
            dispatcher: self.dispatcher.clone(),
            session: session.clone(),
            contact,
        }
    }

    /// Opens a worker session for the steps of one run.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn open_worker(
        &self,
        config: &Config,
        registry: &Arc<Registry>,
        run: &RunId,
    ) -> Result<Worker, WorkerError> {
        let options = WorkerOptions {
            machine: machine::machine(config, Pools::One),
            run: Some(run.clone()),
            grace: config.worker_shutdown_timeout,
        };
        self.open_worker_in(&config.scratch_dir, registry, options)
            .await
    }

    /// Opens a worker session whose attempts write below `scratch` while they run.
    ///
    /// # Errors
    /// What the database says.
    pub(crate) async fn open_worker_in(
        &self,
        scratch: &Path,
        registry: &Arc<Registry>,
        options: WorkerOptions,
    ) -> Result<Worker, WorkerError> {
        let Coordinator {
            store,
            definitions,
            committer,
            objects,
            ..
        } = self.coordinator.clone();
        let parts = WorkerParts {
            store,
            committer,
            definitions,
            dispatcher: self.dispatcher.clone(),
            registry: registry.clone(),
            objects,
            scratch: scratch.to_owned(),
        };
        Worker::open(parts, options).await
    }

    /// Starts the background loops of a process without a worker.
    pub(crate) fn start_services_without_worker(&self) -> Services {
        let parts = self.service_parts(&SessionId::generate(), Contact::default());
        self.look_after(Services::without_worker(&parts))
    }

    /// Starts the background loops of a process with that worker.
    pub(crate) fn start_services(&self, worker: &Worker) -> Services {
        let parts = self.service_parts(worker.session(), worker.contact().clone());
        self.look_after(Services::start(&parts))
    }

    fn look_after(&self, mut services: Services) -> Services {
        services.look_at_objects(&self.coordinator);
        if let Some(age) = self.retention {
            services.forget_runs(&self.coordinator, age);
        }
        services
    }
}
