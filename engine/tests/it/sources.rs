//! The source of a run is the one that was submitted, in every step.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use telecine_engine::activity::ErrorClass;
use telecine_engine::retry::plan::{Action, Reason};
use telecine_engine::run::{RunStatus, Snapshot};

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    a_source_that_stays_is_read_by_step_after_step
    what_was_made_of_a_source_that_was_replaced_meanwhile_is_not_taken
    a_step_after_the_source_was_replaced_does_not_begin
    what_a_step_says_of_a_source_that_was_replaced_meanwhile_is_not_told
    a_source_that_was_written_over_and_given_its_old_time_is_another_one
}

/// One step that replaces its source by another file while it reads it.
const REPLACED: &str = "  a: {activity: test.act@1, with: {what: read, \
                        value: {source: '${{ input.source }}', by: b.mp4}}}";

async fn run(home: Home, steps: &str) -> (Stage, Snapshot) {
    let stage = Stage::on(home).await;
    for (name, text) in [("a.mp4", "one"), ("b.mp4", "two")] {
        std::fs::write(stage.directory().join(name), text).unwrap();
    }
    let worker = stage.work().await;
    let run = stage.submit_with(steps, json!({"source": "a.mp4"})).await;
    let snapshot = stage.stopped(&run).await;
    worker.stop().await;
    (stage, snapshot)
}

async fn a_source_that_stays_is_read_by_step_after_step(home: Home) {
    let read = "activity: test.act@1, with: {what: read, value: {source: '${{ input.source }}'}}";
    let (_stage, snapshot) = run(
        home,
        &format!("  a: {{{read}}}\n  b: {{{read}, needs: [a]}}"),
    )
    .await;
    assert_eq!(
        snapshot.run.status,
        RunStatus::Succeeded,
        "{:?}",
        snapshot.run.error
    );
}

async fn what_was_made_of_a_source_that_was_replaced_meanwhile_is_not_taken(home: Home) {
    let (stage, snapshot) = run(home, REPLACED).await;
    assert_eq!(snapshot.run.status, RunStatus::Failed);
    let error = snapshot.run.error.expect("a reason");
    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::Input, "source_changed")
    );
    assert!(error.message.contains("a.mp4"), "{}", error.message);
    let plan = stage
        .coordinator
        .verify_plan(&snapshot.run.id)
        .await
        .unwrap()
        .unwrap();
    let step = &plan.steps[0];
    assert_eq!(
        (step.action, step.reason),
        (Action::Rerun, Reason::InputChanged)
    );
    assert!(plan.executable && plan.identity.is_some(), "{plan:?}");
    let worker = stage.work().await;
    stage.execute(&plan).await.expect("executed");
    let after = stage.stopped(&snapshot.run.id).await;
    worker.stop().await;
    assert_eq!(
        after.run.status,
        RunStatus::Succeeded,
        "{:?}",
        after.run.error
    );
    assert_ne!(
        after.run.fingerprint, snapshot.run.fingerprint,
        "it is that of another source"
    );
}

async fn a_step_after_the_source_was_replaced_does_not_begin(home: Home) {
    let read = "activity: test.act@1, needs: [a], with: {what: read, value: {source: a.mp4}}";
    let (_stage, snapshot) = run(
        home,
        &format!("{REPLACED}\n  b: {{{read}}}")
            .replace("needs: [a]", "needs: {a: any}")
            .replace("by: b.mp4}}}", "by: b.mp4}}, on_failure: continue}"),
    )
    .await;
    let failed: Vec<_> = snapshot
        .steps
        .iter()
        .filter_map(|record| record.step.error.as_ref())
        .collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    assert!(
        failed.iter().all(|error| error.code == "source_changed"),
        "{failed:?}"
    );
}

async fn what_a_step_says_of_a_source_that_was_replaced_meanwhile_is_not_told(home: Home) {
    let (_stage, snapshot) = run(
        home,
        &REPLACED.replace("by: b.mp4", "by: b.mp4, complains: true"),
    )
    .await;
    assert_eq!(snapshot.run.error.expect("a reason").code, "source_changed");
}

/// Same size, same time: only the time of the inode tells.
async fn a_source_that_was_written_over_and_given_its_old_time_is_another_one(home: Home) {
    let stage = Stage::on(home).await;
    let path = stage.directory().join("a.mp4");
    std::fs::write(&path, "one").unwrap();
    let steps =
        "  a: {activity: test.act@1, with: {what: read, value: {source: '${{ input.source }}'}}}";
    let run = stage.submit_with(steps, json!({"source": "a.mp4"})).await;
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut &file, b"two").unwrap();
    file.set_modified(time).unwrap();
    let worker = stage.work().await;
    let snapshot = stage.stopped(&run).await;
    worker.stop().await;
    assert_eq!(snapshot.run.error.expect("a reason").code, "source_changed");
}
