//! An engine on a directory of its own, as an embedded process has it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::beside::Blend;
use crate::edits::published::Publish;
use crate::edits::rounds::Place;
use crate::reuse::Page;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};
use telecine_engine::activity::{Activity, ActivityError, Context, ErrorClass, Progress, Registry};
use telecine_engine::committer::Committer;
use telecine_engine::coordinator::{Coordinator, Executed, PlanError, Submission};
use telecine_engine::definition::{Definition, validate};
use telecine_engine::definitions::Definitions;
use telecine_engine::dispatch::{Bell, Dispatcher, Hint, InProcessDispatcher};
use telecine_engine::id::{RunId, SessionId};
use telecine_engine::objects::Artifact;
use telecine_engine::queue::Machine;
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{Snapshot, StoreUrls};
use telecine_engine::services::{ServiceParts, Services};
use telecine_engine::store::Store;
use telecine_engine::worker::{Contact, Worker, WorkerError, WorkerOptions, WorkerParts};
use telecine_object_stores::FsStores;
use telecine_store_postgres::PostgresStore;
use telecine_store_sqlite::SqliteStore;
use telecine_testkit::servers::{PostgresProxy, PostgresSchema};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No test of this suite waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Does what its input says. What it is made with is what a checkpoint has to fit.
#[derive(Debug)]
pub(crate) struct Act(&'static str);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Role {
    /// `succeed`, `panic`, `hang`, `fail`, `refuse`, `fill`, `forbid`, `block`, `count`, `tick`,
    /// `read`, `store`.
    what: String,
    /// Attempts that fail before one succeeds.
    #[serde(default)]
    times: u32,
    /// Returned on success.
    #[serde(default)]
    value: Value,
}

impl Activity for Act {
    const NAME: &'static str = "test.act";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Does what its input says.";
    type Input = Role;
    type Output = Value;

    fn tool_fingerprint(&self) -> String {
        self.0.to_owned()
    }

    async fn run(&self, ctx: &Context, role: Role) -> Result<Value, ActivityError> {
        let early = ctx.attempt() <= role.times;
        match role.what.as_str() {
            "panic" if early => panic!("the test wants it"),
            "fail" if early => Err(ActivityError::transient("wanted", "the test wants it")),
            "outage" if early => Err(ActivityError::new(
                ErrorClass::Dependency,
                "store_unreachable",
                "the test wants it",
            )),
            "refuse" => Err(ActivityError::input("bad_media", "the media is bad")),
            "fill" if early => {
                let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                Err(ActivityError::io("write a segment", full))
            }
            "hang" if early => {
                std::future::pending::<()>().await;
                Ok(Value::Null)
            }
            "forbid" if early => {
                let refused = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
                Err(ActivityError::io("write a segment", refused))
            }
            "block" => {
                std::thread::sleep(Duration::from_secs(role.value.as_u64().unwrap_or_default()));
                Ok(Value::Null)
            }
            "count" => count(ctx).await,
            "tick" => tick(ctx, role.value.as_u64().unwrap_or_default()).await,
            "read" => read(ctx, role).await,
            "store" => store(ctx, role).await,
            "leave" => leave(ctx, role).await,
            _ => Ok(role.value),
        }
    }
}

/// Reads the source `value.source`, replaced by `value.by` before that or after it, and then fails
/// if it is told to. Waits for a [`Gate`] in `value.gate`, `before` or after it has opened its source.
async fn read(ctx: &Context, role: Role) -> Result<Value, ActivityError> {
    let text = |name: &str| role.value[name].as_str().unwrap_or_default().to_owned();
    let (source, by) = (text("source"), text("by"));
    let gate = role.value["gate"].as_str().map(Gate::at);
    if let (Some(gate), true) = (&gate, role.value["before"] == true) {
        gate.pass(ctx.attempt_tag()).await;
    }
    let directory = ctx.source_file(&source).await?.with_file_name("");
    let replace = || std::fs::rename(directory.join(&by), directory.join(&source));
    let read = std::fs::read_to_string(directory.join(&source)).expect("a source");
    if !by.is_empty() && directory.join(&by).exists() {
        replace().expect("another file");
    }
    if let (Some(gate), false) = (&gate, role.value["before"] == true) {
        gate.pass(ctx.attempt_tag()).await;
    }
    if role.value["complains"] == true {
        return Err(ActivityError::input("no_audio", "there is no sound"));
    }
    Ok(Value::from(read))
}

/// A directory at which an attempt waits until the test lets it go on.
#[derive(Debug)]
pub(crate) struct Gate(PathBuf);

impl Gate {
    pub(crate) fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Tells that somebody waits, and waits.
    async fn pass(&self, who: &str) {
        std::fs::write(self.0.join(who), "").expect("a directory");
        until(|| self.0.join("open").exists()).await;
    }

    /// Waits until so many wait.
    pub(crate) async fn crowd(&self, wanted: usize) {
        until(|| std::fs::read_dir(&self.0).expect("a directory").count() == wanted).await;
    }

    /// Lets everybody go on.
    pub(crate) fn open(&self) {
        std::fs::write(self.0.join("open"), "").expect("a directory");
    }
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Makes an artifact at the key `value`.
async fn store(ctx: &Context, role: Role) -> Result<Value, ActivityError> {
    let key = role.value.as_str().unwrap_or_default();
    ctx.put_bytes(key, "text", "text/plain").await?;
    if ctx.attempt() <= role.times {
        ctx.save_checkpoint(&1, None, Vec::new()).await?;
        return Err(ActivityError::transient("wanted", "the test wants it"));
    }
    Ok(role.value)
}

/// As [`store`], but the engine does not learn what the store calls the object.
async fn leave(ctx: &Context, role: Role) -> Result<Value, ActivityError> {
    let key = role.value.as_str().unwrap_or_default();
    ctx.media().put_bytes(key, "text".into()).await?;
    let left = Artifact {
        key: key.to_owned(),
        size: 4,
        sha256: "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1".to_owned(),
        media_type: "text/plain".to_owned(),
    };
    ctx.save_checkpoint(&1, None, vec![left]).await?;
    if ctx.attempt() <= role.times {
        return Err(ActivityError::transient("wanted", "the test wants it"));
    }
    Ok(role.value)
}

/// Counts to five, with a checkpoint after each number, and waits at three until the worker
/// drains, unless an earlier attempt did that.
async fn count(ctx: &Context) -> Result<Value, ActivityError> {
    let from = ctx.checkpoint::<u64>()?.unwrap_or(0);
    for number in from + 1..=5 {
        ctx.save_checkpoint(&number, None, Vec::new()).await?;
        ctx.progress(Progress {
            counter: number,
            ..Progress::default()
        });
        if number == 3 && from == 0 {
            ctx.draining().await;
            return Err(ActivityError::cancelled());
        }
    }
    Ok(json!({"from": from}))
}

/// Saves a checkpoint ten times a second.
async fn tick(ctx: &Context, times: u64) -> Result<Value, ActivityError> {
    let from = ctx.checkpoint::<u64>()?.unwrap_or(0);
    for number in from + 1..=times {
        if ctx.is_draining() {
            return Err(ActivityError::cancelled());
        }
        ctx.save_checkpoint(&number, None, Vec::new()).await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(json!({"from": from}))
}

/// A database and a directory, on which several processes may work.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    root: Arc<tempfile::TempDir>,
    /// Where the database is, if not in the directory.
    postgres: Option<Arc<PostgresSchema>>,
    /// On the way to it.
    proxy: Option<Arc<PostgresProxy>>,
}

impl Home {
    /// SQLite.
    pub(crate) async fn sqlite() -> Self {
        Self {
            root: Arc::new(tempfile::tempdir().expect("a directory")),
            postgres: None,
            proxy: None,
        }
    }

    /// Postgres.
    pub(crate) async fn postgres() -> Self {
        Self {
            postgres: Some(Arc::new(PostgresSchema::create().await)),
            ..Self::sqlite().await
        }
    }

    /// A Postgres that nobody else uses meanwhile.
    pub(crate) async fn quiet_postgres() -> Self {
        Self {
            postgres: Some(Arc::new(PostgresSchema::create_on_quiet_server().await)),
            ..Self::sqlite().await
        }
    }

    /// The schema on Postgres.
    pub(crate) fn schema(&self) -> &PostgresSchema {
        self.postgres.as_ref().expect("it is on Postgres")
    }

    /// Postgres behind a proxy of its own.
    pub(crate) async fn postgres_behind_a_proxy() -> Self {
        let schema = PostgresSchema::create().await;
        Self {
            proxy: Some(Arc::new(PostgresProxy::start(schema.url()))),
            postgres: Some(Arc::new(schema)),
            ..Self::sqlite().await
        }
    }

    /// The same without the proxy.
    pub(crate) fn direct(&self) -> Self {
        Self {
            proxy: None,
            ..self.clone()
        }
    }

    /// The proxy.
    pub(crate) fn proxy(&self) -> &PostgresProxy {
        self.proxy.as_ref().expect("there is a proxy")
    }

    /// Does something behind the back of the store, which is there already.
    pub(crate) async fn execute(&self, sql: &str) {
        if let Some(schema) = &self.postgres {
            return schema.execute(sql).await;
        }
        let file = self.root.path().join("telecine.db");
        let mut database = SqliteConnection::connect(&file.display().to_string())
            .await
            .expect("a database");
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let done = sqlx::raw_sql(sql).execute(&mut database).await;
        done.expect("the statement is good");
    }

    /// What a query answers, which is a text.
    pub(crate) async fn text(&self, sql: &str) -> String {
        if let Some(schema) = &self.postgres {
            return schema.text(sql).await.expect("a text");
        }
        let file = self.root.path().join("telecine.db");
        let mut database = SqliteConnection::connect(&file.display().to_string())
            .await
            .expect("a database");
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let text = sqlx::query_scalar(sql).fetch_one(&mut database).await;
        text.expect("a text")
    }

    /// The one that the database here understands.
    pub(crate) fn either<T>(&self, sqlite: T, postgres: T) -> T {
        match self.postgres {
            None => sqlite,
            Some(_) => postgres,
        }
    }

    async fn store(&self) -> Arc<dyn Store> {
        match &self.postgres {
            Some(schema) => {
                let direct = schema.url();
                let url = self.proxy.as_ref().map_or(direct, |proxy| proxy.url());
                let opened = PostgresStore::open(url).await;
                Arc::new(opened.expect("a store"))
            }
            None => {
                let opened = SqliteStore::open(self.root.path()).await;
                Arc::new(opened.expect("a store"))
            }
        }
    }
}

/// Runs tests, which take a [`Home`], on every store.
macro_rules! on_every_store {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                super::$name(crate::stage::Home::sqlite().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() {
                super::$name(crate::stage::Home::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_every_store;

#[derive(Debug)]
struct Patient {
    bell: InProcessDispatcher,
    patience: Duration,
}

impl Dispatcher for Patient {
    fn ring(&self, hints: &[Hint]) {
        self.bell.ring(hints);
    }

    fn listen(&self) -> Box<dyn Bell> {
        self.bell.listen()
    }

    fn patience(&self) -> Duration {
        self.patience
    }
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) coordinator: Coordinator,
    pub(crate) parts: WorkerParts,
    pub(crate) home: Home,
}

/// A worker that runs in the background.
#[derive(Debug)]
pub(crate) struct Running {
    session: SessionId,
    stop: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
    services: Services,
}

impl Running {
    /// Its session.
    pub(crate) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Looks at the objects of plans as well.
    pub(crate) fn prove_plans(&mut self, stage: &Stage) {
        self.services.look_at_objects(&stage.coordinator);
    }

    /// Stops it as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task
            .await
            .expect("no panic")
            .expect("the worker stops in order");
    }

    /// Lets it end as `kill -9` does, and be found dead at once.
    pub(crate) async fn kill(self, stage: &Stage) {
        self.task.abort();
        let _ = self.task.await;
        let committer = &stage.parts.committer;
        let ended = committer.end_session(&self.session).await;
        ended.expect("the session is ended");
    }

    /// Leaves it to the end of the test: it cannot stop in order.
    pub(crate) fn abandon(self) {
        self.task.abort();
    }
}

impl Stage {
    /// A process of its own.
    pub(crate) async fn on(home: Home) -> Self {
        Self::with_tool(home, "tool 1").await
    }

    /// A process whose activity uses another version of its tool.
    pub(crate) async fn with_tool(home: Home, tool: &'static str) -> Self {
        Self::with(home, tool, Arc::new(InProcessDispatcher::default())).await
    }

    /// A process with another doorbell.
    pub(crate) async fn with_bell(home: Home, dispatcher: Arc<dyn Dispatcher>) -> Self {
        Self::with(home, "tool 1", dispatcher).await
    }

    /// A process whose worker waits so long for a ring, as one does that other processes can ring.
    pub(crate) async fn with_patience(home: Home, patience: Duration) -> Self {
        let bell = InProcessDispatcher::default();
        Self::with_bell(home, Arc::new(Patient { bell, patience })).await
    }

    async fn with(home: Home, tool: &'static str, dispatcher: Arc<dyn Dispatcher>) -> Self {
        let store = home.store().await;
        let definitions = Arc::new(Definitions::new(store.clone()));
        let committer = Committer::start(store.clone(), definitions.clone(), dispatcher.clone());
        let objects = Arc::new(FsStores);
        let mut registry = Registry::default();
        registry.register(Act(tool)).expect("registered once");
        registry.register(Page(tool)).expect("registered once");
        registry.register(Blend).expect("registered once");
        registry.register(Place).expect("registered once");
        registry.register(Publish).expect("registered once");
        let parts = WorkerParts {
            store: store.clone(),
            committer: committer.clone(),
            definitions: definitions.clone(),
            dispatcher,
            registry: Arc::new(registry),
            objects: objects.clone(),
            scratch: home.root.path().join("scratch"),
        };
        let coordinator = Coordinator {
            store,
            definitions,
            committer,
            objects,
            proven: Arc::default(),
            registry: parts.registry.clone(),
            workflows: Arc::default(),
            large_source_bytes: u64::MAX,
        };
        Self {
            coordinator,
            parts,
            home,
        }
    }

    /// Where sources and results are.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.home.root.path()
    }

    /// Starts a worker with two slots, and the services.
    pub(crate) async fn work(&self) -> Running {
        self.work_on(Machine::with_slots(2)).await
    }

    /// Starts a worker that takes nothing, and the services.
    pub(crate) async fn idle(&self) -> Running {
        self.work_on(Machine::with_slots(0)).await
    }

    /// Starts a worker on another machine, and the services.
    pub(crate) async fn work_on(&self, machine: Machine) -> Running {
        self.work_for(machine, None).await
    }

    /// Starts a worker that may be for the steps of one run only, and the services.
    pub(crate) async fn work_for(&self, machine: Machine, run: Option<RunId>) -> Running {
        let options = WorkerOptions {
            machine,
            run,
            grace: PATIENCE,
        };
        let worker = Worker::open(self.parts.clone(), options)
            .await
            .expect("a session");
        let services = Services::start(&self.service_parts(worker.session(), worker.contact()));
        let stop = CancellationToken::new();
        let session = worker.session().clone();
        let task = tokio::spawn(worker.run(stop.clone()));
        Running {
            session,
            stop,
            task,
            services,
        }
    }

    /// Starts the services of a process without a worker.
    pub(crate) fn serve(&self) -> Services {
        let parts = self.service_parts(&SessionId::generate(), &Contact::default());
        Services::without_worker(&parts)
    }

    fn service_parts(&self, session: &SessionId, contact: &Contact) -> ServiceParts {
        ServiceParts {
            store: self.parts.store.clone(),
            committer: self.parts.committer.clone(),
            dispatcher: self.parts.dispatcher.clone(),
            session: session.clone(),
            contact: contact.clone(),
        }
    }

    /// Submits a workflow whose `steps` are given as YAML flow text.
    pub(crate) async fn submit(&self, steps: &str) -> RunId {
        self.submit_with(steps, json!({})).await
    }

    /// A version of a workflow whose `steps` are given as YAML flow text.
    pub(crate) fn define(&self, version: u32, steps: &str) -> Definition {
        self.define_giving((version, steps), "{}")
    }

    /// The same with an output.
    pub(crate) fn define_giving(&self, (version, steps): (u32, &str), output: &str) -> Definition {
        let text = format!(
            "workflow: test:act\nversion: {version}\ninput: {{type: object, properties: {{source: {{type: string}}}}}}\n\
             steps:\n{steps}\noutput: {output}\n"
        );
        validate(&text, self.parts.registry.as_ref()).unwrap_or_else(|errors| panic!("{errors:?}"))
    }

    /// Submits a workflow with an input of text members.
    pub(crate) async fn submit_with(&self, steps: &str, input: Value) -> RunId {
        self.submit_definition(self.define(1, steps), input).await
    }

    /// Submits a workflow with an output.
    pub(crate) async fn submit_giving(&self, steps: &str, output: &str) -> RunId {
        let definition = self.define_giving((1, steps), output);
        self.submit_definition(definition, json!({})).await
    }

    /// Submits a definition.
    pub(crate) async fn submit_definition(&self, definition: Definition, input: Value) -> RunId {
        let url = format!("file://{}", self.home.root.path().display());
        let submission = Submission {
            definition: Arc::new(definition),
            input,
            stores: StoreUrls {
                source: url.clone(),
                media: url,
            },
            queue: None,
            priority: 0,
            labels: Default::default(),
            force: false,
        };
        self.coordinator
            .submit(submission)
            .await
            .expect("accepted")
            .run
    }

    /// Executes a plan as it was shown.
    pub(crate) async fn execute(&self, plan: &RetryPlan) -> Result<Executed, PlanError> {
        let seen = plan.seen();
        self.coordinator.execute(&plan.job, &seen, "a test").await
    }

    /// Waits until a run looks as wanted.
    pub(crate) async fn until(&self, run: &RunId, wanted: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let seen = async {
            loop {
                match self.coordinator.store.snapshot(run).await {
                    Ok(snapshot) if wanted(&snapshot) => return snapshot,
                    // A runtime that was blocked has heard no answer.
                    Err(error) if !error.passes() => panic!("a run: {error}"),
                    _ => {}
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, seen).await {
            Ok(snapshot) => snapshot,
            Err(_) => panic!(
                "the run does not get there: {:#?}",
                self.coordinator.store.snapshot(run).await
            ),
        }
    }

    /// Waits until a run stops.
    pub(crate) async fn stopped(&self, run: &RunId) -> Snapshot {
        self.until(run, |snapshot| snapshot.run.status.is_stopped())
            .await
    }
}

/// Classes of the errors of a step's attempts.
pub(crate) fn classes(snapshot: &Snapshot, step: &str) -> Vec<ErrorClass> {
    let record = snapshot
        .steps
        .iter()
        .find(|record| record.step.id.to_string() == step);
    let attempts = &record.expect("the step exists").attempts;
    attempts
        .iter()
        .filter_map(|attempt| Some(attempt.error.as_ref()?.class))
        .collect()
}
