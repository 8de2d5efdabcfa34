#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use telecine_engine::id::RunId;
use telecine_engine::queue::Machine;
use telecine_engine::run::{RunStatus, StepStatus};
use telecine_engine::store::{Claim, ClaimRequest};
use telecine_engine::worker::Session;

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    who_waits_gets_the_first_step_with_the_submission
    who_waits_gets_what_was_ready_before_by_looking
    a_wait_that_was_withdrawn_or_given_up_claims_nothing
}

const STEP: &str = "  only: {activity: test.act@1, with: {what: succeed, value: 1}}";

/// A wait for steps by a worker that has two slots.
fn request(session: &Session) -> ClaimRequest {
    let machine = Machine::with_slots(2);
    ClaimRequest {
        session: session.id().clone(),
        run: None,
        machine,
        free: machine.room(),
        activities: vec!["test.act@1".to_owned()],
    }
}

fn runs(claims: &[Claim]) -> Vec<&RunId> {
    claims.iter().map(|claim| &claim.fence.run).collect()
}

/// State of a run and of its step.
async fn states(stage: &Stage, run: &RunId) -> (RunStatus, StepStatus) {
    let snapshot = stage.coordinator.store.snapshot(run).await.unwrap();
    (snapshot.run.status, snapshot.steps[0].step.status)
}

async fn who_waits_gets_the_first_step_with_the_submission(home: Home) {
    let stage = Stage::on(home).await;
    let session = Session::open(stage.parts.store.clone(), &stage.parts.committer)
        .await
        .unwrap();
    let committer = &stage.parts.committer;
    let mut awaited = committer.wait(request(&session)).await.unwrap();
    let run = stage.submit(STEP).await;
    // Nobody has seen it ready: the submission was answered by the same commit.
    let running = (RunStatus::Running, StepStatus::Running);
    assert_eq!(states(&stage, &run).await, running);
    let claims = awaited.claims().await.unwrap();
    assert_eq!(runs(&claims), [&run]);
    committer.end_session(session.id()).await.unwrap();
}

async fn who_waits_gets_what_was_ready_before_by_looking(home: Home) {
    let stage = Stage::on(home).await;
    let session = Session::open(stage.parts.store.clone(), &stage.parts.committer)
        .await
        .unwrap();
    let committer = &stage.parts.committer;
    let run = stage.submit(STEP).await;
    let mut awaited = committer.wait(request(&session)).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), awaited.claims()).await;
    assert!(early.is_err(), "nobody has looked");
    committer.look().await;
    assert_eq!(runs(&awaited.claims().await.unwrap()), [&run]);
    committer.end_session(session.id()).await.unwrap();
}

async fn a_wait_that_was_withdrawn_or_given_up_claims_nothing(home: Home) {
    let stage = Stage::on(home).await;
    let session = Session::open(stage.parts.store.clone(), &stage.parts.committer)
        .await
        .unwrap();
    let committer = &stage.parts.committer;
    let mut withdrawn = committer.wait(request(&session)).await.unwrap();
    committer.withdraw(session.id()).await;
    assert!(withdrawn.claims().await.unwrap().is_empty());
    drop(committer.wait(request(&session)).await.unwrap());
    let run = stage.submit(STEP).await;
    assert_eq!(states(&stage, &run).await.1, StepStatus::Ready);
    committer.end_session(session.id()).await.unwrap();
}
