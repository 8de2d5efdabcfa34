//! Runs as a whole, and parts of them.

use serde_json::json;
use telecine_engine::activity::{ErrorClass, Usage};
use telecine_engine::definition::StepDef;
use telecine_engine::id::StepId;
use telecine_engine::machine::Command;
use telecine_engine::run::{AttemptOutcome, RunStatus, StepStatus};
use telecine_engine::store::{Outcome, StepSet};

use super::{Bench, expr, failure, fold, single, step, workflow};

/// See the name.
pub async fn a_snapshot_is_in_the_order_of_the_definition(on: Bench) {
    let list = expr("[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]");
    let definition = workflow([
        ("z", step(&[])),
        (
            "m",
            StepDef {
                for_each: Some(list),
                ..step(&[])
            },
        ),
        ("a", step(&["z"])),
    ]);
    let job = on.submit(definition).await;
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    let nodes: Vec<_> = snapshot
        .nodes
        .iter()
        .map(|node| node.name.as_str())
        .collect();
    assert_eq!(nodes, ["z", "m", "a"]);
    let steps: Vec<_> = snapshot
        .steps
        .iter()
        .map(|record| record.step.id.clone())
        .collect();
    let items = (0..11).map(|item| StepId::item("m", item));
    let expected: Vec<_> = std::iter::once(StepId::single("z"))
        .chain(items)
        .chain(std::iter::once(StepId::single("a")))
        .collect();
    assert_eq!(steps, expected);
}

/// See the name.
pub async fn a_snapshot_has_attempts_and_how_they_ended(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    on.fail(&job, &first).await;
    on.fold(
        &job,
        Command::Wake {
            step: first.fence.step.clone(),
        },
    )
    .await
    .unwrap();
    let second = on.claim_one(&session).await;
    let running = on
        .store
        .snapshot(&job.id)
        .await
        .unwrap()
        .steps
        .remove(0)
        .attempts;
    assert_eq!(
        (running[1].outcome, running[1].ended_at, running[1].usage),
        (None, None, None)
    );
    let usage = Usage {
        cpu_s: 15.25,
        max_rss_bytes: 412_000_000,
    };
    on.complete_with(
        &job,
        &second,
        Outcome {
            usage,
            ..Outcome::default()
        },
    )
    .await;
    let attempts = on
        .store
        .snapshot(&job.id)
        .await
        .unwrap()
        .steps
        .remove(0)
        .attempts;
    assert_eq!(attempts[0].outcome, Some(AttemptOutcome::Failed));
    assert_eq!(attempts[0].error, Some(failure(ErrorClass::Transient)));
    assert_eq!(attempts[1].outcome, Some(AttemptOutcome::Succeeded));
    assert_eq!(
        (attempts[1].usage, &attempts[1].error),
        (Some(usage), &None)
    );
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.ended_at >= Some(attempt.started_at))
    );
}

/// See the name.
pub async fn a_transaction_sees_its_own_changes(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    let mut tx = on.store.begin().await.unwrap();
    let (step, fence) = (claim.fence.step.clone(), claim.fence.fence);
    let complete = Command::Complete {
        step,
        fence,
        outcome: Outcome::default(),
    };
    fold(tx.as_mut(), &job, &complete, chrono::TimeDelta::zero())
        .await
        .unwrap();
    let snapshot = tx.snapshot(&job.id).await.unwrap();
    assert_eq!(snapshot.run.status, RunStatus::Succeeded);
    assert_eq!(snapshot.steps[0].step.status, StepStatus::Succeeded);
    assert_eq!(
        snapshot.steps[0].attempts[0].outcome,
        Some(AttemptOutcome::Succeeded)
    );
}

/// See the name.
pub async fn others_see_nothing_before_the_commit(on: Bench) {
    let job = on.submit(single()).await;
    let second = on.factory.open().await;
    let before = on.store.snapshot(&job.id).await.unwrap();
    let mut tx = on.store.begin().await.unwrap();
    let cancel = Command::Cancel {
        by: "a test".to_owned(),
        reason: None,
    };
    fold(tx.as_mut(), &job, &cancel, chrono::TimeDelta::zero())
        .await
        .unwrap();
    assert_eq!(on.store.snapshot(&job.id).await.unwrap(), before);
    assert_eq!(second.snapshot(&job.id).await.unwrap(), before);
    tx.commit().await.unwrap();
    assert_eq!(
        second.load_run(&job.id).await.unwrap().unwrap().status,
        RunStatus::Cancelled
    );
}

/// See the name.
pub async fn steps_are_loaded_as_asked_for(on: Bench) {
    let definition = workflow([
        ("b", step(&[])),
        (
            "each",
            StepDef {
                for_each: Some(expr("[1, 2, 3]")),
                ..step(&[])
            },
        ),
        ("a", step(&["b"])),
    ]);
    let job = on.submit(definition).await;
    let claims = on.claim(&on.session().await, 2).await;
    on.complete(&job, &claims[1], json!(1)).await;
    let mut tx = on.store.begin().await.unwrap();
    let mut load = async |which| -> Vec<String> {
        let loaded = super::steps(tx.as_mut(), &job.id, which).await;
        loaded.into_iter().map(|step| step.id.to_string()).collect()
    };
    assert!(load(StepSet::Empty).await.is_empty());
    assert_eq!(load(StepSet::One(StepId::single("a"))).await, ["a"]);
    assert_eq!(
        load(StepSet::One(StepId::item("each", 2))).await,
        ["each[2]"]
    );
    assert!(load(StepSet::One(StepId::single("each"))).await.is_empty());
    assert!(load(StepSet::One(StepId::item("each", 3))).await.is_empty());
    assert_eq!(
        load(StepSet::Unsettled).await,
        ["b", "each[1]", "each[2]", "a"]
    );
    assert_eq!(
        load(StepSet::All).await,
        ["b", "each[0]", "each[1]", "each[2]", "a"]
    );
}
