//! What an attempt can still do after its step went to another one: nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use telecine_engine::activity::{ErrorClass, Progress};
use telecine_engine::definition::StepDef;
use telecine_engine::id::{PlanId, RunId, StepId};
use telecine_engine::machine::{Changes, Command, Rejected};
use telecine_engine::retry::plan::{self, Given, Verdict, Verdicts};
use telecine_engine::retry::world::World;
use telecine_engine::run::{RunStatus, StepStatus};
use telecine_engine::store::{Claim, Content, Fence, NewCheckpoint, Outcome, StepSet, StoreError};

use super::{Bench, Job, artifact, failed, single, step, workflow};

fn checkpoint() -> NewCheckpoint {
    NewCheckpoint {
        content: Content::Whole(json!({"frame": 1})),
        covers: None,
        compat: "c".to_owned(),
        artifacts: vec![artifact("stale.m4s")],
    }
}

/// Tries every write of an attempt; each must be refused and change nothing.
async fn can_write_nothing(on: &Bench, job: &Job, claim: &Claim) {
    let fence = &claim.fence;
    let before = (
        on.store.snapshot(&job.id).await.unwrap(),
        on.events(job).await,
    );
    let refused = [
        on.store
            .set_deadline(fence, Duration::from_secs(1))
            .await
            .err(),
        on.store.save_checkpoint(fence, &checkpoint()).await.err(),
        on.store
            .allocate_generation(fence, "hash", 0, None)
            .await
            .err(),
        on.store.publish(fence, "hash", 1).await.err(),
    ];
    for error in refused {
        let Some(StoreError::Fenced { run, step }) = error else {
            panic!("{error:?}")
        };
        assert_eq!((run, step), (fence.run.clone(), fence.step.clone()));
    }
    let progress = [(
        fence.clone(),
        Progress {
            counter: 9,
            ..Progress::default()
        },
    )];
    assert_eq!(
        on.store.save_progress(&progress).await.unwrap(),
        std::slice::from_ref(fence)
    );
    let complete = Command::Complete {
        step: fence.step.clone(),
        fence: fence.fence,
        outcome: Outcome::default(),
    };
    for command in [complete, failed(claim, ErrorClass::Bug)] {
        assert_eq!(on.fold(job, command).await.unwrap_err(), Rejected::Fenced);
    }
    assert_eq!(
        (
            on.store.snapshot(&job.id).await.unwrap(),
            on.events(job).await
        ),
        before
    );
    assert_eq!(on.store.publication("hash").await.unwrap(), None);
}

/// See the name.
pub async fn an_attempt_that_lost_its_step_can_write_nothing(on: Bench) {
    let job = on.submit(single()).await;
    let stale = on.claim_one(&on.session().await).await;
    let lose = Command::Lose {
        step: stale.fence.step.clone(),
        fence: stale.fence.fence,
    };
    on.fold(&job, lose).await.unwrap();
    can_write_nothing(&on, &job, &stale).await;
    let current = on.claim_one(&on.session().await).await;
    can_write_nothing(&on, &job, &stale).await;
    on.store
        .save_checkpoint(&current.fence, &checkpoint())
        .await
        .unwrap();
    on.complete(&job, &current, json!(1)).await;
    assert_eq!(on.run(&job).await.status, RunStatus::Succeeded);
}

/// See the name.
pub async fn an_attempt_of_a_cancelled_run_can_write_nothing(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    on.fold(
        &job,
        Command::Cancel {
            by: "a test".to_owned(),
            reason: None,
        },
    )
    .await
    .unwrap();
    assert_eq!(on.step(&job, "only").await.status, StepStatus::Cancelled);
    can_write_nothing(&on, &job, &claim).await;
}

/// See the name.
pub async fn an_attempt_of_a_finished_step_can_write_nothing(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    on.complete(&job, &claim, json!(1)).await;
    can_write_nothing(&on, &job, &claim).await;
}

/// A plan reads a list anew: its steps are removed and made again under the same names, while an
/// attempt of the old ones may still be at work.
pub async fn a_step_made_anew_keeps_older_attempts_out(on: Bench) {
    let list = StepDef {
        for_each: Some(super::expr("steps.list.output")),
        ..step(&["list"])
    };
    let job = on
        .submit(workflow([("list", step(&[])), ("each", list)]))
        .await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    let outcome = Outcome {
        output: json!([1]),
        artifacts: vec![artifact("list.json")],
        ..Outcome::default()
    };
    on.complete_with(&job, &first, outcome).await;
    let stale = on.claim_one(&session).await;
    on.fold(
        &job,
        Command::Cancel {
            by: "a test".to_owned(),
            reason: None,
        },
    )
    .await
    .unwrap();
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    // The artifact of the list is gone, so that everything runs again.
    let verdicts = Verdicts::from([("list.json".to_owned(), Verdict::Missing)]);
    let world = World::of_objects(verdicts);
    let given = Given {
        world: &world,
        ..Given::of(&snapshot, &job.definition)
    };
    let plan = plan::compute(PlanId::generate(), given);
    on.fold(
        &job,
        Command::Reopen {
            plan: Box::new(plan),
        },
    )
    .await
    .unwrap();
    let again = on.claim_one(&session).await;
    on.complete(&job, &again, json!([1])).await;
    let anew = on.claim_one(&session).await;
    assert_eq!((&anew.fence.step, anew.attempt), (&stale.fence.step, 2));
    assert!(anew.fence.fence > stale.fence.fence);
    can_write_nothing(&on, &job, &stale).await;
}

/// See the name.
pub async fn progress_is_saved_for_those_who_own_their_step(on: Bench) {
    let job = on.submit(super::fan_out(3)).await;
    let claims = on.claim(&on.session().await, 3).await;
    on.complete(&job, &claims[1], json!(1)).await;
    let at = |counter| Progress {
        counter,
        percent: Some(12.5),
        media_s: Some(1.5),
        ..Progress::default()
    };
    let unknown = Fence {
        step: StepId::single("nobody"),
        ..claims[0].fence.clone()
    };
    let report: Vec<_> = [
        &claims[0].fence,
        &claims[1].fence,
        &unknown,
        &claims[2].fence,
    ]
    .into_iter()
    .zip(1..)
    .map(|(fence, counter)| (fence.clone(), at(counter)))
    .collect();
    let lost = on.store.save_progress(&report).await.unwrap();
    assert_eq!(lost, [claims[1].fence.clone(), unknown]);
    assert_eq!(
        on.step(&job, "each[0]").await.progress.as_deref(),
        Some(&at(1))
    );
    assert_eq!(on.step(&job, "each[1]").await.progress, None);
    assert_eq!(
        on.step(&job, "each[2]").await.progress.as_deref(),
        Some(&at(4))
    );
    assert!(on.store.save_progress(&[]).await.unwrap().is_empty());
}

/// Whoever has a run as of a revision has it as it is: but for progress and deadlines, which no command
/// is decided on.
pub async fn the_revision_of_a_run_tells_of_what_its_attempts_wrote(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    let fence = &claim.fence;
    let revision = async || {
        let mut tx = on.store.begin().await.unwrap();
        let runs = BTreeSet::from([job.id.clone(), RunId::generate()]);
        let locked = tx.lock_runs(&runs).await.unwrap();
        assert_eq!(locked.len(), 1, "only what is there");
        locked[&job.id]
    };
    let claimed = revision().await;
    on.store
        .set_deadline(fence, Duration::from_secs(60))
        .await
        .unwrap();
    let progress = [(fence.clone(), Progress::default())];
    on.store.save_progress(&progress).await.unwrap();
    assert_eq!(revision().await, claimed);
    on.store
        .save_checkpoint(fence, &checkpoint())
        .await
        .unwrap();
    let saved = revision().await;
    assert!(saved > claimed, "a checkpoint clears losses");
    on.fail(&job, &claim).await;
    let step = fence.step.clone();
    on.fold(&job, Command::Wake { step }).await.unwrap();
    let resumed = on.claim_one(&on.session().await).await;
    let claimed = revision().await;
    on.store.refuse_checkpoint(&resumed.fence).await.unwrap();
    let refused = revision().await;
    assert!(refused > claimed, "nothing goes on from it");
    let header = on.store.load_run(&job.id).await.unwrap().unwrap();
    let events = on.events(&job).await;
    assert_eq!(
        (header.revision, header.events),
        (refused, events.len() as u64)
    );
}

/// Neither the input nor the progress of a step goes because a command did not name it.
pub async fn a_step_keeps_its_progress_until_it_is_cleared(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    let shown = Progress {
        counter: 7,
        ..Progress::default()
    };
    let progress = [(claim.fence.clone(), shown)];
    on.store.save_progress(&progress).await.unwrap();
    let mut tx = on.store.begin().await.unwrap();
    let mut steps = super::steps(tx.as_mut(), &job.id, StepSet::All).await;
    steps[0].progress = None;
    let changes = super::changes_of_steps(tx.as_mut(), &job.id, steps).await;
    super::save(tx.as_mut(), &job.id, changes.clone()).await;
    let kept = super::steps(tx.as_mut(), &job.id, StepSet::All).await;
    assert_eq!(kept[0].progress.as_deref(), Some(&shown));
    let cleared = Changes {
        cleared: vec![kept[0].id.clone()],
        ..changes
    };
    super::save(tx.as_mut(), &job.id, cleared).await;
    let gone = super::steps(tx.as_mut(), &job.id, StepSet::All).await;
    assert_eq!(gone[0].progress, None);
}
