//! Runs that nobody asks for any more, and what goes with them.

use std::slice::from_ref;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use telecine_engine::activity::ErrorClass;
use telecine_engine::id::{PlanId, RunId};
use telecine_engine::machine::{self, Command};
use telecine_engine::retry::plan::{self, Given};
use telecine_engine::store::{
    Ages, Claim, Content, FeedPlace, NewCheckpoint, RequestKey, StoreError,
};

use super::{Bench, Job, artifact, create, queued, record, single};

const KEYS: &str = "a/g{n}/*";
const DAY: Duration = Duration::from_secs(86_400);
/// Whatever has stopped, and whatever has been superseded.
const AT_ONCE: Ages = Ages {
    stopped: Duration::ZERO,
    superseded: Duration::ZERO,
};

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

async fn expired(on: &Bench, ages: Ages) -> Vec<(RunId, Vec<u64>)> {
    let expired = on.store.expired(ages, None, 100).await.unwrap();
    let numbers = expired.into_iter().map(|it| {
        let unseen = it.unseen.iter().map(|generation| generation.n).collect();
        (it.run, unseen)
    });
    numbers.collect()
}

/// Nor does what a player may still show, or what has just stopped, or has not.
pub async fn what_readers_see_does_not_expire(on: Bench) {
    let first = ended(&on, (true, true)).await;
    assert_eq!(expired(&on, AT_ONCE).await, []);
    let _running = running(&on).await;
    let failed = ended(&on, (false, false)).await;
    let second = ended(&on, (true, true)).await;
    let mut over = vec![(first.id.clone(), vec![1]), (failed.id.clone(), vec![2])];
    over.sort();
    assert_eq!(expired(&on, AT_ONCE).await, over);
    let just_stopped = Ages {
        stopped: DAY,
        ..AT_ONCE
    };
    assert_eq!(expired(&on, just_stopped).await, []);
    // Of a name that something else was published of a moment ago, everything may be on somebody's screen.
    let just_superseded = Ages {
        superseded: DAY,
        ..AT_ONCE
    };
    assert_eq!(expired(&on, just_superseded).await, []);
    let behind = on
        .store
        .expired(AT_ONCE, Some(&over[0].0), 1)
        .await
        .unwrap();
    assert_eq!(behind[0].run, over[1].0);

    let all = [first.id, failed.id, second.id.clone()];
    assert_eq!(on.store.forget(&all, just_stopped).await.unwrap(), []);
    let gone = on.store.forget(&all, AT_ONCE).await.unwrap();
    assert_eq!(gone, over.into_iter().map(|it| it.0).collect::<Vec<_>>());
    assert!(on.store.load_run(&second.id).await.unwrap().is_some());
    assert_eq!(on.store.publication("a").await.unwrap(), Some(3));
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
    let checkpoint = NewCheckpoint {
        content: Content::Whole(json!({"at": 1})),
        covers: None,
        compat: String::new(),
        artifacts: vec![artifact("a/g1/x")],
    };
    on.store
        .save_checkpoint(&claim.fence, &checkpoint)
        .await
        .unwrap();
    on.fail_as(&job, &claim, ErrorClass::Input).await;
    let snapshot = on.store.snapshot(&id).await.unwrap();
    let plan = plan::compute(PlanId::generate(), Given::of(&snapshot, &job.definition));
    let mut tx = on.store.begin().await.unwrap();
    tx.save_plan(&plan).await.unwrap();
    tx.commit().await.unwrap();

    let gone = on.store.forget(from_ref(&id), AT_ONCE).await.unwrap();
    assert_eq!(gone, *from_ref(&id));
    assert_eq!(on.store.forget(from_ref(&id), AT_ONCE).await.unwrap(), []);
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
    assert_eq!(expired(&on, AT_ONCE).await, []);
    assert_eq!(
        on.store.forget(from_ref(&job.id), AT_ONCE).await.unwrap(),
        []
    );
    assert!(on.store.load_run(&job.id).await.unwrap().is_some());
}

/// Those of which everything is old, or forgotten.
pub async fn the_feed_loses_its_oldest_entries(on: Bench) {
    let over = ended(&on, (false, false)).await;
    assert_eq!(on.store.trim_feed(DAY, 100).await.unwrap(), 0);
    on.store.forget(&[over.id], AT_ONCE).await.unwrap();
    on.store.trim_feed(DAY, 100).await.unwrap();
    let (_, _claim) = running(&on).await;
    assert_eq!(on.store.trim_feed(DAY, 100).await.unwrap(), 0);
    let mut dropped = 0;
    while on.store.trim_feed(Duration::ZERO, 1).await.unwrap() > 0 {
        dropped += 1;
    }
    assert!(dropped > 1, "{dropped}");
    let left = on.store.feed(FeedPlace::default(), 100).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
}
