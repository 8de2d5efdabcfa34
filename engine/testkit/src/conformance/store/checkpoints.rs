//! Durable values inside a step, and the objects they stand on.

use serde_json::{Value, json};
use telecine_engine::activity::{ErrorClass, Growth, MediaSpan};
use telecine_engine::id::SessionId;
use telecine_engine::machine::Command;
use telecine_engine::run::CheckpointHead;
use telecine_engine::store::{Claim, Content, NewCheckpoint, Outcome, StoreError};

use super::{Bench, Job, artifact, assert_began_alike, single};

fn checkpoint(value: Value, keys: &[&str]) -> NewCheckpoint {
    NewCheckpoint {
        content: Content::Whole(value),
        covers: Some(MediaSpan {
            from_s: 0.0,
            to_s: 6.006,
        }),
        compat: "compat".to_owned(),
        artifacts: keys.iter().map(|key| artifact(key)).collect(),
    }
}

/// What `after` says that `before`, the checkpoint of that number, did not.
fn grown(from: u64, before: &Value, after: &Value) -> NewCheckpoint {
    let by = Growth::between(before, after).unwrap();
    NewCheckpoint {
        content: Content::Grown { from, by },
        ..checkpoint(json!(null), &[])
    }
}

async fn wake(on: &Bench, job: &Job, claim: &Claim) {
    on.fold(
        job,
        Command::Wake {
            step: claim.fence.step.clone(),
        },
    )
    .await
    .unwrap();
}

async fn lose(on: &Bench, job: &Job, claim: &Claim) {
    let (step, fence) = (claim.fence.step.clone(), claim.fence.fence);
    on.fold(job, Command::Lose { step, fence }).await.unwrap();
}

async fn artifacts(on: &Bench, job: &Job) -> Vec<String> {
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    snapshot.steps[0]
        .artifacts
        .iter()
        .map(|artifact| artifact.key.clone())
        .collect()
}

/// See the name.
pub async fn the_next_attempt_gets_the_latest_checkpoint(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    on.store
        .save_checkpoint(&first.fence, &checkpoint(json!(null), &[]))
        .await
        .unwrap();
    let value = json!({"segments": [1, 2]});
    let latest = checkpoint(value.clone(), &[]);
    assert_eq!(
        on.store
            .save_checkpoint(&first.fence, &latest)
            .await
            .unwrap(),
        2
    );
    let head = CheckpointHead {
        seq: 2,
        covers_s: latest.covers,
        attempt: 1,
    };
    assert_eq!(
        on.step(&job, "only").await.checkpoint.as_deref(),
        Some(&head)
    );
    lose(&on, &job, &first).await;
    let second = on.claim_one(&session).await;
    let offered = second.checkpoint.unwrap();
    assert_eq!((offered.seq, offered.value), (2, value));
    assert_eq!(
        (offered.covers, offered.compat),
        (latest.covers, latest.compat)
    );
    let attempts = &on.store.snapshot(&job.id).await.unwrap().steps[0].attempts;
    assert_eq!(attempts[0].resumed_from, None);
    assert_eq!(attempts[1].resumed_from, Some(2));
    assert_eq!(on.data(&job, "step.claimed").await[1]["resumed_from"], 2);
}

/// See the name.
pub async fn checkpoints_are_numbered_over_all_attempts(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    for n in 1..=3 {
        let claim = on.claim_one(&session).await;
        let saved = on
            .store
            .save_checkpoint(&claim.fence, &checkpoint(json!(n), &[]))
            .await;
        assert_eq!(saved.unwrap(), n);
        lose(&on, &job, &claim).await;
    }
}

/// See the name.
pub async fn a_checkpoint_clears_losses_and_failures(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    on.store
        .save_checkpoint(&first.fence, &checkpoint(json!(1), &[]))
        .await
        .unwrap();
    on.fail_as(&job, &first, ErrorClass::Bug).await;
    wake(&on, &job, &first).await;
    let second = on.claim_one(&session).await;
    lose(&on, &job, &second).await;
    let step = on.step(&job, "only").await;
    assert_eq!((step.losses, step.checkpoint_failures), (1, 1));
    let third = on.claim_one(&session).await;
    on.store
        .save_checkpoint(&third.fence, &checkpoint(json!(2), &[]))
        .await
        .unwrap();
    let step = on.step(&job, "only").await;
    assert_eq!((step.losses, step.checkpoint_failures), (0, 0));
}

/// See the name.
pub async fn a_checkpoint_clears_outages(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    on.fail_as(&job, &first, ErrorClass::Dependency).await;
    wake(&on, &job, &first).await;
    let second = on.claim_one(&session).await;
    assert_eq!(on.step(&job, "only").await.outages, 1);
    on.store
        .save_checkpoint(&second.fence, &checkpoint(json!(1), &[]))
        .await
        .unwrap();
    assert_eq!(on.step(&job, "only").await.outages, 0);
}

/// After two failures from the same place the machine drops it; its number is not used again.
pub async fn a_dropped_checkpoint_is_not_offered(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    let saved = checkpoint(json!(1), &["a.m4s"]);
    on.store
        .save_checkpoint(&first.fence, &saved)
        .await
        .unwrap();
    on.fail_as(&job, &first, ErrorClass::Bug).await;
    wake(&on, &job, &first).await;
    let second = on.claim_one(&session).await;
    assert!(second.checkpoint.is_some());
    on.fail_as(&job, &second, ErrorClass::Stalled).await;
    assert_eq!(on.step(&job, "only").await.checkpoint, None);
    assert!(artifacts(&on, &job).await.is_empty());
    wake(&on, &job, &second).await;
    let third = on.claim_one(&session).await;
    assert_eq!(third.checkpoint, None);
    let saved = on
        .store
        .save_checkpoint(&third.fence, &checkpoint(json!(2), &[]))
        .await;
    assert_eq!(saved.unwrap(), 2);
}

/// A disk that is full for a while costs time, not what was made before.
pub async fn a_checkpoint_outlives_failures_of_its_surroundings(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    let saved = checkpoint(json!(1), &["a.m4s"]);
    on.store
        .save_checkpoint(&first.fence, &saved)
        .await
        .unwrap();
    on.fail_as(&job, &first, ErrorClass::Resource).await;
    wake(&on, &job, &first).await;
    let second = on.claim_one(&session).await;
    on.fail_as(&job, &second, ErrorClass::Dependency).await;
    wake(&on, &job, &second).await;
    let last = on.claim_one(&session).await;
    assert_eq!(last.checkpoint.map(|checkpoint| checkpoint.seq), Some(1));
    assert_eq!(artifacts(&on, &job).await.len(), 1);
}

/// With it the history proves what was durable when.
pub async fn a_checkpoint_event_names_its_objects(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    let saved = checkpoint(json!(1), &["b.m4s", "a.m4s"]);
    on.store
        .save_checkpoint(&claim.fence, &saved)
        .await
        .unwrap();
    let expected = json!({
        "seq": 1, "attempt": 1, "covers_s": [0.0, 6.006], "artifacts": ["b.m4s", "a.m4s"],
    });
    assert_eq!(on.data(&job, "step.checkpoint").await, [expected]);
}

/// See the name.
pub async fn artifacts_keep_their_order_and_are_listed_once(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    on.store
        .save_checkpoint(&first.fence, &checkpoint(json!(1), &["z", "m"]))
        .await
        .unwrap();
    lose(&on, &job, &first).await;
    let second = on.claim_one(&session).await;
    on.store
        .save_checkpoint(&second.fence, &checkpoint(json!(2), &["a"]))
        .await
        .unwrap();
    assert_eq!(artifacts(&on, &job).await, ["z", "m", "a"]);
    let outcome = Outcome {
        output: json!({}),
        artifacts: vec![artifact("0"), artifact("m")],
        ..Outcome::default()
    };
    on.complete_with(&job, &second, outcome).await;
    assert_eq!(artifacts(&on, &job).await, ["z", "m", "a", "0"]);
    let kept = &on.store.snapshot(&job.id).await.unwrap().steps[0].artifacts[3];
    assert_eq!(*kept, artifact("0"));
}

/// An attempt that goes on names in its output what another one has put there.
pub async fn an_etag_stays_known_as_long_as_the_bytes_do(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    on.store
        .save_checkpoint(
            &first.fence,
            &checkpoint(json!(1), &["same", "other", "anew"]),
        )
        .await
        .unwrap();
    let [mut same, mut other, mut anew] = ["same", "other", "anew"].map(artifact);
    same.etag = None;
    other.etag = None;
    other.artifact.sha256 = "other bytes".to_owned();
    anew.etag = Some("put again".to_owned());
    let outcome = Outcome {
        output: json!({}),
        artifacts: vec![same, other.clone(), anew.clone()],
        ..Outcome::default()
    };
    on.complete_with(&job, &first, outcome).await;
    let kept = on.store.snapshot(&job.id).await.unwrap();
    assert_eq!(kept.steps[0].artifacts, [artifact("same"), other, anew]);
}

/// See the name.
pub async fn a_refused_checkpoint_is_forgotten_and_the_attempt_did_not_resume(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    on.store
        .save_checkpoint(&first.fence, &checkpoint(json!(1), &["a"]))
        .await
        .unwrap();
    on.fail_as(&job, &first, ErrorClass::Stalled).await;
    let step = first.fence.step.clone();
    on.fold(&job, Command::Wake { step }).await.unwrap();
    assert_eq!(on.step(&job, "only").await.checkpoint_failures, 1);
    let second = on.claim_one(&session).await;
    on.store.refuse_checkpoint(&second.fence).await.unwrap();

    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    assert_eq!(snapshot.steps[0].attempts[1].resumed_from, None);
    assert_eq!(snapshot.steps[0].step.checkpoint, None);
    assert_eq!(snapshot.steps[0].step.checkpoint_failures, 0);
    assert!(artifacts(&on, &job).await.is_empty());
    let dropped = on.data(&job, "step.checkpoint_dropped").await;
    assert_eq!(dropped.len(), 1);
    assert_eq!(
        (&dropped[0]["attempt"], &dropped[0]["seq"]),
        (&json!(2), &json!(1))
    );
    // The next one has a number of its own.
    let next = checkpoint(json!(2), &[]);
    let seq = on.store.save_checkpoint(&second.fence, &next).await;
    assert_eq!(seq.unwrap(), 2);
    let stale = on.store.refuse_checkpoint(&first.fence).await;
    assert!(matches!(stale, Err(StoreError::Fenced { .. })), "{stale:?}");
    assert!(on.step(&job, "only").await.checkpoint.is_some());
    on.complete(&job, &second, json!(1)).await;
    let ended = on.store.snapshot(&job.id).await.unwrap();
    assert_began_alike(&ended.steps[0].attempts[1], &snapshot.steps[0].attempts[1]);
}

/// See the name.
pub async fn an_attempt_that_resumed_says_so_while_it_runs_and_when_it_has_ended(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let first = on.claim_one(&session).await;
    on.store
        .save_checkpoint(&first.fence, &checkpoint(json!(1), &[]))
        .await
        .unwrap();
    on.fail(&job, &first).await;
    wake(&on, &job, &first).await;
    let second = on.claim_one(&on.session().await).await;
    let running = on.store.snapshot(&job.id).await.unwrap();
    assert_eq!(running.steps[0].attempts[1].resumed_from, Some(1));
    on.complete(&job, &second, json!(1)).await;
    let ended = on.store.snapshot(&job.id).await.unwrap();
    assert_began_alike(&ended.steps[0].attempts[1], &running.steps[0].attempts[1]);
}

/// Saves a list that grows twice; answers its claim and what it came to.
async fn save_growing(on: &Bench, session: &SessionId) -> (Claim, Value) {
    let claim = on.claim_one(session).await;
    let lists = [json!([1]), json!([1, 2]), json!([1, 2, {"three": 3}])];
    let whole = checkpoint(lists[0].clone(), &["a"]);
    on.store
        .save_checkpoint(&claim.fence, &whole)
        .await
        .unwrap();
    for (from, pair) in (1..).zip(lists.windows(2)) {
        let more = grown(from, &pair[0], &pair[1]);
        let saved = on.store.save_checkpoint(&claim.fence, &more).await;
        assert_eq!(saved.unwrap(), from + 1);
    }
    (claim, lists[2].clone())
}

/// See the name.
pub async fn a_checkpoint_that_grew_is_read_as_a_whole(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let (first, value) = save_growing(&on, &session).await;
    lose(&on, &job, &first).await;
    let second = on.claim_one(&session).await;
    let offered = second.checkpoint.clone().unwrap();
    assert_eq!((offered.seq, offered.value), (3, value));
    assert_eq!(on.data(&job, "step.checkpoint").await.len(), 3);
    let head = on.step(&job, "only").await.checkpoint.unwrap();
    assert_eq!((head.seq, head.attempt), (3, 1));
    // Saved whole again, nothing of what it grew by before is left.
    let whole = checkpoint(json!([0]), &[]);
    on.store
        .save_checkpoint(&second.fence, &whole)
        .await
        .unwrap();
    lose(&on, &job, &second).await;
    let third = on.claim_one(&session).await;
    assert_eq!(third.checkpoint.unwrap().value, json!([0]));
}

/// See the name.
pub async fn a_checkpoint_grows_from_the_latest_only(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let (first, value) = save_growing(&on, &session).await;
    let stale = grown(2, &json!([1, 2]), &json!([1, 2, 4]));
    let refused = on.store.save_checkpoint(&first.fence, &stale).await;
    assert!(
        matches!(refused, Err(StoreError::Corrupt(_))),
        "{refused:?}"
    );
    lose(&on, &job, &first).await;
    let second = on.claim_one(&session).await;
    let offered = second.checkpoint.unwrap();
    assert_eq!((offered.seq, offered.value), (3, value));
}

/// See the name.
pub async fn a_refused_checkpoint_is_forgotten_with_what_it_grew_by(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let (first, _) = save_growing(&on, &session).await;
    lose(&on, &job, &first).await;
    let second = on.claim_one(&session).await;
    on.store.refuse_checkpoint(&second.fence).await.unwrap();
    let anew = checkpoint(json!([]), &[]);
    on.store
        .save_checkpoint(&second.fence, &anew)
        .await
        .unwrap();
    lose(&on, &job, &second).await;
    let third = on.claim_one(&session).await;
    assert_eq!(third.checkpoint.unwrap().value, json!([]));
}
