//! Who is alive, and what happens to the steps of those who are not.

use std::time::Duration;

use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::machine::Command;
use telecine_engine::queue::{Capability, Machine};
use telecine_engine::run::{AttemptOutcome, StepStatus};
use telecine_engine::store::{Life, Store, Transaction};

use super::{Bench, Job, LEASE, fan_out, fold, ids, single};

/// Whether each other session is dead, by name.
async fn others(store: &dyn Store, except: &SessionId) -> Vec<(String, bool)> {
    let others = store.other_sessions(except).await.unwrap();
    others
        .into_iter()
        .map(|(session, life)| (session.name, !matches!(life, Life::Leased(_))))
        .collect()
}

/// See the name.
pub async fn a_live_session_is_not_dead(on: Bench) {
    let second = on.factory.open().await;
    let (mine, theirs) = (SessionId::generate(), SessionId::generate());
    on.store.open_session(&mine, "mine", LEASE).await.unwrap();
    assert!(others(&*on.store, &mine).await.is_empty());
    second.open_session(&theirs, "theirs", LEASE).await.unwrap();
    assert_eq!(
        others(&*on.store, &mine).await,
        [("theirs".to_owned(), false)]
    );
    assert_eq!(
        others(&*second, &theirs).await,
        [("mine".to_owned(), false)]
    );
}

/// See the name.
pub async fn a_session_is_dead_when_its_lease_is_over(on: Bench) {
    let mine = on.session().await;
    let theirs = SessionId::generate();
    on.store
        .open_session(&theirs, "theirs", Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        others(&*on.store, &mine).await,
        [("theirs".to_owned(), true)]
    );
}

/// Also when its lease was over: as long as nobody has ended it, it goes on.
pub async fn a_renewed_session_lives(on: Bench) {
    let mine = on.session().await;
    let theirs = SessionId::generate();
    on.store
        .open_session(&theirs, "theirs", Duration::ZERO)
        .await
        .unwrap();
    assert!(on.store.renew_session(&theirs, LEASE).await.unwrap());
    assert_eq!(
        others(&*on.store, &mine).await,
        [("theirs".to_owned(), false)]
    );
}

/// See the name.
pub async fn a_renewed_session_can_claim(on: Bench) {
    on.submit(single()).await;
    let mine = SessionId::generate();
    on.store
        .open_session(&mine, "mine", Duration::ZERO)
        .await
        .unwrap();
    assert!(on.claim(&mine, 1).await.is_empty(), "its lease is over");
    assert!(on.store.renew_session(&mine, LEASE).await.unwrap());
    assert_eq!(on.claim(&mine, 1).await.len(), 1);
}

/// See the name.
pub async fn a_session_that_was_ended_cannot_be_renewed(on: Bench) {
    let (mine, theirs) = (on.session().await, on.session().await);
    let mut tx = on.store.begin().await.unwrap();
    tx.end_session(&theirs).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!on.store.renew_session(&theirs, LEASE).await.unwrap());
    assert!(others(&*on.store, &mine).await.is_empty());
    // Ending it again, as two processes may, is no error.
    let mut tx = on.store.begin().await.unwrap();
    tx.end_session(&theirs).await.unwrap();
    tx.commit().await.unwrap();
}

/// See the name.
pub async fn ending_a_session_releases_what_it_ran(on: Bench) {
    let job = on.submit(fan_out(2)).await;
    let dead = on.session().await;
    on.claim(&dead, 2).await;
    let mut tx = on.store.begin().await.unwrap();
    for fence in tx.running_of(&dead).await.unwrap() {
        let lose = Command::Lose {
            step: fence.step,
            fence: fence.fence,
        };
        fold(tx.as_mut(), &job, &lose, chrono::TimeDelta::zero())
            .await
            .unwrap();
    }
    tx.end_session(&dead).await.unwrap();
    tx.commit().await.unwrap();
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    for record in &snapshot.steps {
        assert_eq!(
            (record.step.status, record.step.losses),
            (StepStatus::Ready, 1)
        );
        assert_eq!(record.attempts[0].outcome, Some(AttemptOutcome::Lost));
    }
    assert_eq!(
        ids(&on.claim(&on.session().await, 9).await),
        ["each[0]", "each[1]"]
    );
}

/// Otherwise its steps would run for ever, and nobody would look for them.
pub async fn a_session_cannot_end_while_it_runs_something(on: Bench) {
    on.submit(single()).await;
    let session = on.session().await;
    on.claim_one(&session).await;
    let mut tx = on.store.begin().await.unwrap();
    assert!(tx.end_session(&session).await.is_err());
    drop(tx);
    assert!(on.store.renew_session(&session, LEASE).await.unwrap());
}

/// See the name.
pub async fn running_attempts_are_listed_by_session(on: Bench) {
    let job = on.submit(fan_out(3)).await;
    let (one, other) = (on.session().await, on.session().await);
    let first = on.claim(&one, 2).await;
    on.claim(&other, 1).await;
    on.complete(&job, &first[0], serde_json::json!(1)).await;
    let mut tx = on.store.begin().await.unwrap();
    let running = tx.running_of(&one).await.unwrap();
    assert_eq!(running, [first[1].fence.clone()]);
    assert_eq!(tx.running_of(&other).await.unwrap().len(), 1);
    assert!(
        tx.running_of(&SessionId::generate())
            .await
            .unwrap()
            .is_empty()
    );
}

/// See the name.
pub async fn what_sessions_can_run_is_known_until_they_end(on: Bench) {
    let (session, _silent) = (on.session().await, on.session().await);
    let offer = Capability {
        activities: vec!["test.step@1".to_owned()],
        machine: Machine::with_slots(3),
        run: Some(RunId::generate()),
    };
    on.store.offer(&session, &offer).await.unwrap();
    assert_eq!(on.store.offers().await.unwrap(), [offer]);
    let mut tx = on.store.begin().await.unwrap();
    tx.end_session(&session).await.unwrap();
    tx.commit().await.unwrap();
    assert!(on.store.offers().await.unwrap().is_empty());
}

/// Claims a step of the job in a transaction that is not committed yet.
async fn claim_in_flight(on: &Bench, job: &Job, session: &SessionId) -> Box<dyn Transaction> {
    let mut tx = on.store.begin().await.unwrap();
    assert!(tx.session_is_live(session).await.unwrap());
    let claim = Command::Claim {
        step: StepId::single("only"),
        session: session.clone(),
    };
    let folded = fold(tx.as_mut(), job, &claim, chrono::TimeDelta::zero()).await;
    folded.unwrap();
    tx
}

/// Long enough for whoever could go on to do so.
const A_MOMENT: Duration = Duration::from_millis(100);

/// Whoever ends it waits for the claim, and takes the step from it. Otherwise the step would run in a
/// session that is gone.
pub async fn a_claim_in_flight_is_seen_by_whoever_ends_its_session(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let (other, of) = (on.factory.open().await, session.clone());
    let claiming = claim_in_flight(&on, &job, &session).await;
    let mut ending = tokio::spawn(async move {
        let mut tx = other.begin().await.unwrap();
        let running = tx.running_of(&of).await.unwrap();
        (running, tx.session_is_live(&of).await.unwrap())
    });
    let early = tokio::time::timeout(A_MOMENT, &mut ending).await;
    assert!(early.is_err(), "it waits");
    claiming.commit().await.unwrap();
    let (running, live) = ending.await.unwrap();
    assert_eq!(running.len(), 1);
    assert!(live);
}

/// The other way round: who would claim waits until the session has ended, and then may not.
pub async fn a_claim_waits_for_whoever_ends_its_session(on: Bench) {
    on.submit(single()).await;
    let session = on.session().await;
    let (other, of) = (on.factory.open().await, session.clone());
    let mut ending = on.store.begin().await.unwrap();
    assert!(ending.running_of(&session).await.unwrap().is_empty());
    let mut claiming = tokio::spawn(async move {
        let mut tx = other.begin().await.unwrap();
        tx.session_is_live(&of).await.unwrap()
    });
    let early = tokio::time::timeout(A_MOMENT, &mut claiming).await;
    assert!(early.is_err(), "it waits");
    ending.end_session(&session).await.unwrap();
    ending.commit().await.unwrap();
    assert!(!claiming.await.unwrap(), "the session has ended");
}
