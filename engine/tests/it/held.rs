//! Steps that a worker has claimed without knowing it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use telecine_engine::committer::CommitError;
use telecine_engine::queue::{Free, Machine};
use telecine_engine::run::{Snapshot, StepStatus};
use telecine_engine::store::{Claim, ClaimRequest, StoreError};
use telecine_engine::worker::{Held, Session};

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    a_claim_whose_answer_comes_after_it_was_given_back_is_not_held
    a_claim_whose_answer_came_is_not_given_back
}

const STEP: &str = "  only: {activity: test.act@1, with: {what: succeed}}";

pub(crate) async fn session(stage: &Stage) -> Session {
    let opened = Session::open(stage.parts.store.clone(), &stage.parts.committer).await;
    opened.unwrap()
}

/// What a session with one slot can claim.
pub(crate) async fn claim(stage: &Stage, session: &Session) -> Vec<Claim> {
    let machine = Machine::with_slots(1);
    let request = ClaimRequest {
        session: session.id().clone(),
        run: None,
        machine,
        free: Free::new(machine.room()),
        activities: vec!["test.act@1".to_owned()],
    };
    stage.parts.committer.claim(request).await.unwrap()
}

/// An answer that got lost.
fn unanswered() -> Result<Vec<Claim>, CommitError> {
    let why = StoreError::Unreachable("the test wants it".to_owned());
    Err(CommitError::Store(Arc::new(why)))
}

fn watch(stage: &Stage, held: &Held, session: &Session) -> tokio::task::AbortHandle {
    let (store, committer) = (stage.parts.store.clone(), stage.parts.committer.clone());
    let watching = held.clone().watch(store, committer, session.id().clone());
    tokio::spawn(watching).abort_handle()
}

fn is_ready(snapshot: &Snapshot) -> bool {
    snapshot.steps[0].step.status == StepStatus::Ready
}

async fn a_claim_whose_answer_comes_after_it_was_given_back_is_not_held(home: Home) {
    let stage = Stage::on(home).await;
    let run = stage.submit(STEP).await;
    let (old, new) = (session(&stage).await, session(&stage).await);
    let held = Held::default();
    let watching = watch(&stage, &held, &old);
    let late = claim(&stage, &old).await;
    held.note(&unanswered());
    stage.until(&run, is_ready).await;
    let theirs = claim(&stage, &new).await;
    assert_eq!(theirs.len(), 1, "it is somebody else's now");
    held.note(&Ok(late.clone()));
    assert!(!held.holds(&late[0].fence), "{late:?}");
    watching.abort();
    for session in [old, new] {
        let committer = &stage.parts.committer;
        committer.end_session(session.id()).await.unwrap();
    }
}

async fn a_claim_whose_answer_came_is_not_given_back(home: Home) {
    let stage = Stage::on(home).await;
    let run = stage.submit(STEP).await;
    let other = stage.submit(&STEP.replace("succeed", "tick")).await;
    let mine = session(&stage).await;
    let held = Held::default();
    let watching = watch(&stage, &held, &mine);
    let (known, lost) = (claim(&stage, &mine).await, claim(&stage, &mine).await);
    assert_eq!((&known[0].fence.run, &lost[0].fence.run), (&run, &other));
    held.note(&Ok(known.clone()));
    held.note(&unanswered());
    stage.until(&other, is_ready).await;
    assert!(held.holds(&known[0].fence));
    let snapshot = stage.coordinator.store.snapshot(&run).await.unwrap();
    assert_eq!(snapshot.steps[0].step.status, StepStatus::Running);
    watching.abort();
    stage.parts.committer.end_session(mine.id()).await.unwrap();
}
