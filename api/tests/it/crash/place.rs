use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use telecine_engine::id::SessionId;
use telecine_engine::objects::ObjectStore as _;
use telecine_engine::run::{AttemptOutcome, RecordedEvent, RunStatus, Snapshot};
use telecine_engine::store::{RunFilter, Store as _};
use telecine_object_stores::FsStore;
use telecine_store_sqlite::SqliteStore;
use telecine_testkit::sim::States;

use super::points::{self, Point};
use crate::ffmpeg;
use crate::history::check_nothing_twice;
use crate::product::{self, Workplace};

/// What is run: a workflow on a source, in a store that holds what an earlier job has published of it.
#[derive(Debug)]
pub(crate) struct Scenario {
    workflow: &'static str,
    /// What the job asks for that the earlier one did not.
    asks: [&'static str; 2],
    place: Workplace,
    source: PathBuf,
}

impl Scenario {
    /// Three segments of picture and sound, small enough to be encoded in no time.
    pub(crate) fn film() -> Self {
        let clip = [
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=192x108:r=12:d=14",
            "-f",
            "lavfi",
            "-i",
            "sine=f=440:d=14",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-g",
            "24",
            "-c:a",
            "aac",
        ];
        Self::new(
            "video:full",
            (&clip, "clip.mp4"),
            ["--set", "preview.width=160"],
        )
    }

    /// A picture in two sizes.
    pub(crate) fn pictures() -> Self {
        let picture = ["-f", "lavfi", "-i", "testsrc2=s=640x360", "-frames:v", "1"];
        Self::new(
            "image:thumbnail",
            (&picture, "picture.png"),
            ["--priority", "1"],
        )
    }

    fn new(
        workflow: &'static str,
        (recipe, name): (&[&str], &str),
        asks: [&'static str; 2],
    ) -> Self {
        let place = Workplace::new();
        let source = place.path().join(name);
        let mut arguments = recipe.to_vec();
        arguments.push(source.to_str().expect("a path in UTF-8"));
        let made = ffmpeg::ffmpeg(&arguments);
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        product::succeed(place.run(workflow, &source));
        Self {
            workflow,
            asks,
            place,
            source,
        }
    }
}

/// Where a job is killed and finished: a data directory of its own, and a copy of the store.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    scenario: &'a Scenario,
    place: Workplace,
}

/// What a reader of the store found, by key: SHA-256 of everything that can be reached.
pub(crate) type Seen = BTreeMap<String, String>;

impl<'a> Place<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let place = Workplace::new();
        // Objects are replaced and never written into, so a second name is a copy.
        let copied = Command::new("cp")
            .arg("-al")
            .args([scenario.place.out(), place.out()])
            .status();
        assert!(copied.expect("cp runs").success());
        Self { scenario, place }
    }

    fn command(&self) -> Command {
        let Scenario {
            workflow,
            source,
            asks,
            ..
        } = self.scenario;
        let mut command = self.place.run(workflow, source);
        command.args(asks);
        command
    }

    /// The same with the library that knows of every write.
    fn watched(&self) -> Command {
        let mut command = self.command();
        command
            .env("LD_PRELOAD", points::library())
            .env("KILL_AT_OBJECTS", self.place.out())
            .env("KILL_AT_DATABASE", self.place.data().join("telecine.db"))
            .env("KILL_AT_LOG", self.log());
        command
    }

    fn log(&self) -> PathBuf {
        self.place.path().join("points.log")
    }

    /// An undisturbed run: the points that it has.
    pub(crate) fn record(&self) -> Vec<Point> {
        product::succeed(self.watched());
        let log = std::fs::read_to_string(self.log()).expect("points were told");
        let points = points::of_log(&log);
        assert!(!points.is_empty(), "a run makes something durable");
        points
    }

    /// Kills the job at a point; answers whether it got there.
    pub(crate) fn die(&self, point: &Point) -> bool {
        let mut command = self.watched();
        command.env("KILL_AT", point.to_string());
        let output = product::output(command);
        self.place.assert_no_survivors();
        let killed = output.status.signal() == Some(9);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            killed || output.status.success(),
            "{}: {stderr}",
            output.status
        );
        killed
    }

    /// The same command again.
    pub(crate) fn finish(&self) {
        let document = product::succeed(self.command());
        assert_eq!(document["status"], "succeeded");
    }

    /// What a reader of the store can reach now. Whatever leads somewhere leads to something.
    pub(crate) fn read(&self) -> Seen {
        let mut seen = Seen::new();
        let mut queue = entries(&self.place.out());
        while let Some(key) = queue.pop() {
            if seen.contains_key(&key) {
                continue;
            }
            let bytes = std::fs::read(self.place.out().join(&key));
            let bytes = bytes.unwrap_or_else(|e| panic!("{key} is led to: {e}"));
            assert!(!bytes.is_empty(), "{key} is led to and empty");
            if key.ends_with(".m3u8") || key.ends_with(".vtt") {
                queue.extend(leads_to(&key, &String::from_utf8_lossy(&bytes)));
            }
            seen.insert(key, sha256(&bytes));
        }
        assert!(!seen.is_empty(), "what was published before is there");
        seen
    }

    /// What was in a generation when somebody could read it is there for good.
    pub(crate) fn check_kept(&self, seen: &Seen) {
        for (key, digest) in seen.iter().filter(|(key, _)| key.contains("/g")) {
            let bytes = std::fs::read(self.place.out().join(key));
            let bytes = bytes.unwrap_or_else(|e| panic!("{key} could be read: {e}"));
            assert_eq!(*digest, sha256(&bytes), "{key} is not what it was");
        }
        assert!(
            self.read().len() >= seen.len(),
            "readers find less than before"
        );
    }

    /// One run, every change of it told once, every step done once, nothing that was durable twice.
    pub(crate) fn check_history(&self) {
        let (snapshot, events) = self.history();
        assert_eq!(snapshot.run.status, RunStatus::Succeeded);
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

    fn history(&self) -> (Snapshot, Vec<RecordedEvent>) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let store = SqliteStore::open(&self.place.data()).await;
            let store = store.expect("the store opens");
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
            assert_eq!(
                others.expect("sessions can be listed"),
                [],
                "no session is left"
            );
            let snapshot = store.snapshot(&run.id).await.expect("a run can be read");
            let events = store.events(&run.id, 0, 100_000).await;
            (snapshot, events.expect("events can be read"))
        })
    }

    /// After the sweep there is nothing half made in the store, and no scratch. What an attempt that was
    /// killed has stored and nothing names carries its name, which nobody else uses.
    pub(crate) fn check_leftovers(&self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let store = FsStore::new(self.place.out());
        let swept = runtime.block_on(store.remove_unfinished(Duration::ZERO));
        swept.expect("the store can be swept");
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

/// The keys that readers know: the files of `videos/hh/hash` and `images/hh/hash` that are of no
/// attempt, and the sprites' index.
fn entries(out: &Path) -> Vec<String> {
    let places = ["videos", "images"].map(|kind| out.join(kind));
    let below = |directory: &PathBuf| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let sets: Vec<PathBuf> = places.iter().flat_map(below).collect();
    let sets: Vec<PathBuf> = sets.iter().flat_map(below).collect();
    let files = sets.iter().flat_map(below);
    let files = files.chain(sets.iter().map(|set| set.join("sprites/sprites.vtt")));
    let known = files.filter(|file| file.is_file() && !file.to_string_lossy().contains(".g"));
    let keys = known.map(|file| {
        file.strip_prefix(out)
            .expect("an object")
            .display()
            .to_string()
    });
    keys.collect()
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
