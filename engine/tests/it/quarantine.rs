//! Steps that take their worker down.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use telecine_engine::run::{AttemptOutcome, RunStatus, Snapshot, StepRecord, StepStatus};

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    a_step_that_loses_its_worker_again_and_again_is_tried_alone_and_then_held
    a_run_that_cannot_be_read_keeps_no_others_of_a_dead_worker
}

const STEPS: &str = "  culprit: {activity: test.act@1, with: {what: hang, times: 9}}\n\
                     \x20 neighbour: {activity: test.act@1, with: {what: hang, times: 4}}";

fn record<'s>(snapshot: &'s Snapshot, step: &str) -> &'s StepRecord {
    let mut records = snapshot.steps.iter();
    records.find(|record| record.step.id.node == step).unwrap()
}

/// Whether a step runs for the n-th time.
fn runs(snapshot: &Snapshot, step: &str, n: u32) -> bool {
    let step = &record(snapshot, step).step;
    step.status == StepStatus::Running && step.attempts == n
}

async fn a_step_that_loses_its_worker_again_and_again_is_tried_alone_and_then_held(home: Home) {
    let stage = Stage::on(home).await;
    let run = stage.submit(STEPS).await;
    for n in 1..=4 {
        let worker = stage.work().await;
        let both = |seen: &Snapshot| runs(seen, "culprit", n) && runs(seen, "neighbour", n);
        stage.until(&run, both).await;
        worker.kill(&stage).await;
    }
    // Nobody knows which of them it was, and one that runs alone may lose its worker by chance.
    for n in 5..=6 {
        let worker = stage.work().await;
        let alone = stage.until(&run, |seen| runs(seen, "culprit", n)).await;
        let neighbour = &record(&alone, "neighbour").step;
        assert_eq!(
            (neighbour.status, neighbour.attempts),
            (StepStatus::Ready, 4)
        );
        worker.kill(&stage).await;
    }

    let worker = stage.work().await;
    let held = stage.stopped(&run).await;
    assert_eq!(held.run.status, RunStatus::Held);
    let culprit = &record(&held, "culprit").step;
    assert_eq!((culprit.status, culprit.attempts), (StepStatus::Held, 6));
    let error = culprit.error.clone().unwrap();
    assert_eq!(error.code, "worker_lost");
    assert!(error.message.contains("6 workers in a row"), "{error:?}");
    let neighbour = record(&held, "neighbour");
    let last = neighbour.attempts.last().unwrap();
    assert_eq!((last.n, last.outcome), (5, Some(AttemptOutcome::Succeeded)));
    worker.stop().await;
}

/// As after a way back to a release that does not know what a newer one allows.
async fn a_run_that_cannot_be_read_keeps_no_others_of_a_dead_worker(home: Home) {
    let first = Stage::on(home.clone()).await;
    let hangs =
        |name: &str| format!("  {name}: {{activity: test.act@1, with: {{what: hang, times: 1}}}}");
    let (odd, other) = (
        first.submit(&hangs("odd")).await,
        first.submit(&hangs("other")).await,
    );
    let worker = first.work().await;
    let dead = worker.session().clone();
    for (run, step) in [(&odd, "odd"), (&other, "other")] {
        first.until(run, |seen| runs(seen, step, 1)).await;
    }
    let change = |from: &str, to: &str| {
        format!("update definition set canonical = replace(canonical, '{from}', '{to}')")
    };
    home.execute(&change("\"odd\":", "\"odd?\":")).await;

    // Nothing of what the other process keeps in memory helps this one.
    let stage = Stage::on(home.clone()).await;
    worker.abandon();
    let ended = stage.parts.committer.end_session(&dead).await;
    let why = ended.unwrap_err().to_string();
    assert!(why.contains("cannot be read"), "{why}");
    let worker = stage.work().await;
    let done = stage.stopped(&other).await;
    assert_eq!(done.run.status, RunStatus::Succeeded);
    home.execute(&change("\"odd?\":", "\"odd\":")).await;
    assert!(stage.parts.committer.end_session(&dead).await.unwrap());
    let done = stage.stopped(&odd).await;
    assert_eq!(done.run.status, RunStatus::Succeeded);
    let outcomes = record(&done, "odd").attempts.iter().map(|it| it.outcome);
    let expected = [AttemptOutcome::Lost, AttemptOutcome::Succeeded].map(Some);
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
    worker.stop().await;
}
