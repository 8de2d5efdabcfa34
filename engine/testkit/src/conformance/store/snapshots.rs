//! Runs as a whole, and parts of them.

use serde_json::json;
use telecine_engine::activity::{ErrorClass, Usage};
use telecine_engine::definition::StepDef;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Command;
use telecine_engine::run::{AttemptOutcome, RunStatus, StepStatus};
use telecine_engine::store::{Outcome, Outline, StepSet, StoreError, Window};

use super::{Bench, Job, artifact, expr, failure, fold, single, step, workflow};

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
        processors: Some(16),
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

/// The steps of an outline.
fn ids(outline: &Outline) -> Vec<String> {
    let steps = outline.snapshot.steps.iter();
    steps.map(|record| record.step.id.to_string()).collect()
}

/// A chain with a fan-out of five in the middle, of which the last item succeeded.
async fn middle(on: &Bench) -> Job {
    let each = StepDef {
        for_each: Some(expr("[0, 1, 2, 3, 4]")),
        ..step(&[])
    };
    let definition = workflow([("a", step(&[])), ("m", each), ("z", step(&["a"]))]);
    let job = on.submit(definition).await;
    let claims = on.claim(&on.session().await, 10).await;
    let last = claims
        .iter()
        .find(|claim| claim.fence.step == StepId::item("m", 4));
    let outcome = Outcome {
        output: json!(4),
        artifacts: vec![artifact("a.mp4"), artifact("b.mp4")],
        ..Outcome::default()
    };
    on.complete_with(&job, last.unwrap(), outcome).await;
    job
}

/// See the name.
pub async fn windows_of_a_run_follow_each_other_to_its_end(on: Bench) {
    let job = middle(&on).await;
    let whole = on.store.snapshot(&job.id).await.unwrap();
    let (mut seen, mut step) = (Vec::new(), None);
    loop {
        let window = Window::Behind(step, 3);
        let outline = on.store.outline(&job.id, &window).await.unwrap();
        assert_eq!(outline.total, 7);
        assert_eq!(
            (&outline.snapshot.run, &outline.snapshot.nodes),
            (&whole.run, &whole.nodes)
        );
        assert!(outline.snapshot.steps.len() <= 3);
        seen.extend(outline.snapshot.steps);
        step = outline.last;
        if step.is_none() {
            break;
        }
    }
    assert_eq!(seen, whole.steps);
}

/// See the name.
pub async fn a_step_is_read_alone_with_all_that_belongs_to_it(on: Bench) {
    let job = middle(&on).await;
    let whole = on.store.snapshot(&job.id).await.unwrap();
    let window = Window::One(StepId::item("m", 4));
    let outline = on.store.outline(&job.id, &window).await.unwrap();
    assert_eq!(ids(&outline), ["m[4]"]);
    assert_eq!(outline.snapshot.steps[0], whole.steps[5]);
    assert_eq!(outline.snapshot.steps[0].artifacts.len(), 2);
    for id in ["m[5]", "a[0]", "none"] {
        let window = Window::One(id.parse().unwrap());
        let outline = on.store.outline(&job.id, &window).await.unwrap();
        assert_eq!(ids(&outline), Vec::<String>::new(), "{id}");
    }
    let error = on.store.outline(&RunId::generate(), &Window::Head).await;
    assert!(matches!(error, Err(StoreError::NoRun(_))), "{error:?}");
}

/// See the name.
pub async fn the_head_of_a_small_run_is_all_of_it(on: Bench) {
    let job = middle(&on).await;
    let outline = on.store.outline(&job.id, &Window::Head).await.unwrap();
    assert_eq!((outline.total, &outline.last), (7, &None));
    assert_eq!(outline.snapshot, on.store.snapshot(&job.id).await.unwrap());
}

/// See the name.
pub async fn the_head_of_a_wide_run_is_a_small_part_of_it(on: Bench) {
    let list: Vec<u32> = (0..700).collect();
    let each = StepDef {
        for_each: Some(expr(&json!(list).to_string())),
        ..step(&[])
    };
    let job = on
        .submit(workflow([("each", each), ("z", step(&[]))]))
        .await;
    let outline = on.store.outline(&job.id, &Window::Head).await.unwrap();
    assert_eq!(outline.total, 701);
    assert_eq!(outline.last, Some(StepId::item("each", 99)));
    let known = ids(&outline);
    assert_eq!(known.len(), 501);
    assert_eq!(known.last().unwrap(), "z");
    let behind = Window::Behind(Some(StepId::item("each", 698)), 100);
    let outline = on.store.outline(&job.id, &behind).await.unwrap();
    assert_eq!(ids(&outline), ["each[699]", "z"]);
    assert_eq!(outline.last, None);
}
