use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use telecine_engine::objects::ObjectStore as _;
use telecine_object_stores::{FsStore, S3Store};
use telecine_store_postgres::PostgresStore;
use telecine_testkit::faults::FaultProxy;
use telecine_testkit::servers::{PostgresProxy, PostgresSchema, S3Place};
use telecine_testkit::writes::Watch;
use tokio::runtime::Runtime;

use super::place::LARGEST;
use super::points::Point;
use crate::s3;

/// A statement that changes something in the database.
pub(crate) const STATEMENT: &str = "statement";
/// A request that changes something in the object store.
pub(crate) const REQUEST: &str = "request";

/// A database on Postgres and results in S3, with proxies before both that see every write and kill whoever
/// makes it at the one that was chosen.
#[derive(Debug)]
pub(crate) struct Served {
    database: PostgresSchema,
    media: S3Place,
    postgres: PostgresProxy,
    s3: FaultProxy,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that were seen.
    points: Mutex<Vec<Point>>,
    /// The one to kill at.
    at: Mutex<Option<Point>>,
    /// Whom to kill; 0 before it was started.
    pid: AtomicI32,
}

impl State {
    /// Answers whether the writer goes on.
    fn see(&self, point: Point) -> bool {
        let at = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.as_ref() != Some(&point) {
            let mut points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
            points.push(point);
            return true;
        }
        // Whoever started it is about to say so.
        let pid = loop {
            match Pid::from_raw(self.pid.load(Ordering::Acquire)) {
                Some(pid) => break pid,
                None => std::thread::yield_now(),
            }
        };
        kill_process(pid, Signal::KILL).expect("it can be killed");
        false
    }
}

impl Served {
    /// Servers that hold what was published before in a directory.
    pub(crate) fn new(runtime: &Runtime, published: &Path) -> Self {
        let (database, media) = runtime.block_on(async {
            let database = PostgresSchema::create().await;
            let made = PostgresStore::open(database.url()).await;
            made.expect("the tables are made");
            (database, S3Place::create().await)
        });
        let served = Self {
            postgres: PostgresProxy::start(database.url()),
            s3: FaultProxy::start(&media.endpoint()),
            database,
            media,
            state: Arc::default(),
        };
        runtime.block_on(served.copy(published));
        served.postgres.watch(served.watch(STATEMENT));
        served.s3.watch(served.watch(REQUEST));
        served
    }

    /// Puts what a directory holds into the store of results.
    async fn copy(&self, published: &Path) {
        let (from, to) = (FsStore::new(published.to_owned()), self.objects());
        for (key, _) in from.list("").await.expect("what was published is listed") {
            let bytes = from.read_range(&key, 0, LARGEST).await;
            let put = to.put_bytes(&key, bytes.expect("an object")).await;
            put.expect("it is stored");
        }
    }

    fn watch(&self, kind: &'static str) -> Watch {
        let state = self.state.clone();
        Watch::new(move |number, moment| {
            let kind = kind.to_owned();
            state.see(Point {
                kind,
                number,
                moment,
                frame: 0,
            })
        })
    }

    /// Lets a command work here.
    pub(crate) fn reach(&self, command: &mut Command) {
        command
            .env("TELECINE_DATABASE_URL", self.postgres.url())
            .env("TELECINE_MEDIA_URL", self.media.url())
            .env("TELECINE_MEDIA_S3_ENDPOINT", self.s3.url())
            .env("TELECINE_MEDIA_S3_ACCESS_KEY", self.media.access_key())
            .env("TELECINE_MEDIA_S3_SECRET_KEY", self.media.secret_key());
    }

    /// Who is killed at which point.
    pub(crate) fn kill_at(&self, point: &Point) {
        let mut at = self.state.at.lock().unwrap_or_else(PoisonError::into_inner);
        *at = Some(point.clone());
    }

    pub(crate) fn started(&self, pid: u32) {
        let pid = i32::try_from(pid).expect("a process");
        self.state.pid.store(pid, Ordering::Release);
    }

    /// Nobody is killed any more.
    pub(crate) fn calm(&self) {
        let mut at = self.state.at.lock().unwrap_or_else(PoisonError::into_inner);
        *at = None;
    }

    /// What was seen so far.
    pub(crate) fn points(&self) -> Vec<Point> {
        let points = self.state.points.lock();
        points.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn store(&self) -> PostgresStore {
        let store = PostgresStore::open(self.database.url()).await;
        store.expect("the store opens")
    }

    /// The results, past the proxy.
    pub(crate) fn objects(&self) -> S3Store {
        s3::store(&self.media)
    }
}
