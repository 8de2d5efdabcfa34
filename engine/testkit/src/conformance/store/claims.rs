//! How ready steps become running attempts.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::json;
use telecine_engine::definition::{ActivityRef, StepDef, Template};
use telecine_engine::id::SessionId;
use telecine_engine::limits;
use telecine_engine::machine::Command;
use telecine_engine::queue::Queue;
use telecine_engine::run::{Run, RunStatus, StepStatus};
use telecine_engine::store::ClaimRequest;

use super::{Bench, Job, claim, fan_out, ids, queued, request, single, step, workflow};

/// See the name.
pub async fn a_claim_carries_what_an_attempt_needs(on: Bench) {
    let with = Template::parse(&json!({"source": "${{ input.source }}", "n": 2})).unwrap();
    let definition = workflow([("probe", StepDef { with, ..step(&[]) })]);
    let run = queued(&definition, json!({"source": "a.mp4"}));
    let stores = run.stores.clone();
    let job = on.submit_run(definition, run).await;
    let claim = on.claim_one(&on.session().await).await;
    assert_eq!(claim.fence.run, job.id);
    assert_eq!(claim.fence.step.to_string(), "probe");
    assert_eq!(claim.attempt, 1);
    assert_eq!(claim.activity, "test.step@1");
    assert_eq!(claim.input, json!({"source": "a.mp4", "n": 2}));
    assert_eq!(claim.definition, "sha256:test:workflow");
    assert_eq!(claim.stores, stores);
    assert_eq!(claim.checkpoint, None);
}

/// See the name.
pub async fn the_first_claim_starts_the_run(on: Bench) {
    let job = on.submit(fan_out(2)).await;
    let session = on.session().await;
    assert_eq!(on.run(&job).await.status, RunStatus::Queued);
    let first = on.claim(&session, 1).await;
    let started = on.run(&job).await;
    assert_eq!(started.status, RunStatus::Running);
    assert!(started.started_at.is_some());
    on.claim(&session, 1).await;
    let later = on.run(&job).await;
    assert!(later.revision > started.revision);
    assert_eq!(
        (later.status, later.started_at),
        (started.status, started.started_at)
    );
    let kinds: Vec<_> = on
        .events(&job)
        .await
        .into_iter()
        .map(|e| e.event.kind)
        .collect();
    assert!(kinds.ends_with(&["run.started", "step.claimed", "step.claimed"].map(str::to_owned)));
    let claimed = &on.data(&job, "step.claimed").await[0];
    let expected = json!({"attempt": 1, "worker": session, "resumed_from": null});
    assert_eq!(*claimed, expected);
    let step = on.step(&job, &first[0].fence.step.to_string()).await;
    assert_eq!(step.status, StepStatus::Running);
    assert_eq!(step.running.as_ref().unwrap().session, session);
    assert_eq!(step.started_at, started.started_at);
}

/// See the name.
pub async fn older_runs_and_earlier_steps_go_first(on: Bench) {
    let list = StepDef {
        for_each: Some(super::expr("[1, 2, 3]")),
        ..step(&[])
    };
    let definition = || workflow([("z", step(&[])), ("m", list.clone()), ("a", step(&[]))]);
    let older = on.submit(definition()).await;
    let newer = on.submit(definition()).await;
    let session = on.session().await;
    let mut claims = on.claim(&session, 2).await;
    claims.extend(on.claim(&session, 100).await);
    let order = ["z", "m[0]", "m[1]", "m[2]", "a"];
    assert_eq!(ids(&claims[..5]), order);
    assert_eq!(ids(&claims[5..]), order);
    assert!(claims[..5].iter().all(|claim| claim.fence.run == older.id));
    assert!(claims[5..].iter().all(|claim| claim.fence.run == newer.id));
}

/// See the name.
pub async fn only_activities_of_the_worker_are_claimed(on: Bench) {
    let other = ActivityRef {
        name: "test.step".to_owned(),
        version: 2,
    };
    let definition = workflow([
        (
            "new",
            StepDef {
                activity: other,
                ..step(&[])
            },
        ),
        ("old", step(&[])),
    ]);
    on.submit(definition).await;
    let session = on.session().await;
    let store = on.store.as_ref();
    let of = |activities: &[&str]| ClaimRequest {
        activities: activities.iter().map(|name| (*name).to_owned()).collect(),
        ..request(&session, 10)
    };
    assert!(claim(store, &of(&[])).await.is_empty());
    assert!(
        claim(store, &of(&["test.step", "test.step@11"]))
            .await
            .is_empty()
    );
    assert_eq!(ids(&claim(store, &of(&["test.step@1"])).await), ["old"]);
    let both = of(&["test.step@1", "test.step@2"]);
    assert_eq!(ids(&claim(store, &both).await), ["new"]);
}

/// See the name.
pub async fn only_steps_of_the_run_asked_for_are_claimed(on: Bench) {
    on.submit(single()).await;
    let wanted = on.submit(single()).await;
    on.submit(single()).await;
    let session = on.session().await;
    let only = ClaimRequest {
        run: Some(wanted.id.clone()),
        ..request(&session, 10)
    };
    let claims = claim(on.store.as_ref(), &only).await;
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].fence.run, wanted.id);
    assert!(claim(on.store.as_ref(), &only).await.is_empty());
    assert_eq!(on.claim(&session, 10).await.len(), 2);
}

/// See the name.
pub async fn no_more_steps_are_claimed_than_asked_for(on: Bench) {
    on.submit(fan_out(5)).await;
    let session = on.session().await;
    assert!(on.claim(&session, 0).await.is_empty());
    assert_eq!(on.claim(&session, 3).await.len(), 3);
    assert_eq!(on.claim(&session, 3).await.len(), 2);
    assert!(on.claim(&session, 3).await.is_empty());
}

/// Its lease is over, it was ended, or nobody ever opened it.
pub async fn a_session_that_is_not_live_claims_nothing(on: Bench) {
    on.submit(single()).await;
    let expired = SessionId::generate();
    on.store
        .open_session(&expired, "expired", Duration::ZERO)
        .await
        .unwrap();
    assert!(on.claim(&expired, 1).await.is_empty());
    let ended = on.session().await;
    let mut tx = on.store.begin().await.unwrap();
    tx.end_session(&ended).await.unwrap();
    tx.commit().await.unwrap();
    assert!(on.claim(&ended, 1).await.is_empty());
    assert!(on.claim(&SessionId::generate(), 1).await.is_empty());
    assert_eq!(on.claim(&on.session().await, 1).await.len(), 1);
}

/// See the name.
pub async fn each_claim_raises_fence_attempt_and_charge(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let mut earlier = None;
    for n in 1..=3 {
        let claim = on.claim_one(&session).await;
        assert!(earlier.is_none_or(|fence| claim.fence.fence > fence));
        earlier = Some(claim.fence.fence);
        let step = on.step(&job, "only").await;
        assert_eq!((claim.attempt, step.attempts, step.charged), (n, n, n));
        assert_eq!(step.fence, claim.fence.fence);
        if n < 3 {
            on.fail(&job, &claim).await;
            let wake = Command::Wake {
                step: claim.fence.step.clone(),
            };
            on.fold(&job, wake).await.unwrap();
        }
    }
    let attempts = &on.store.snapshot(&job.id).await.unwrap().steps[0].attempts;
    assert_eq!(
        attempts.iter().map(|attempt| attempt.n).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert!(
        attempts
            .iter()
            .all(|attempt| attempt.worker == session && attempt.round == 1)
    );
}

/// Eight workers on two stores, as in two processes, take 200 steps of two runs.
pub async fn each_step_is_claimed_once_by_many_workers(on: Bench) {
    on.submit(fan_out(100)).await;
    on.submit(fan_out(100)).await;
    let second = on.factory.open().await;
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let store = if worker % 2 == 0 {
            on.store.clone()
        } else {
            second.clone()
        };
        let session = on.session().await;
        workers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let request = request(&session, 3);
                let claims = claim(store.as_ref(), &request).await;
                if claims.is_empty() && store.waiting(None, 1).await.unwrap().is_empty() {
                    return mine;
                }
                mine.extend(claims.into_iter().map(|claim| claim.fence));
            }
        });
    }
    let claimed: Vec<_> = workers.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = claimed
        .iter()
        .map(|fence| (&fence.run, &fence.step))
        .collect();
    assert_eq!((claimed.len(), distinct.len()), (200, 200));
}

/// See the name.
pub async fn the_age_of_a_step_is_counted_from_its_first_claim(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    // An hour passes: the claim is moved back in time.
    let mut tx = on.store.begin().await.unwrap();
    let mut step = super::steps(tx.as_mut(), &job.id, super::StepSet::All)
        .await
        .remove(0);
    step.started_at = step.started_at.map(|at| at - TimeDelta::hours(1));
    let changes = super::changes_of_steps(tx.as_mut(), &job.id, vec![step]).await;
    super::save(tx.as_mut(), &job.id, changes).await;
    tx.commit().await.unwrap();
    on.fail(&job, &first).await;
    on.fold(
        &job,
        Command::Wake {
            step: first.fence.step,
        },
    )
    .await
    .unwrap();
    on.claim_one(&session).await;
    let begun = on.step(&job, "only").await.started_at.unwrap();
    let mut tx = on.store.begin().await.unwrap();
    let age = tx.now().await.unwrap() - begun;
    assert!(
        age >= TimeDelta::seconds(3600) && age < TimeDelta::seconds(3700),
        "{age:?}"
    );
}

/// Of a job and its steps, a step's own priority and queue go first. However few are asked for, every
/// kind answers.
pub async fn of_each_kind_the_lowest_ranks_wait_first(on: Bench) {
    let urgent = |priority| StepDef {
        priority: Some(priority),
        ..step(&[])
    };
    let critical = StepDef {
        queue: Some(Queue::Critical),
        ..step(&[])
    };
    let definition = || {
        workflow([
            ("usual", step(&[])),
            ("urgent", urgent(5)),
            ("patient", urgent(-5)),
            ("critical", critical.clone()),
        ])
    };
    let first = on.submit(definition()).await;
    let run = Run {
        priority: 1,
        ..queued(&definition(), json!({}))
    };
    let second = on.submit_run(definition(), run).await;
    let mut waiting = on.store.waiting(None, 10).await.unwrap();
    waiting.sort_by_key(|it| (it.ticket.kind.queue, it.ticket.rank, it.run.clone()));
    let order: Vec<_> = waiting
        .iter()
        .map(|it| (it.run.clone(), it.step.to_string(), it.ticket.kind.queue))
        .collect();
    let of = |job: &Job, step: &str, queue| (job.id.clone(), step.to_owned(), queue);
    let expected = [
        of(&second, "critical", Queue::Critical),
        of(&first, "critical", Queue::Critical),
        of(&first, "urgent", Queue::Default),
        of(&second, "urgent", Queue::Default),
        of(&second, "usual", Queue::Default),
        of(&first, "usual", Queue::Default),
        of(&first, "patient", Queue::Default),
        of(&second, "patient", Queue::Default),
    ];
    assert_eq!(order, expected);
    let heads = on.store.waiting(None, 1).await.unwrap();
    let mut heads: Vec<_> = heads.iter().map(|it| it.step.to_string()).collect();
    heads.sort();
    assert_eq!(heads, ["critical", "urgent"]);
    let of_run = on.store.waiting(Some(&first.id), 3).await.unwrap();
    let of_run: Vec<_> = of_run.iter().map(|it| it.step.to_string()).collect();
    assert_eq!(of_run, ["usual", "urgent", "patient"], "in their own order");
    let mut counts = on.store.count_waiting().await.unwrap();
    counts.sort();
    let counts: Vec<_> = counts.iter().map(|(kind, n)| (kind.queue, *n)).collect();
    assert_eq!(counts, [(Queue::Critical, 2), (Queue::Default, 6)]);
}

/// See the name.
pub async fn a_step_waits_until_it_is_claimed_and_again_when_it_is_given_back(on: Bench) {
    let job = on.submit(single()).await;
    let before = on.store.waiting(None, 1).await.unwrap();
    let claim = on.claim_one(&on.session().await).await;
    assert_eq!(before[0].ticket.kind, claim.kind);
    assert!(on.store.waiting(None, 1).await.unwrap().is_empty());
    assert!(on.store.count_waiting().await.unwrap().is_empty());
    let release = Command::Release {
        step: claim.fence.step.clone(),
        fence: claim.fence.fence,
        usage: telecine_engine::activity::Usage::default(),
    };
    on.fold(&job, release).await.unwrap();
    assert_eq!(on.store.waiting(None, 1).await.unwrap(), before);
}

/// Its neighbours wait as before.
pub async fn a_step_that_lost_too_many_workers_in_a_row_waits_for_one_of_its_own(on: Bench) {
    let job = on.submit(fan_out(2)).await;
    let session = on.session().await;
    for _ in 0..limits::LOSSES_IN_A_ROW {
        let claim = on.claim(&session, 1).await.remove(0);
        let (step, fence) = (claim.fence.step, claim.fence.fence);
        on.fold(&job, Command::Lose { step, fence }).await.unwrap();
    }
    let mut waiting = on.store.waiting(None, 10).await.unwrap();
    waiting.sort_by_key(|it| it.step.clone());
    let alone: Vec<bool> = waiting.iter().map(|it| it.ticket.kind.alone).collect();
    assert_eq!(alone, [true, false]);
    let claims = on.claim(&session, 2).await;
    assert_eq!(ids(&claims), ["each[0]"], "both slots are its own");
    assert!(claims[0].kind.alone);
}

/// See the name.
pub async fn queue_and_priority_of_a_run_are_kept(on: Bench) {
    let run = Run {
        queue: Queue::VideoLarge,
        priority: -7,
        ..queued(&single(), json!({}))
    };
    let job = on.submit_run(single(), run).await;
    let kept = on.run(&job).await;
    assert_eq!((kept.queue, kept.priority), (Queue::VideoLarge, -7));
    let waiting = on.store.waiting(None, 1).await.unwrap();
    assert_eq!(waiting[0].ticket.kind.queue, Queue::VideoLarge);
}
