//! Workers that share a scratch directory, as those of one machine do.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use telecine_engine::queue::Machine;
use telecine_engine::run::{AttemptOutcome, Snapshot};
use telecine_engine::worker::{ATTEMPTS, Session, Worker, WorkerOptions};

use crate::held;
use crate::stage::{Home, PATIENCE, Stage, on_every_store};

on_every_store! {
    a_worker_that_begins_takes_over_what_a_killed_one_ran_before_it
    a_worker_that_runs_notices_that_one_beside_it_was_killed
}

const STEP: &str = "  only: {activity: test.act@1, with: {what: succeed}}";
/// Sooner than by a missed beat, or a lease.
const SOON: Duration = Duration::from_secs(3);

/// The session of another process that has claimed the step, and is renewed as long as this is there.
async fn claimed(stage: &Stage) -> Session {
    let session = held::session(stage).await;
    let claims = held::claim(stage, &session).await;
    assert_eq!(claims.len(), 1);
    session
}

/// What is left of the lock of a process of this machine that was killed: nobody holds it.
fn leave_lock(stage: &Stage, session: &Session) {
    let attempts = stage.parts.scratch.join(ATTEMPTS);
    std::fs::create_dir_all(&attempts).unwrap();
    let lock = attempts.join(session.id().as_str()).with_extension("lock");
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    std::fs::write(lock, boot.trim()).unwrap();
}

fn outcomes(snapshot: &Snapshot) -> Vec<Option<AttemptOutcome>> {
    let attempts = snapshot.steps[0].attempts.iter();
    attempts.map(|attempt| attempt.outcome).collect()
}

const TAKEN_OVER: [Option<AttemptOutcome>; 2] =
    [Some(AttemptOutcome::Lost), Some(AttemptOutcome::Succeeded)];

async fn a_worker_that_begins_takes_over_what_a_killed_one_ran_before_it(home: Home) {
    let stage = Stage::on(home).await;
    let run = stage.submit(STEP).await;
    let killed = claimed(&stage).await;
    leave_lock(&stage, &killed);
    let options = WorkerOptions {
        machine: Machine::with_slots(1),
        run: None,
        grace: SOON,
    };
    // It has claimed nothing yet.
    let opened = Worker::open(stage.parts.clone(), options).await;
    let snapshot = stage.coordinator.store.snapshot(&run).await.unwrap();
    assert_eq!(outcomes(&snapshot), TAKEN_OVER[..1]);
    // Had it lived after all, it would stop, by its next heartbeat.
    tokio::time::timeout(PATIENCE, killed.lost()).await.unwrap();
    drop(opened);
}

async fn a_worker_that_runs_notices_that_one_beside_it_was_killed(home: Home) {
    let stage = Stage::on(home).await;
    let run = stage.submit(STEP).await;
    let killed = claimed(&stage).await;
    let worker = stage.work().await;
    leave_lock(&stage, &killed);
    let ended = tokio::time::timeout(SOON, stage.stopped(&run))
        .await
        .unwrap();
    assert_eq!(outcomes(&ended), TAKEN_OVER);
    worker.stop().await;
}
