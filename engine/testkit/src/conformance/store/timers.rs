//! Backoffs and deadlines, by the database's clock.

use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use telecine_engine::activity::ErrorClass;
use telecine_engine::definition::{Backoff, Jitter, RetryPolicy, StepDef};
use telecine_engine::machine::Command;
use telecine_engine::store::{Claim, Due};

use super::{Bench, Job, expr, failed, single, step, workflow};

const HOUR: TimeDelta = TimeDelta::hours(1);

/// Fails an attempt `ago` before now; its backoff takes two seconds at most.
async fn fail(on: &Bench, job: &Job, claim: &Claim, ago: TimeDelta) {
    on.fold_at(job, failed(claim, ErrorClass::Transient), -ago)
        .await
        .unwrap();
}

/// See the name.
pub async fn a_backoff_is_due_when_it_is_over(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    fail(&on, &job, &claim, HOUR).await;
    let step = claim.fence.step.clone();
    assert_eq!(
        on.store.due(10).await.unwrap(),
        [Due::Backoff(job.id.clone(), step.clone())]
    );
    assert_eq!(on.store.next_due_in().await.unwrap(), Some(Duration::ZERO));
    on.fold(&job, Command::Wake { step }).await.unwrap();
    assert!(on.store.due(10).await.unwrap().is_empty());
    assert_eq!(on.store.next_due_in().await.unwrap(), None);
}

/// See the name.
pub async fn a_deadline_is_due_when_it_has_passed(on: Bench) {
    on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    on.store
        .set_deadline(&claim.fence, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        on.store.due(10).await.unwrap(),
        [Due::Deadline(claim.fence)]
    );
}

/// See the name.
pub async fn nothing_is_due_that_lies_ahead(on: Bench) {
    let job = on.submit(super::fan_out(2)).await;
    let claims = on.claim(&on.session().await, 2).await;
    assert_eq!(on.store.next_due_in().await.unwrap(), None);
    on.store
        .set_deadline(&claims[0].fence, Duration::from_secs(7200))
        .await
        .unwrap();
    let within = |hours: u64, next: Option<Duration>| {
        let end = Duration::from_secs(hours * 3600);
        next.is_some_and(|next| next <= end && next > end - Duration::from_secs(60))
    };
    assert!(within(2, on.store.next_due_in().await.unwrap()));
    fail(&on, &job, &claims[1], -HOUR).await;
    assert!(within(
        1,
        on.store
            .next_due_in()
            .await
            .unwrap()
            .map(|due| due - ROUNDED)
    ));
    assert!(on.store.due(10).await.unwrap().is_empty());
}

/// What a backoff of at most two seconds adds.
const ROUNDED: Duration = Duration::from_secs(2);

/// See the name.
pub async fn what_is_due_comes_oldest_first(on: Bench) {
    let backoff = Backoff {
        jitter: Jitter::None,
        ..Backoff::default()
    };
    let retry = RetryPolicy {
        backoff,
        ..RetryPolicy::default()
    };
    let list = StepDef {
        for_each: Some(expr("[1, 2, 3, 4]")),
        retry,
        ..step(&[])
    };
    let job = on.submit(workflow([("each", list)])).await;
    let claims = on.claim(&on.session().await, 4).await;
    fail(&on, &job, &claims[0], HOUR).await;
    fail(&on, &job, &claims[1], HOUR * 3).await;
    on.store
        .set_deadline(&claims[2].fence, Duration::ZERO)
        .await
        .unwrap();
    fail(&on, &job, &claims[3], HOUR * 2).await;
    let backoff = |n: usize| Due::Backoff(job.id.clone(), claims[n].fence.step.clone());
    let expected = [
        backoff(1),
        backoff(3),
        backoff(0),
        Due::Deadline(claims[2].fence.clone()),
    ];
    assert_eq!(on.store.due(10).await.unwrap(), expected);
    assert_eq!(on.store.due(2).await.unwrap(), expected[..2]);
}

/// See the name.
pub async fn a_deadline_ends_with_its_attempt(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    on.store
        .set_deadline(&claim.fence, Duration::ZERO)
        .await
        .unwrap();
    on.complete(&job, &claim, json!(1)).await;
    assert!(on.store.due(10).await.unwrap().is_empty());
    assert_eq!(on.step(&job, "only").await.deadline_at, None);
}

/// See the name.
pub async fn an_endless_deadline_is_never_due(on: Bench) {
    on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    on.store
        .set_deadline(&claim.fence, Duration::MAX)
        .await
        .unwrap();
    assert!(on.store.due(10).await.unwrap().is_empty());
    assert!(on.store.next_due_in().await.unwrap() > Some(Duration::from_secs(86_400)));
}
