//! Steps and the machines that they fit.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use telecine_engine::dispatch::{Bell, Dispatcher, Hint, InProcessDispatcher};
use telecine_engine::id::SessionId;
use telecine_engine::queue::{Machine, Prospect, Room};
use telecine_engine::run::{RunStatus, Snapshot, StepStatus};
use telecine_engine::services::{ServiceParts, Unfit, hold_unfit_steps};

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    a_worker_begins_what_fits_its_memory_and_nothing_else
    a_step_that_no_worker_fits_waits_until_one_is_started
    a_step_that_only_its_own_process_could_run_and_does_not_fit_is_held_and_can_be_retried
    a_step_that_no_worker_is_there_for_waits
    what_does_not_fit_whoever_was_told_of_it_is_passed_on
}

fn machine(memory_gib: i64) -> Machine {
    Machine::new(Room {
        slots: 4,
        memory_bytes: memory_gib << 30,
        disk_bytes: i64::MAX,
        ..Room::default()
    })
}

fn count(snapshot: &Snapshot, node: &str, status: StepStatus) -> usize {
    let steps = snapshot.steps.iter().map(|record| &record.step);
    steps
        .filter(|step| step.id.node == node && step.status == status)
        .count()
}

/// Four slots and two gibibytes: two steps of one gibibyte run, and beside them what takes none.
async fn a_worker_begins_what_fits_its_memory_and_nothing_else(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work_on(machine(2)).await;
    let run = stage
        .submit(
            "  hungry: {activity: test.act@1, for_each: '[1, 2, 3, 4, 5]', requires: {memory: 1GiB}, \
             with: {what: count}}\n\
             \x20 modest: {activity: test.act@1, for_each: '[1, 2, 3]', with: {what: succeed}}",
        )
        .await;
    let busy = stage
        .until(&run, |snapshot| {
            count(snapshot, "modest", StepStatus::Succeeded) == 3
                && count(snapshot, "hungry", StepStatus::Running) >= 2
        })
        .await;
    assert_eq!(count(&busy, "hungry", StepStatus::Running), 2);
    assert_eq!(count(&busy, "hungry", StepStatus::Ready), 3);
    worker.stop().await;
}

/// A bell that counts what is passed on.
#[derive(Debug, Default)]
struct Counting {
    bell: InProcessDispatcher,
    passed_on: AtomicUsize,
}

impl Dispatcher for Counting {
    fn ring(&self, hints: &[Hint]) {
        self.bell.ring(hints);
    }

    fn listen(&self) -> Box<dyn Bell> {
        self.bell.listen()
    }

    fn patience(&self) -> Duration {
        self.bell.patience()
    }

    fn pass_on(&self) {
        self.passed_on.fetch_add(1, Ordering::Relaxed);
    }
}

/// A worker that is busy, but for a slot that is too small, hears of a step instead of one that is idle.
async fn what_does_not_fit_whoever_was_told_of_it_is_passed_on(home: Home) {
    let bell = Arc::new(Counting::default());
    let stage = Stage::with_bell(home, bell.clone()).await;
    let worker = stage.work_on(machine(2)).await;
    let small = "  a: {activity: test.act@1, requires: {memory: 2GiB}, with: {what: succeed}}";
    let done = stage.submit(small).await;
    stage.stopped(&done).await;
    assert_eq!(bell.passed_on.load(Ordering::Relaxed), 0, "it fits");
    stage.submit(HUNGRY).await;
    let began = Instant::now();
    while bell.passed_on.load(Ordering::Relaxed) == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "nobody is told");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    worker.stop().await;
}

/// Looks for steps that nobody fits, now and after the time of grace.
async fn look_twice(stage: &Stage) {
    let parts = ServiceParts {
        store: stage.parts.store.clone(),
        committer: stage.parts.committer.clone(),
        dispatcher: stage.parts.dispatcher.clone(),
        session: SessionId::generate(),
        contact: telecine_engine::worker::Contact::default(),
    };
    let (mut unfit, now) = (Unfit::default(), Instant::now());
    hold_unfit_steps(&parts, &mut unfit, now).await.unwrap();
    let later = now + Duration::from_secs(61);
    hold_unfit_steps(&parts, &mut unfit, later).await.unwrap();
}

const HUNGRY: &str = "  a: {activity: test.act@1, requires: {memory: 3GiB}, with: {what: succeed}}";

/// As while workers are replaced one by one, and the one that fits comes last.
async fn a_step_that_no_worker_fits_waits_until_one_is_started(home: Home) {
    let stage = Stage::on(home).await;
    let small = stage.work_on(machine(2)).await;
    let run = stage.submit(HUNGRY).await;
    look_twice(&stage).await;
    let waiting = stage.coordinator.store.snapshot(&run).await.unwrap();
    let status = (waiting.run.status, waiting.steps[0].step.status);
    assert_eq!(status, (RunStatus::Queued, StepStatus::Ready));
    let kind = stage.coordinator.store.waiting(None, 1).await.unwrap()[0]
        .ticket
        .kind
        .clone();
    let offers = stage.coordinator.store.offers().await.unwrap();
    let prospect = Prospect::of(&run, &kind, &offers);
    assert_eq!(prospect, Prospect::Unfit);
    let reason = prospect.reason(&kind).unwrap();
    assert!(reason.contains("memory 3GiB"), "{reason}");

    let large = stage.work_on(machine(4)).await;
    let done = stage.stopped(&run).await;
    assert_eq!((done.run.status, done.run.round), (RunStatus::Succeeded, 1));
    small.stop().await;
    large.stop().await;
}

async fn a_step_that_only_its_own_process_could_run_and_does_not_fit_is_held_and_can_be_retried(
    home: Home,
) {
    let stage = Stage::on(home).await;
    let run = stage.submit(HUNGRY).await;
    let own = stage.work_for(machine(2), Some(run.clone())).await;
    look_twice(&stage).await;
    let held = stage.stopped(&run).await;
    assert_eq!(held.run.status, RunStatus::Held);
    let reason = held.steps[0].step.reason.clone().unwrap_or_default();
    assert!(reason.contains("memory 3GiB"), "{reason}");
    let error = held.run.error.clone().unwrap();
    assert_eq!(error.code, "no_worker_fits");
    assert!(held.steps[0].attempts.is_empty(), "nothing was tried");

    let large = stage.work_on(machine(4)).await;
    let plan = stage.coordinator.verify_plan(&run).await.unwrap().unwrap();
    stage.execute(&plan).await.unwrap();
    let done = stage.stopped(&run).await;
    assert_eq!(done.run.status, RunStatus::Succeeded);
    own.stop().await;
    large.stop().await;
}

async fn a_step_that_no_worker_is_there_for_waits(home: Home) {
    let stage = Stage::on(home).await;
    let run = stage.submit(HUNGRY).await;
    look_twice(&stage).await;
    let waiting = stage.coordinator.store.snapshot(&run).await.unwrap();
    assert_eq!(waiting.steps[0].step.status, StepStatus::Ready);
}
