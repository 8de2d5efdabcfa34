use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use telecine_engine::id::SessionId;
use telecine_engine::objects::ObjectStore;
use telecine_engine::run::{AttemptOutcome, RecordedEvent, RunStatus, Snapshot};
use telecine_engine::store::{RunFilter, Store};
use telecine_object_stores::FsStore;
use telecine_store_sqlite::SqliteStore;
use telecine_testkit::sim::States;
use tokio::runtime::Runtime;

use super::points::{self, Point};
use super::scenario::Scenario;
use super::served::Served;
use crate::history::check_nothing_twice;
use crate::product::{self, Workplace};

/// More than any object here has.
pub(crate) const LARGEST: usize = 64 << 20;

/// Where a job is killed and finished: a data directory of its own, and a copy of the store, or servers of its
/// own.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    scenario: &'a Scenario,
    place: Workplace,
    runtime: Runtime,
    served: Option<Served>,
}

/// What a reader of the store found, by key: SHA-256 of everything that can be reached.
pub(crate) type Seen = BTreeMap<String, String>;

/// Where a job is run.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Where {
    /// On SQLite and directories.
    Here,
    /// On Postgres and S3.
    Served,
}

impl<'a> Place<'a> {
    pub(crate) fn new(scenario: &'a Scenario, at: Where) -> Self {
        match at {
            Where::Here => Self::here(scenario),
            Where::Served => Self::served(scenario),
        }
    }

    /// With a copy of what was published before.
    fn here(scenario: &'a Scenario) -> Self {
        let place = Workplace::new();
        if scenario.has_published() {
            // Objects are replaced and never written into, so a second name is a copy.
            let copied = Command::new("cp")
                .arg("-al")
                .args([scenario.place.out(), place.out()])
                .status();
            assert!(copied.expect("cp runs").success());
        }
        Self {
            scenario,
            place,
            runtime: Runtime::new().expect("a runtime"),
            served: None,
        }
    }

    /// The same, on servers of its own.
    fn served(scenario: &'a Scenario) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let served = Some(Served::new(&runtime, &scenario.place.out()));
        Self {
            scenario,
            place: Workplace::new(),
            runtime,
            served,
        }
    }

    fn command(&self) -> Command {
        let Scenario {
            workflow,
            source,
            asks,
            ..
        } = self.scenario;
        let mut command = match &self.served {
            None => self.place.run(workflow, source),
            Some(served) => {
                let source = source.to_str().expect("a path in UTF-8");
                let arguments = ["run", workflow, source, "-o", "json"];
                let mut command = self.place.telecine(&arguments);
                served.reach(&mut command);
                command
            }
        };
        command.args(asks);
        command
    }

    /// The same where every write is known of.
    fn watched(&self) -> Command {
        let mut command = self.command();
        if self.served.is_none() {
            command
                .env("LD_PRELOAD", points::library())
                .env("KILL_AT_OBJECTS", self.place.out())
                .env("KILL_AT_DATABASE", self.place.data().join("telecine.db"))
                .env("KILL_AT_LOG", self.log());
        }
        command
    }

    fn log(&self) -> PathBuf {
        self.place.path().join("points.log")
    }

    /// An undisturbed run: the points that it has.
    pub(crate) fn record(&self) -> Vec<Point> {
        self.end(self.watched());
        let points = match &self.served {
            Some(served) => served.points(),
            None => {
                let log = std::fs::read_to_string(self.log());
                points::of_log(&log.expect("points were told"))
            }
        };
        assert!(!points.is_empty(), "a run makes something durable");
        points
    }

    /// Kills the job at a point; answers whether it got there.
    pub(crate) fn die(&self, point: &Point) -> bool {
        let mut command = self.watched();
        match &self.served {
            None => drop(command.env("KILL_AT", point.to_string())),
            Some(served) => served.kill_at(point),
        }
        let child = product::spawn(command);
        if let Some(served) = &self.served {
            served.started(child.id());
        }
        let output = product::finish(child);
        if let Some(served) = &self.served {
            served.calm();
        }
        self.place.assert_no_survivors();
        let killed = output.status.signal() == Some(9);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            killed || output.status.success() != self.scenario.fails.is_some(),
            "{}: {stderr}",
            output.status
        );
        killed
    }

    /// The same command again.
    pub(crate) fn finish(&self) {
        self.end(self.command());
    }

    /// Runs a command to the end that the job is to have.
    fn end(&self, command: Command) {
        let Some(code) = self.scenario.fails else {
            let document = product::succeed(command);
            assert_eq!(document["status"], "succeeded");
            return;
        };
        let output = product::output(command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let is_told = document["error"]["code"] == code || said.contains(code);
        assert!(is_told, "{document:#}: {said}");
    }

    fn objects(&self) -> Box<dyn ObjectStore> {
        match &self.served {
            None => Box::new(FsStore::new(self.place.out())),
            Some(served) => Box::new(served.objects()),
        }
    }

    /// What a reader of the store can reach now. Whatever leads somewhere leads to something.
    pub(crate) fn read(&self) -> Seen {
        let store = self.objects();
        self.runtime.block_on(async {
            let listed = store.list("").await.expect("the results are listed");
            let keys = listed.into_iter().map(|(key, _)| key);
            let mut queue: Vec<String> = keys.filter(|key| is_entry(key)).collect();
            let mut seen = Seen::new();
            while let Some(key) = queue.pop() {
                if seen.contains_key(&key) {
                    continue;
                }
                let bytes = store.read_range(&key, 0, LARGEST).await;
                let bytes = bytes.unwrap_or_else(|e| panic!("{key} is led to: {e}"));
                assert!(!bytes.is_empty(), "{key} is led to and empty");
                if key.ends_with(".m3u8") || key.ends_with(".vtt") {
                    queue.extend(leads_to(&key, &String::from_utf8_lossy(&bytes)));
                }
                seen.insert(key, sha256(&bytes));
            }
            seen
        })
    }

    /// What was in a generation when somebody could read it is there for good, and so is what was published
    /// before.
    pub(crate) fn check_kept(&self, seen: &Seen) {
        let now = self.read();
        for (key, digest) in seen.iter().filter(|(key, _)| key.contains("/g")) {
            let is = self.sha256_of(key);
            assert_eq!(*digest, is, "{key} is not what it was");
        }
        let had = self.scenario.has_published();
        assert!(
            !had || !seen.is_empty(),
            "what was published before is gone"
        );
        let has = self.scenario.fails.is_none();
        assert!(!has || !now.is_empty(), "nothing is published");
        assert!(now.len() >= seen.len(), "readers find less than before");
    }

    fn sha256_of(&self, key: &str) -> String {
        let store = self.objects();
        let bytes = self.runtime.block_on(store.read_range(key, 0, LARGEST));
        sha256(&bytes.unwrap_or_else(|e| panic!("{key} could be read: {e}")))
    }

    /// One run, every change of it told once, every step done once, nothing that was durable twice.
    pub(crate) fn check_history(&self) {
        let (snapshot, events) = self.runtime.block_on(self.history());
        let end = match self.scenario.fails {
            None => RunStatus::Succeeded,
            Some(_) => RunStatus::Failed,
        };
        assert_eq!(snapshot.run.status, end);
        let numbers = events.iter().map(|event| event.seq);
        assert!(numbers.eq(1..=events.len() as u64), "the events have a gap");
        let steps = || snapshot.steps.iter().map(|record| &record.step);
        let states = States::of(&snapshot.run, &snapshot.nodes, steps());
        let told: Vec<_> = events.iter().map(|event| &event.event).collect();
        let audited = States::default().audit(&told, (&states, None));
        audited.unwrap_or_else(|why| panic!("{why}"));
        for record in &snapshot.steps {
            let done = record.attempts.iter();
            let done = done.filter(|it| it.outcome == Some(AttemptOutcome::Succeeded));
            let wanted = usize::from(record.step.output.is_some());
            assert_eq!(done.count(), wanted, "{} is done once", record.step.id);
        }
        check_nothing_twice(&events);
    }

    async fn history(&self) -> (Snapshot, Vec<RecordedEvent>) {
        let store: Box<dyn Store> = match &self.served {
            Some(served) => Box::new(served.store().await),
            None => {
                let store = SqliteStore::open(&self.place.data()).await;
                Box::new(store.expect("the store opens"))
            }
        };
        let all = RunFilter {
            limit: 10,
            ..RunFilter::default()
        };
        let runs = store.list_runs(&all).await.expect("runs can be listed");
        let [run] = runs.runs.as_slice() else {
            panic!("the same command is the same job: {runs:?}");
        };
        let nobody = SessionId::generate();
        let others = store.other_sessions(&nobody).await;
        let others = others.expect("sessions can be listed");
        // On servers, one that died before it held its lock is there until its lease is over. It ran nothing.
        let most = usize::from(self.served.is_some());
        assert!(others.len() <= most, "sessions are left: {others:?}");
        let snapshot = store.snapshot(&run.id).await.expect("a run can be read");
        let events = store.events(&run.id, 0, 100_000).await;
        (snapshot, events.expect("events can be read"))
    }

    /// After the sweep there is nothing half made in the store, and no scratch. What an attempt that was
    /// killed has stored and nothing names carries its name, which nobody else uses.
    pub(crate) fn check_leftovers(&self) {
        let store = self.objects();
        let sweep = || {
            let swept = self
                .runtime
                .block_on(store.remove_unfinished(Duration::ZERO));
            swept.expect("the store can be swept")
        };
        sweep();
        assert_eq!(sweep(), [""; 0], "the first sweep has found all of it");
        let partial = self.place.out().join(".telecine-partial");
        assert_eq!(count(&partial), 0, "{} is empty", partial.display());
        let scratch = self.place.data().join("scratch/attempts");
        assert_eq!(count(&scratch), 0, "{} is empty", scratch.display());
    }
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a key is one that readers know: the files of `videos/hh/hash` and `images/hh/hash` that are of no
/// attempt, and the sprites' index.
fn is_entry(key: &str) -> bool {
    let parts: Vec<&str> = key.split('/').collect();
    match parts.as_slice() {
        ["videos" | "images", _, _, file] => !file.contains(".g"),
        ["videos", _, _, "sprites", "sprites.vtt"] => true,
        _ => false,
    }
}

/// The keys that a playlist or an index names.
fn leads_to(key: &str, text: &str) -> Vec<String> {
    let directory = key.rsplit_once('/').map_or("", |(directory, _)| directory);
    let address = |line: &str| match line.split_once("URI=\"") {
        Some((_, rest)) => rest.split('"').next().map(str::to_owned),
        None if line.is_empty() || line.starts_with('#') || line == "WEBVTT" => None,
        None if line.contains(" --> ") => None,
        None => line.split('#').next().map(str::to_owned),
    };
    let addresses = text.lines().filter_map(address);
    addresses
        .map(|address| match address.strip_prefix("../") {
            Some(above) => format!("{}/{above}", directory.rsplit_once('/').expect("above").0),
            None => format!("{directory}/{address}"),
        })
        .collect()
}

/// Files below a directory, which need not be there.
fn count(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}
