//! What a retry plan costs: `./x bench plan`. Computed for a run of 1,000 steps and of 100,000, which is due
//! in 25 ms and in a second, as a list and, the smaller one, as a graph with a history; and proved against a directory of objects, of which 500 a second are due. It ends
//! with 1 if a figure is short of what is due.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use telecine_engine::activity::{ErrorClass, Usage};
use telecine_engine::committer::Committer;
use telecine_engine::coordinator::{Coordinator, Submission};
use telecine_engine::definition::Definition;
use telecine_engine::definitions::Definitions;
use telecine_engine::dispatch::InProcessDispatcher;
use telecine_engine::id::{PlanId, RunId, SessionId, StepId};
use telecine_engine::machine::Command;
use telecine_engine::objects::{Artifact, StoredArtifact};
use telecine_engine::retry::plan::{Given, compute};
use telecine_engine::retry::world::Verification;
use telecine_engine::run::{Failure, Node, Snapshot, Step, StepRecord, StepStatus, StoreUrls};
use telecine_engine::store::{Outcome, Store};
use telecine_object_stores::FsStores;
use telecine_testkit::memory::MemoryStore;

const ROUNDS: usize = 5;
/// Objects that are looked at.
const OBJECTS: usize = 2_000;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let small = runtime.block_on(computing(1_000));
    let graph = runtime.block_on(computing_graph(1_000));
    let large = runtime.block_on(computing(100_000));
    let proving = runtime.block_on(proving());
    let a_second = OBJECTS as f64 / proving.as_secs_f64();
    println!("1,000 steps: {small:?} (due 25 ms)");
    println!("1,000 steps that need each other, after nine attempts each: {graph:?} (due 25 ms)");
    println!("100,000 steps: {large:?} (due 1 s)");
    println!("{OBJECTS} objects looked at: {proving:?}, {a_second:.0} a second (due 500)");
    let met = small.max(graph) <= Duration::from_millis(25)
        && large <= Duration::from_secs(1)
        && a_second >= 500.0;
    match met {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The median of what computing a plan of so many steps takes, each with an object, the last one failed.
async fn computing(steps: u32) -> Duration {
    let stopped = Stopped::with_objects(1).await;
    let mut snapshot = stopped.snapshot().await;
    let pattern = snapshot.steps[0].clone();
    let items = (0..steps).map(|item| StepRecord {
        step: Step {
            id: StepId::item("each", item),
            status: match item + 1 == steps {
                true => StepStatus::Failed,
                false => StepStatus::Succeeded,
            },
            ..pattern.step.clone()
        },
        ..pattern.clone()
    });
    snapshot.steps = items.collect();
    snapshot.nodes.truncate(1);
    "each".clone_into(&mut snapshot.nodes[0].name);
    snapshot.nodes[0].total = Some(steps);
    let definition = define(&json!({"each": {"activity": "t.a@1", "for_each": "[]"}}));
    median(&snapshot, &definition, steps - 1)
}

/// The same of a graph: each step needs those before it, up to three, and has failed eight times; the last one
/// failed for good.
async fn computing_graph(steps: u32) -> Duration {
    let stopped = Stopped::with_objects(1).await;
    let mut snapshot = stopped.snapshot().await;
    let name = |n: u32| format!("s{n:04}");
    let mut of_each = json!({});
    for n in 0..steps {
        let needs: Vec<String> = (n.saturating_sub(3)..n).map(name).collect();
        of_each[name(n)] = json!({"activity": "t.a@1", "needs": needs});
    }
    let definition = define(&of_each);
    let (step, node) = (snapshot.steps[0].clone(), snapshot.nodes[0].clone());
    let status = |n: u32| match n + 1 == steps {
        true => StepStatus::Failed,
        false => StepStatus::Succeeded,
    };
    let records = (0..steps).map(|n| StepRecord {
        step: Step {
            id: StepId::single(&name(n)),
            status: status(n),
            attempts: 9,
            ..step.step.clone()
        },
        attempts: vec![step.attempts[0].clone(); 9],
        ..step.clone()
    });
    snapshot.steps = records.collect();
    let nodes = (0..steps).map(|n| Node {
        name: name(n),
        status: status(n),
        ..node.clone()
    });
    snapshot.nodes = nodes.collect();
    median(&snapshot, &definition, steps - 1)
}

/// The median of what computing a plan takes that reuses so many steps.
fn median(snapshot: &Snapshot, definition: &Definition, reused: u32) -> Duration {
    let mut took: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            let plan = compute(PlanId::generate(), Given::of(snapshot, definition));
            assert_eq!(plan.summary.reuse, reused);
            began.elapsed()
        })
        .collect();
    took.sort();
    took[ROUNDS / 2]
}

/// The median of what it takes to look at the objects of a plan, and to write what was found.
async fn proving() -> Duration {
    let stopped = Stopped::with_objects(OBJECTS).await;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let verified = stopped
            .coordinator
            .verify(&stopped.run, Verification::Heads);
        let plan = verified.await.unwrap();
        assert_eq!(plan.summary.reuse, 1, "every object is there");
        took.push(began.elapsed());
    }
    took.sort();
    took[ROUNDS / 2]
}

fn define(steps: &serde_json::Value) -> Definition {
    let text = json!({"workflow": "t:x", "version": 1, "steps": steps}).to_string();
    Definition::from_canonical(&text).unwrap()
}

/// A run whose first step made objects and whose second one failed.
struct Stopped {
    coordinator: Coordinator,
    run: RunId,
    _directory: tempfile::TempDir,
}

impl Stopped {
    async fn with_objects(objects: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let definitions = Arc::new(Definitions::new(store.clone()));
        let bell = Arc::new(InProcessDispatcher::default());
        let committer = Committer::start(store.clone(), definitions.clone(), bell);
        let coordinator = Coordinator {
            store: store.clone(),
            definitions,
            committer,
            objects: Arc::new(FsStores),
            proven: Arc::default(),
            registry: Arc::default(),
            workflows: Arc::default(),
            large_source_bytes: u64::MAX,
        };
        let artifacts = (0..objects).map(|n| {
            let key = format!("videos/{n}");
            let file = directory.path().join(&key);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, b"x").unwrap();
            let artifact = Artifact {
                key,
                size: 1,
                sha256: String::new(),
                media_type: "video/mp4".to_owned(),
            };
            artifact.into()
        });
        let artifacts = artifacts.collect();
        let url = format!("file://{}", directory.path().display());
        let run = submit(&coordinator, &url).await;
        stop(&coordinator, &run, artifacts).await;
        Self {
            coordinator,
            run,
            _directory: directory,
        }
    }

    async fn snapshot(&self) -> Snapshot {
        self.coordinator.store.snapshot(&self.run).await.unwrap()
    }
}

async fn submit(coordinator: &Coordinator, url: &str) -> RunId {
    let steps = json!({"a": {"activity": "t.a@1"}, "b": {"activity": "t.a@1", "needs": ["a"]}});
    let submission = Submission {
        definition: Arc::new(define(&steps)),
        input: json!({}),
        stores: StoreUrls {
            source: url.to_owned(),
            media: url.to_owned(),
        },
        queue: None,
        priority: 0,
        labels: Default::default(),
        force: true,
    };
    coordinator.submit(submission).await.unwrap().run
}

async fn stop(coordinator: &Coordinator, run: &RunId, artifacts: Vec<StoredArtifact>) {
    let session = SessionId::generate();
    let lease = Duration::from_secs(600);
    let store = &coordinator.store;
    store.open_session(&session, "bench", lease).await.unwrap();
    let claim = |step: &str| Command::Claim {
        step: StepId::single(step),
        session: session.clone(),
    };
    let outcome = Outcome {
        artifacts,
        ..Outcome::default()
    };
    let commands = [
        claim("a"),
        Command::Complete {
            step: StepId::single("a"),
            fence: 1,
            outcome,
        },
        claim("b"),
        Command::Fail {
            step: StepId::single("b"),
            fence: 1,
            error: Failure {
                class: ErrorClass::Config,
                code: "wanted".to_owned(),
                message: "the benchmark wants it".to_owned(),
                step: None,
            },
            usage: Usage::default(),
            warnings: Vec::new(),
        },
    ];
    for command in commands {
        coordinator.committer.fold(run, command).await.unwrap();
    }
}
