//! Runs that nobody asks for any more, and what goes with them.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use telecine_engine::activity::ErrorClass;
use telecine_engine::definition::{OnFailure, StepDef};
use telecine_engine::id::{PlanId, RunId};
use telecine_engine::machine::{self, Command};
use telecine_engine::retry::plan::{self, Given};
use telecine_engine::run::RunStatus;
use telecine_engine::store::{Claim, Content, FeedPlace, NewCheckpoint, RequestKey, StoreError};

use super::feed::read;
use super::{Bench, Job, artifact, create, queued, record, single, step, workflow};

const KEYS: Option<&str> = Some("a/g{n}/*");
const DAY: Duration = Duration::from_secs(86_400);
async fn running(on: &Bench) -> (Job, Claim) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    (job, claim)
}

/// A run that ended, and that had a generation and published it if that was wanted.
async fn ended(on: &Bench, (succeeds, publishes): (bool, bool)) -> Job {
    let (job, claim) = running(on).await;
    let allocated = on
        .store
        .allocate_generation(&claim.fence, "a", 0, KEYS)
        .await;
    if publishes {
        let n = allocated.unwrap();
        on.store.publish(&claim.fence, "a", n).await.unwrap();
    }
    match succeeds {
        true => on.complete(&job, &claim, json!(null)).await,
        false => on.fail_as(&job, &claim, ErrorClass::Input).await,
    }
    job
}

async fn expired(on: &Bench, age: Duration) -> Vec<RunId> {
    on.store.expired(age, None, 100).await.unwrap()
}

async fn abandoned(on: &Bench) -> Vec<(u64, String, RunId)> {
    let abandoned = on.store.abandoned(None, 100).await.unwrap();
    let told = abandoned.into_iter().map(|it| (it.n, it.keys, it.run));
    told.collect()
}

/// Whether it is what readers see now or not: what they are led to may lead on into it. Nor does what has just stopped,
/// or has not.
pub async fn what_was_published_does_not_expire(on: Bench) {
    let first = ended(&on, (true, true)).await;
    assert_eq!(expired(&on, Duration::ZERO).await, []);
    let _running = running(&on).await;
    let failed = ended(&on, (false, false)).await;
    let second = ended(&on, (false, true)).await;
    let unpublished = ended(&on, (true, false)).await;
    let mut over = vec![failed.id.clone(), unpublished.id.clone()];
    over.sort();
    assert_eq!(expired(&on, Duration::ZERO).await, over);
    assert_eq!(expired(&on, DAY).await, []);
    let behind = on.store.expired(Duration::ZERO, Some(&over[0]), 1);
    assert_eq!(behind.await.unwrap(), over[1..]);

    let all = [
        first.id.clone(),
        failed.id.clone(),
        second.id.clone(),
        unpublished.id,
    ];
    assert_eq!(on.store.forget(&all, DAY).await.unwrap(), []);
    assert_eq!(on.store.forget(&all, Duration::ZERO).await.unwrap(), over);
    for kept in [&first.id, &second.id] {
        assert!(on.store.load_run(kept).await.unwrap().is_some());
    }
    assert_eq!(on.store.publication("a").await.unwrap(), Some(3));
    // What succeeded was made for somebody.
    let left = (2, "a/g2/*".to_owned(), failed.id);
    assert_eq!(abandoned(&on).await, [left]);
}

/// It waits for people.
pub async fn what_is_held_does_not_expire(on: Bench) {
    let held = StepDef {
        on_failure: OnFailure::Hold,
        ..step(&[])
    };
    let job = on.submit(workflow([("only", held)])).await;
    let claim = on.claim_one(&on.session().await).await;
    on.fail_as(&job, &claim, ErrorClass::Input).await;
    assert_eq!(on.run(&job).await.status, RunStatus::Held);
    assert_eq!(expired(&on, Duration::ZERO).await, []);
    let forgotten = on.store.forget(from_ref(&job.id), Duration::ZERO).await;
    assert_eq!(forgotten.unwrap(), []);
}

/// In the order of name and number, until somebody has seen to it.
pub async fn what_forgotten_runs_have_left_is_told(on: Bench) {
    let first = ended(&on, (false, false)).await;
    let second = ended(&on, (false, false)).await;
    let both = [first.id, second.id];
    on.store.forget(&both, Duration::ZERO).await.unwrap();
    let told = on.store.abandoned(None, 1).await.unwrap();
    assert_eq!((told[0].n, &told[0].run), (1, &both[0]));
    let behind = on.store.abandoned(told.first(), 100).await.unwrap();
    assert_eq!((behind.len(), behind[0].n), (1, 2));
    on.store.cleared(&told[0]).await.unwrap();
    assert_eq!(on.store.abandoned(None, 100).await.unwrap(), behind);
}

fn cancel() -> Command {
    Command::Cancel {
        by: "anna".to_owned(),
        reason: None,
    }
}

/// The latest of the others that are the same has it.
pub async fn the_request_of_a_forgotten_run_finds_another_one(on: Bench) {
    let definition = single();
    on.store
        .save_definition(&record(&definition))
        .await
        .unwrap();
    let mut ids = Vec::new();
    for again in [false, true, true] {
        let mut run = queued(&definition, json!({}));
        run.fingerprint = "the same".to_owned();
        ids.push(run.id.clone());
        let mut tx = on.store.begin().await.unwrap();
        let new = machine::plan_run(run, &definition, tx.now().await.unwrap());
        create(tx.as_mut(), &new, again).await;
        tx.commit().await.unwrap();
    }
    let definition = Arc::new(definition);
    for id in [&ids[0], &ids[2]] {
        let job = Job {
            id: id.clone(),
            definition: definition.clone(),
            next: None,
        };
        on.fold(&job, cancel()).await.unwrap();
    }
    let found = async || on.store.find_run("the same").await.unwrap();
    assert_eq!(found().await.as_ref(), Some(&ids[2]));
    let gone = [ids[0].clone(), ids[2].clone()];
    assert_eq!(on.store.forget(&gone, Duration::ZERO).await.unwrap(), gone);
    assert_eq!(found().await.as_ref(), Some(&ids[1]));
}

fn checkpoint() -> NewCheckpoint {
    NewCheckpoint {
        content: Content::Whole(json!({"at": 1})),
        covers: None,
        compat: String::new(),
        artifacts: vec![artifact("a/g1/x")],
    }
}

/// Nobody gets its number, and the same request makes a new one.
pub async fn a_run_is_forgotten_with_all_that_is_known_of_it(on: Bench) {
    let definition = single();
    on.store
        .save_definition(&record(&definition))
        .await
        .unwrap();
    let key = RequestKey {
        key: "k".to_owned(),
        digest: "d".to_owned(),
    };
    let run = queued(&definition, json!({}));
    let (id, fingerprint) = (run.id.clone(), run.fingerprint.clone());
    let mut tx = on.store.begin().await.unwrap();
    let new = machine::plan_run(run, &definition, tx.now().await.unwrap());
    tx.take_key(&key, &id).await.unwrap();
    create(tx.as_mut(), &new, false).await;
    tx.commit().await.unwrap();
    let job = Job {
        id: id.clone(),
        definition: Arc::new(definition),
        next: None,
    };
    on.fold(&job, Command::Start).await.unwrap();
    let claim = on.claim_one(&on.session().await).await;
    for above in [0, 6] {
        let allocated = on.store.allocate_generation(&claim.fence, "a", above, KEYS);
        assert_eq!(allocated.await.unwrap(), 1);
    }
    on.store
        .save_checkpoint(&claim.fence, &checkpoint())
        .await
        .unwrap();
    on.fail_as(&job, &claim, ErrorClass::Input).await;
    let snapshot = on.store.snapshot(&id).await.unwrap();
    let plan = plan::compute(PlanId::generate(), Given::of(&snapshot, &job.definition));
    let mut tx = on.store.begin().await.unwrap();
    tx.save_plan(&plan).await.unwrap();
    tx.commit().await.unwrap();

    let gone = on
        .store
        .forget(from_ref(&id), Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(gone, *from_ref(&id));
    assert_eq!(
        on.store
            .forget(from_ref(&id), Duration::ZERO)
            .await
            .unwrap(),
        []
    );
    let store = &on.store;
    assert!(store.load_run(&id).await.unwrap().is_none());
    assert!(matches!(
        store.snapshot(&id).await,
        Err(StoreError::NoRun(_))
    ));
    assert_eq!(store.find_run(&fingerprint).await.unwrap(), None);
    assert!(store.find_key("k").await.unwrap().is_none());
    assert!(store.load_plan(&id).await.unwrap().is_none());
    assert!(store.find_plan(&plan.id).await.unwrap().is_none());
    let (_, claim) = running(&on).await;
    let allocated = on.store.allocate_generation(&claim.fence, "a", 0, KEYS);
    assert_eq!(allocated.await.unwrap(), 2);
}

/// Whoever wants it back in the last moment has it.
pub async fn a_run_that_goes_on_is_not_forgotten(on: Bench) {
    let (job, claim) = running(&on).await;
    on.fail_as(&job, &claim, ErrorClass::Transient).await;
    assert_eq!(expired(&on, Duration::ZERO).await, []);
    assert_eq!(
        on.store
            .forget(from_ref(&job.id), Duration::ZERO)
            .await
            .unwrap(),
        []
    );
    assert!(on.store.load_run(&job.id).await.unwrap().is_some());
}

/// Those of which everything is old, or forgotten; whoever follows it sees what comes then.
pub async fn the_feed_loses_its_oldest_entries(on: Bench) {
    let feed = async |after, job: &Job| {
        let count = on.events(job).await.len();
        read(&*on.store, (after, 100), count).await
    };
    let over = ended(&on, (false, false)).await;
    let told = feed(FeedPlace::default(), &over).await.len();
    let seen = on.store.feed(FeedPlace::default(), 100).await.unwrap();
    let place = seen.last().unwrap().place;
    assert_eq!(on.store.trim_feed(DAY, 100).await.unwrap(), 0);
    on.store.forget(&[over.id], Duration::ZERO).await.unwrap();
    on.store.trim_feed(DAY, 100).await.unwrap();
    let mut dropped = 0;
    while on.store.trim_feed(Duration::ZERO, 1).await.unwrap() > 0 {
        dropped += 1;
    }
    assert!(dropped < told, "{dropped} of {told}");
    let left = on.store.feed(FeedPlace::default(), 100).await.unwrap();
    assert_eq!(left, []);

    let (job, _claim) = running(&on).await;
    let new = feed(place, &job).await;
    assert!(new.iter().all(|(run, _)| *run == job.id), "{new:?}");
    // It is no longer the newest.
    assert_eq!(on.store.trim_feed(DAY, 100).await.unwrap(), 1);
    assert_eq!(on.store.trim_feed(DAY, 100).await.unwrap(), 0);
    assert_eq!(feed(place, &job).await, new);
}
