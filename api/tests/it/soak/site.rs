//! The processes, the servers that they use, and the jobs that they were given.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rustix::process::Signal;
use serde_json::{Value, json};
use telecine_engine::id::{PlanId, RunId};
use telecine_engine::objects::ObjectStore as _;
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{RecordedEvent, RunStatus, Snapshot};
use telecine_engine::store::Store as _;
use telecine_store_postgres::PostgresStore;
use telecine_testkit::faults::{Fault, FaultProxy};
use telecine_testkit::servers::{PostgresSchema, S3Place};
use tokio::runtime::Runtime;

use super::plan::{Dice, Plan, Trouble};
use super::stops::Stop;
use crate::ffmpeg;
use crate::http::client::Request;
use crate::http::process::Server;
use crate::product::Workplace;
use crate::s3;

/// Says how the database of a soak is restarted.
const RESTART_POSTGRES: &str = "TELECINE_SOAK_RESTART_POSTGRES";
/// The socket of the Redis of a soak. Without it there is none.
const REDIS: &str = "TELECINE_SOAK_REDIS";
/// Says how it is killed and started again.
const RESTART_REDIS: &str = "TELECINE_SOAK_RESTART_REDIS";
/// Jobs under way while no number of them is set.
const UNDER_WAY: usize = 4;
/// Longer than a lease, the sweep that finds it over, and whatever a busy machine adds.
const PAUSE: Duration = Duration::from_secs(12);
/// Requests that a fault of an object store hits, and for how long it hits any.
const FAULTY_REQUESTS: (usize, Duration) = (20, Duration::from_secs(30));
/// How long the session of one that is gone is there at most: a lease, an outage of the database before it can be
/// found over, and whatever a busy machine adds.
const REMEMBERED: Duration = Duration::from_secs(60);
/// More than any of these jobs has.
const EVENTS: usize = 100_000;
/// A job that has to be retried more often than this never ends.
const MOST_RETRIES: usize = 20;
/// A worker that was told to stop has reached a checkpoint by then.
const STOP: Duration = Duration::from_secs(120);

/// A worker that is there no more.
#[derive(Debug)]
pub(super) struct Loss {
    /// Its session, if it had one.
    pub(super) session: Option<String>,
    pub(super) at: DateTime<Utc>,
    pub(super) trouble: Trouble,
    /// When its process was gone, if it was waited for.
    pub(super) gone: Option<DateTime<Utc>>,
}

/// A worker, and the scratch directory of the machine that it is on.
struct Worker {
    process: Server,
    scratch: PathBuf,
}

pub(super) struct Site {
    place: Workplace,
    pub(super) runtime: Runtime,
    pub(super) database: PostgresSchema,
    source: S3Place,
    media: S3Place,
    /// Before both stores, in that order.
    proxies: [FaultProxy; 2],
    servers: Vec<Server>,
    workers: Vec<Worker>,
    paused: Vec<(Instant, Worker)>,
    machines: usize,
    clips: Vec<String>,
    /// Address of each job that was accepted, by the key of its request.
    pub(super) jobs: BTreeMap<String, String>,
    ended: BTreeMap<String, Value>,
    /// Where each job stopped short before it was retried by hand.
    stops: BTreeMap<String, Vec<Stop>>,
    pub(super) losses: Vec<Loss>,
}

impl Site {
    pub(super) fn open(plan: &Plan) -> Self {
        if plan.without_redis {
            assert!(
                !plan.troubles.contains(&Trouble::RestartRedis),
                "without Redis means that nobody starts it again"
            );
            redis("SHUTDOWN NOSAVE");
        }
        let runtime = Runtime::new().expect("a runtime");
        let (database, source, media) = runtime.block_on(async {
            let database = PostgresSchema::create().await;
            (database, S3Place::create().await, S3Place::create().await)
        });
        let mut site = Self {
            place: Workplace::new(),
            proxies: [&source, &media].map(|place| FaultProxy::start(&place.endpoint())),
            runtime,
            database,
            source,
            media,
            servers: Vec::new(),
            workers: Vec::new(),
            paused: Vec::new(),
            machines: 0,
            clips: Vec::new(),
            jobs: BTreeMap::new(),
            ended: BTreeMap::new(),
            stops: BTreeMap::new(),
            losses: Vec::new(),
        };
        for (proxy, n) in site.proxies.iter().zip(0..) {
            proxy.mix(plan.seed + n);
        }
        site.clips = site.upload(plan);
        for _ in 0..2 {
            let server = Server::start(site.command("server"));
            site.servers.push(server);
        }
        for _ in 0..plan.workers {
            site.start_worker();
        }
        site
    }

    /// Puts the clips into the store of sources; answers their keys.
    fn upload(&self, plan: &Plan) -> Vec<String> {
        let mut files = match &plan.clips {
            Some(directory) => files(directory),
            None => vec![self.clip()],
        };
        files.sort();
        assert!(!files.is_empty(), "there are no clips to work on");
        let store = s3::store(&self.source);
        let upload = |file: PathBuf| {
            let key = file.file_name().and_then(|name| name.to_str());
            let key = key.expect("a name in UTF-8").to_owned();
            // What is stored is gone from where it was, and the clips are somebody's. A file copied onto
            // itself would be empty.
            let copy = self.place.path().join(format!("copy-{key}"));
            std::fs::copy(&file, &copy).expect("a copy");
            let put = store.put_file(&key, &copy);
            self.runtime.block_on(put).expect("the clip is stored");
            key
        };
        files.into_iter().map(upload).collect()
    }

    /// Twelve seconds with sound: two segments of each rendition.
    fn clip(&self) -> PathBuf {
        let path = self.place.path().join("clip.mp4");
        let file = path.to_str().expect("a path in UTF-8");
        ffmpeg::ffmpeg(&[
            "-f",
            "lavfi",
            "-i",
            "testsrc2=size=320x180:rate=25:duration=12",
            "-f",
            "lavfi",
            "-i",
            "sine=frequency=440:duration=12",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-g",
            "25",
            "-c:a",
            "aac",
            file,
        ]);
        path
    }

    fn command(&self, mode: &str) -> Command {
        let mut command = self.place.telecine(&["serve", "--mode", mode]);
        command
            .env("TELECINE_LISTEN", "127.0.0.1:0")
            .env("TELECINE_WORKER_METRICS_PORT", "0")
            .env("TELECINE_WORKER_CONCURRENCY", "2")
            .env("TELECINE_DATABASE_URL", self.database.url());
        if let Ok(socket) = std::env::var(REDIS) {
            command.env("TELECINE_REDIS_URL", format!("redis+unix://{socket}"));
        }
        let endpoints = [("SOURCE", &self.source), ("MEDIA", &self.media)];
        for ((role, place), proxy) in endpoints.into_iter().zip(&self.proxies) {
            let set = [
                ("URL", place.url()),
                ("S3_ENDPOINT", proxy.url()),
                ("S3_ACCESS_KEY", place.access_key()),
                ("S3_SECRET_KEY", place.secret_key()),
            ];
            command.envs(set.map(|(name, value)| (format!("TELECINE_{role}_{name}"), value)));
        }
        command
    }

    /// Starts a worker on a machine of its own.
    fn start_worker(&mut self) {
        self.machines += 1;
        let scratch = format!("scratch-{}", self.machines);
        self.start_worker_at(self.place.path().join(scratch));
    }

    /// Starts a worker where another one was.
    fn start_worker_at(&mut self, scratch: PathBuf) {
        let mut command = self.command("worker");
        command
            .env("TELECINE_SCRATCH_DIR", &scratch)
            .env("TELECINE_WORKER_METRICS_PORT", free_port().to_string());
        let process = Server::start(command);
        self.workers.push(Worker { process, scratch });
    }

    /// Submits what is to be under way now. What was not answered is sent again under the same key.
    pub(super) fn submit(&mut self, plan: &Plan) {
        let wanted = plan.jobs.unwrap_or(self.ended.len() + UNDER_WAY);
        while self.jobs.len() < wanted {
            let n = self.jobs.len();
            let request = json!({
                "type": plan.workflow,
                "source": self.clips[n % self.clips.len()],
                "hash": format!("soak{n:08}"),
            });
            let key = format!("job-{n}");
            let request = Request::post("/api/jobs", &request).header("idempotency-key", &key);
            let answer = request.send(self.servers[n % self.servers.len()].address);
            if answer.status != 202 && answer.status != 200 {
                eprintln!("{key}: {} {}", answer.status, answer.text());
                return;
            }
            let job = answer.json()["id"].as_str().map(str::to_owned);
            let job = job.unwrap_or_else(|| panic!("no job: {}", answer.text()));
            self.jobs.insert(key, job);
        }
    }

    pub(super) fn accepted(&self) -> usize {
        self.jobs.len()
    }

    /// Jobs that have not ended, as far as they can be asked.
    pub(super) fn unfinished(&mut self) -> usize {
        let open: Vec<_> = self
            .jobs
            .values()
            .filter(|job| !self.ended.contains_key(*job))
            .cloned()
            .collect();
        for job in open {
            let answer = self.get(&format!("/api/jobs/{job}"));
            let Some(document) = answer else { continue };
            match document["status"].as_str().unwrap_or_default() {
                "queued" | "running" | "waiting" => {}
                "failed" | "held" => self.retry(&job),
                _ => drop(self.ended.insert(job, document)),
            }
        }
        self.jobs.len() - self.ended.len()
    }

    /// Does what whoever runs the service would do, if what fails here explains why the job stopped.
    fn retry(&mut self, job: &str) {
        let Some(snapshot) = self.snapshot(job) else {
            return;
        };
        if ![RunStatus::Failed, RunStatus::Held].contains(&snapshot.run.status) {
            return;
        }
        let stop = Stop::explained(&snapshot).unwrap_or_else(|why| panic!("{why}"));
        let stops = self.stops.entry(job.to_owned()).or_default();
        if stops.last() != Some(&stop) {
            eprintln!("{job} is retried by hand: {}", stop.why);
            stops.push(stop);
        }
        assert!(stops.len() <= MOST_RETRIES, "{job}: {stops:#?}");
        let retry = Request::post(&format!("/api/jobs/{job}/retry"), &json!({}));
        let answer = retry.send(self.servers[0].address);
        // It may be on its way already.
        assert!(
            [202, 409, 503].contains(&answer.status),
            "{}",
            answer.text()
        );
    }

    /// Where a job stopped short, the first first.
    pub(super) fn stops(&self, job: &str) -> &[Stop] {
        self.stops.get(job).map_or(&[], Vec::as_slice)
    }

    /// A job as it is stored, if the database can be reached.
    fn snapshot(&self, job: &str) -> Option<Snapshot> {
        self.runtime.block_on(async {
            let store = PostgresStore::open(self.database.url()).await.ok()?;
            store.snapshot(&RunId::from(job.to_owned())).await.ok()
        })
    }

    /// A job as it is stored, and all that happened to it.
    pub(super) fn stored(&self, job: &str) -> (Snapshot, Vec<RecordedEvent>) {
        self.runtime.block_on(async {
            let store = PostgresStore::open(self.database.url()).await;
            let (store, job) = (store.expect("the store opens"), RunId::from(job.to_owned()));
            let snapshot = store.snapshot(&job).await.expect("a run can be read");
            let events = store.events(&job, 0, EVENTS).await;
            (snapshot, events.expect("events can be read"))
        })
    }

    /// What a job was reopened with, says the event of that.
    pub(super) fn plan(&self, reopened: &Value) -> RetryPlan {
        let id = reopened["plan"].as_str().expect("the id of a plan");
        self.runtime.block_on(async {
            let store = PostgresStore::open(self.database.url()).await;
            let store = store.expect("the store opens");
            let plan = store.find_plan(&PlanId::from(id.to_owned())).await;
            plan.expect("plans can be read").expect("the plan is there")
        })
    }

    /// Processes that the database may know a session of.
    pub(super) fn known_workers(&self) -> usize {
        let since = Utc::now() - REMEMBERED;
        let just_lost = self.losses.iter().filter(|loss| loss.at > since);
        self.workers.len() + self.paused.len() + just_lost.count()
    }

    /// How often jobs were retried by hand.
    pub(super) fn retries(&self) -> usize {
        self.stops.values().map(Vec::len).sum()
    }

    /// Jobs as they ended.
    pub(super) fn ended(&self) -> impl Iterator<Item = &Value> {
        self.ended.values()
    }

    /// What a server answers, if it answers well.
    pub(super) fn get(&self, path: &str) -> Option<Value> {
        let answer = Request::get(path).send(self.servers[0].address);
        (answer.status == 200).then(|| answer.json())
    }

    pub(super) fn suffer(&mut self, trouble: Trouble, dice: &mut Dice) {
        self.wake();
        match trouble {
            Trouble::Kill => {
                let victim = self.workers.remove(dice.below(self.workers.len()));
                self.lose(&victim.process, trouble);
                drop(victim.process);
                // As whoever keeps a service running does.
                self.start_worker_at(victim.scratch);
            }
            Trouble::Replace => {
                let victim = self.workers.remove(dice.below(self.workers.len()));
                self.lose(&victim.process, trouble);
                drop(victim);
                self.start_worker();
            }
            Trouble::Stop => {
                let victim = self.workers.remove(dice.below(self.workers.len()));
                self.lose(&victim.process, trouble);
                victim.process.signal(Signal::TERM);
                self.start_worker();
                assert_eq!(
                    victim.process.ended(STOP).code(),
                    Some(0),
                    "a worker that was told to stop"
                );
                if let Some(loss) = self.losses.last_mut() {
                    loss.gone = Some(Utc::now());
                }
            }
            Trouble::KillServer => {
                let victim = dice.below(self.servers.len());
                drop(self.servers.remove(victim));
                self.servers.push(Server::start(self.command("server")));
            }
            Trouble::Pause => {
                let victim = self.workers.remove(dice.below(self.workers.len()));
                self.lose(&victim.process, trouble);
                victim.process.signal(Signal::STOP);
                self.paused.push((Instant::now(), victim));
                if self.workers.is_empty() {
                    self.start_worker();
                }
            }
            Trouble::BusyStore => self.spoil(&Fault::slow_down()),
            Trouble::SlowStore => self.spoil(&Fault::Slow(200_000)),
            Trouble::LostStore => self.spoil(&Fault::HangUp),
            Trouble::RestartPostgres => shell(RESTART_POSTGRES),
            Trouble::FlushRedis => redis("FLUSHALL"),
            Trouble::PauseRedis => redis("CLIENT PAUSE 30000 ALL"),
            // One that is paused hears nothing, so it cannot be told to stop.
            Trouble::RestartRedis => shell(RESTART_REDIS),
        }
    }

    /// Lets a fault happen to both stores, beside those that happen already.
    fn spoil(&self, fault: &Fault) {
        for proxy in &self.proxies {
            proxy.next_within(FAULTY_REQUESTS, "", fault.clone());
        }
    }

    fn lose(&mut self, victim: &Server, trouble: Trouble) {
        let pid = victim.pid();
        let session = format!("select id from session where name ~ '\\m{pid}$'");
        let session = self.runtime.block_on(self.database.text(&session));
        self.losses.push(Loss {
            session,
            at: Utc::now(),
            trouble,
            gone: None,
        });
    }

    /// Lets those go on that stood still for long enough: they find out that their steps went to
    /// others, and begin anew.
    fn wake(&mut self) {
        let rested = |(since, _): &mut (Instant, Worker)| since.elapsed() > PAUSE;
        for (_, paused) in self.paused.extract_if(.., rested) {
            paused.process.signal(Signal::CONT);
            self.workers.push(paused);
        }
    }

    /// Nothing fails from now on.
    pub(super) fn calm(&mut self) {
        for proxy in &self.proxies {
            proxy.clear();
        }
        while !self.paused.is_empty() {
            std::thread::sleep(Duration::from_millis(100));
            self.wake();
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("a directory of clips");
    entries.flatten().map(|entry| entry.path()).collect()
}

/// A port that was free a moment ago: a worker's own listener takes no other.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Runs the command that a variable holds.
fn shell(variable: &str) {
    let command = std::env::var(variable);
    let command = command.unwrap_or_else(|_| panic!("{variable} is not set"));
    let status = Command::new("sh").args(["-c", &command]).status();
    assert!(status.expect("a shell").success(), "{command}");
}

/// Tells Redis something; it may be paused or gone already.
fn redis(command: &str) {
    let socket = std::env::var(REDIS).unwrap_or_else(|_| panic!("{REDIS} is not set"));
    if let Ok(mut stream) = UnixStream::connect(socket) {
        let _ = stream.write_all(format!("{command}\r\n").as_bytes());
    }
}
