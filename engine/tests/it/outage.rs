//! Processes that stand still, and a database that goes away.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use serde_json::json;
use telecine_engine::dispatch::{Bell, Dispatcher, Hint, InProcessDispatcher};
use telecine_engine::id::RunId;
use telecine_engine::run::{AttemptOutcome, RunStatus, Snapshot, StepStatus};
use telecine_engine::store::Life;
use telecine_engine::worker::LEASE;

use crate::stage::{Gate, Home, Stage, on_every_store};

/// What ending a session takes besides its lease: a look, and a commit on a machine that is busy.
const SWEEP: Duration = Duration::from_secs(4);

on_every_store! {
    a_blocked_runtime_loses_its_steps_within_a_lease
    a_process_without_a_worker_takes_steps_from_one_that_is_blocked
    a_runtime_that_is_busy_for_five_seconds_loses_nothing
    a_blocked_committer_loses_its_steps_within_a_lease
}

fn is_running(snapshot: &Snapshot) -> bool {
    snapshot.steps[0].step.status == StepStatus::Running
}

fn outcomes(snapshot: &Snapshot) -> Vec<Option<AttemptOutcome>> {
    let attempts = snapshot.steps.iter().flat_map(|record| &record.attempts);
    attempts.map(|attempt| attempt.outcome).collect()
}

const LOST_AND_DONE: [Option<AttemptOutcome>; 2] =
    [Some(AttemptOutcome::Lost), Some(AttemptOutcome::Succeeded)];

/// A process on a thread of its own, whose runtime stops turning once its step runs, until it is told to
/// go on.
fn blocked_process(home: Home) -> (RunId, mpsc::Sender<()>, std::thread::JoinHandle<()>) {
    let (says, hears) = mpsc::channel();
    let (go_on, waits) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let stage = Stage::on(home).await;
            let _worker = stage.work().await;
            let run = stage
                .submit("  a: {activity: test.act@1, with: {what: hang, times: 1}}")
                .await;
            stage.until(&run, is_running).await;
            says.send(run).unwrap();
            waits.recv().unwrap();
        });
    });
    (hears.recv().unwrap(), go_on, thread)
}

async fn a_blocked_runtime_loses_its_steps_within_a_lease(home: Home) {
    let (run, go_on, thread) = blocked_process(home.clone());
    let began = Instant::now();
    let other = Stage::on(home).await;
    let worker = other.work().await;
    let snapshot = other.stopped(&run).await;
    let took = began.elapsed();
    assert!(took < LEASE + SWEEP, "it took {took:?}");
    assert_eq!(outcomes(&snapshot), LOST_AND_DONE);
    go_on.send(()).unwrap();
    thread.join().unwrap();
    worker.stop().await;
}

async fn a_process_without_a_worker_takes_steps_from_one_that_is_blocked(home: Home) {
    let (run, go_on, thread) = blocked_process(home.clone());
    let began = Instant::now();
    let server = Stage::on(home).await;
    let _services = server.serve();
    let free = |seen: &Snapshot| seen.steps[0].step.status == StepStatus::Ready;
    let snapshot = server.until(&run, free).await;
    let took = began.elapsed();
    assert!(took < LEASE + SWEEP, "it took {took:?}");
    assert_eq!(outcomes(&snapshot), [Some(AttemptOutcome::Lost)]);
    go_on.send(()).unwrap();
    thread.join().unwrap();
}

async fn a_runtime_that_is_busy_for_five_seconds_loses_nothing(home: Home) {
    let (mine, watch) = (home.clone(), home);
    let busy = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let stage = Stage::on(mine).await;
            let worker = stage.work().await;
            let run = stage
                .submit("  a: {activity: test.act@1, with: {what: block, value: 5}}")
                .await;
            let snapshot = stage.stopped(&run).await;
            worker.stop().await;
            snapshot
        })
    });
    let other = Stage::on(watch).await;
    let session = other.idle().await;
    let snapshot = tokio::task::spawn_blocking(|| busy.join().unwrap()).await;
    assert_eq!(
        outcomes(&snapshot.unwrap()),
        [Some(AttemptOutcome::Succeeded)]
    );
    drop(session);
}

/// A doorbell that blocks whoever rings it.
#[derive(Debug)]
struct Stuck {
    bell: InProcessDispatcher,
    blocks: AtomicBool,
    freed: Mutex<mpsc::Receiver<()>>,
}

impl Dispatcher for Stuck {
    fn ring(&self, hints: &[Hint]) {
        self.bell.ring(hints);
        if self.blocks.load(Ordering::Acquire) {
            let _: Result<(), _> = self.freed.lock().unwrap().recv();
        }
    }

    fn listen(&self) -> Box<dyn Bell> {
        self.bell.listen()
    }

    fn patience(&self) -> Duration {
        self.bell.patience()
    }
}

/// Of a process with several threads: its runtime turns on.
async fn a_blocked_committer_loses_its_steps_within_a_lease(home: Home) {
    let (free, freed) = mpsc::channel();
    let bell = Arc::new(Stuck {
        bell: InProcessDispatcher::default(),
        blocks: AtomicBool::new(false),
        freed: Mutex::new(freed),
    });
    let stuck = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (stage_home, stage_bell) = (home.clone(), bell.clone());
    let (says, hears) = tokio::sync::oneshot::channel();
    stuck.spawn(async move {
        let stage = Stage::with_bell(stage_home, stage_bell.clone()).await;
        let _worker = stage.work().await;
        let steps = "  a: {activity: test.act@1, with: {what: hang, times: 1}}";
        let run = stage.submit(steps).await;
        stage.until(&run, is_running).await;
        stage_bell.blocks.store(true, Ordering::Release);
        says.send(run).unwrap();
        // Its commit makes a step ready, which rings.
        stage
            .submit("  b: {activity: test.act@1, for_each: \"[1,2,3]\", with: {what: hang}}")
            .await;
    });
    let run = hears.await.unwrap();
    let began = Instant::now();
    let other = Stage::on(home).await;
    let worker = other.work().await;
    let snapshot = other.stopped(&run).await;
    let took = began.elapsed();
    assert!(took < LEASE + SWEEP, "it took {took:?}");
    assert_eq!(outcomes(&snapshot), LOST_AND_DONE);
    drop(free);
    worker.abandon();
    stuck.shutdown_background();
}

#[tokio::test]
async fn an_outage_longer_than_a_lease_costs_nobody_an_attempt() {
    let home = Home::postgres_behind_a_proxy().await;
    let (one, other) = (Stage::on(home.clone()).await, Stage::on(home.clone()).await);
    let workers = [one.work().await, other.work().await];
    // More than both can run, with retries that would count.
    let run = one
        .submit(
            "  a: {activity: test.act@1, for_each: \"[1,2,3,4,5]\", with: {what: tick, value: 10}}",
        )
        .await;
    one.until(&run, |snapshot| {
        let checkpoints = snapshot
            .steps
            .iter()
            .filter(|s| s.step.checkpoint.is_some());
        checkpoints.count() == 4
    })
    .await;
    home.proxy().cut();
    tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
    home.proxy().mend();
    let snapshot = one.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Succeeded);
    let errors: Vec<_> = snapshot.steps.iter().flat_map(|s| &s.attempts).collect();
    assert_eq!(
        outcomes(&snapshot),
        [Some(AttemptOutcome::Succeeded); 5],
        "{errors:#?}"
    );
    let [one, other] = workers;
    one.stop().await;
    other.stop().await;
}

/// As long as a restart of the server takes.
const RESTART: Duration = Duration::from_secs(1);

/// One attempt has read its source and ends meanwhile, the other opens it meanwhile.
#[tokio::test]
async fn an_attempt_that_looks_at_its_source_while_the_database_restarts_is_not_lost() {
    let home = Home::postgres_behind_a_proxy().await;
    let stage = Stage::on(home.clone()).await;
    std::fs::write(stage.directory().join("a.mp4"), "one").unwrap();
    let gate = stage.directory().join("gate");
    std::fs::create_dir(&gate).unwrap();
    let worker = stage.work().await;
    let steps = format!(
        "  a: {{activity: test.act@1, for_each: \"[true, false]\", retry: {{max_attempts: 1}}, with: {{what: \
         read, value: {{source: '${{{{ input.source }}}}', gate: '{}', before: '${{{{ each }}}}'}}}}}}",
        gate.display()
    );
    let run = stage.submit_with(&steps, json!({"source": "a.mp4"})).await;
    let gate = Gate::at(gate);
    gate.crowd(2).await;
    home.proxy().cut();
    gate.open();
    tokio::time::sleep(RESTART).await;
    home.proxy().mend();
    let snapshot = stage.stopped(&run).await;
    let errors: Vec<_> = snapshot.steps.iter().flat_map(|s| &s.attempts).collect();
    let succeeded = [Some(AttemptOutcome::Succeeded); 2];
    assert_eq!(outcomes(&snapshot), succeeded, "{errors:#?}");
    worker.stop().await;
}

/// How soon the engine is at work again on a network that carries again: an answer that never came is
/// given up, and a connection made.
const AGAIN: Duration = Duration::from_secs(20);

/// Nobody hears that a connection is gone: neither side is told, and what was sent is lost for good.
#[tokio::test]
async fn a_network_that_swallows_everything_is_noticed_and_outlived() {
    let home = Home::postgres_behind_a_proxy().await;
    let stage = Stage::on(home.clone()).await;
    let worker = stage.work().await;
    let run = stage
        .submit("  a: {activity: test.act@1, for_each: \"[1,2]\", with: {what: tick, value: 30}}")
        .await;
    stage
        .until(&run, |snapshot| {
            let mut steps = snapshot.steps.iter();
            steps.all(|record| record.step.checkpoint.is_some())
        })
        .await;
    home.proxy().silence();
    let asked = Instant::now();
    let answer = stage.coordinator.store.load_run(&run).await;
    let why = answer.unwrap_err();
    assert!(why.passes(), "{why}");
    assert!(why.to_string().contains("did not answer"), "{why}");
    assert!(asked.elapsed() < AGAIN, "{:?}", asked.elapsed());

    home.proxy().mend();
    let mended = Instant::now();
    let snapshot = stage.stopped(&run).await;
    let took = mended.elapsed();
    assert!(took < AGAIN, "{took:?}");
    let succeeded = [Some(AttemptOutcome::Succeeded); 2];
    assert_eq!(outcomes(&snapshot), succeeded, "{:#?}", snapshot.steps);
    worker.stop().await;
}

/// The server hears of the end of a worker's connections, and the worker does not: what it sends vanishes.
#[tokio::test]
async fn a_worker_whose_beat_was_swallowed_once_is_not_taken_for_dead() {
    let home = Home::postgres_behind_a_proxy().await;
    let judge = Stage::on(home.direct()).await;
    let sweeping = judge.idle().await;
    let stage = Stage::on(home.clone()).await;
    let worker = stage.idle().await;
    let backend = format!(
        "select coalesce(backend::text, '') from session where id = '{}'",
        worker.session()
    );
    let began = Instant::now();
    let mut first = home.text(&backend).await;
    while first.is_empty() {
        assert!(began.elapsed() < LEASE, "it beats");
        first = home.text(&backend).await;
    }
    home.proxy().forget();
    let began = Instant::now();
    while home.text(&backend).await == first {
        assert!(began.elapsed() < LEASE, "it beats on another connection");
        let store = &judge.coordinator.store;
        let others = store.other_sessions(sweeping.session()).await.unwrap();
        assert!(matches!(others[0].1, Life::Leased(_)), "{others:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    worker.abandon();
    sweeping.stop().await;
}

/// Statements of a process that has nothing to do, within so long.
const IDLE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_idle_process_asks_the_database_less_than_once_a_second() {
    let home = Home::postgres_behind_a_proxy().await;
    let stage = Stage::with_patience(home.clone(), Duration::from_secs(5)).await;
    let worker = stage.work().await;
    let before = home.proxy().asked().len();
    tokio::time::sleep(IDLE).await;
    let asked = home.proxy().asked().split_off(before);
    assert!(asked.len() < 10, "{} statements: {asked:#?}", asked.len());
    worker.stop().await;
}
