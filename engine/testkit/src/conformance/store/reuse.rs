//! What reuse keys are made of, and the keys under which steps are shared.

use telecine_engine::id::StepId;
use telecine_engine::limits;
use telecine_engine::machine::{Changes, View};
use telecine_engine::retry::reuse::{Made, Origin, SourceIdentity};
use telecine_engine::store::{Outcome, Shared, Sharer, Window};

use super::{Bench, Job, single, view};

const MEDIA: &str = "file:///media";

fn made() -> Made {
    let identity = SourceIdentity {
        size: 3,
        etag: "e\u{0}\"".to_owned(),
    };
    Made {
        tools: "x264 164".to_owned(),
        places: vec!["/prefix".to_owned()],
        sources: [("/source".to_owned(), identity)].into(),
        reused_from: None,
    }
}

fn shared(key: &str, seal: &str) -> Shared {
    Shared {
        key: key.to_owned(),
        media: MEDIA.to_owned(),
        seal: seal.to_owned(),
    }
}

/// A run whose only step has succeeded with that.
async fn succeeded(on: &Bench, (made, shared): (Option<Made>, Option<Shared>)) -> Job {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    let outcome = Outcome {
        made: made.map(Box::new),
        shared: shared.map(Box::new),
        ..Outcome::default()
    };
    on.complete_with(&job, &claim, outcome).await;
    job
}

/// What is known of the only step, as both ways of reading it say.
async fn known(on: &Bench, job: &Job) -> Option<Made> {
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    let record = &snapshot.steps[0];
    let window = Window::One(record.step.id.clone());
    let outline = on.store.outline(&job.id, &window).await.unwrap();
    assert_eq!(outline.snapshot.steps[0].made, record.made);
    record.made.clone()
}

/// Changes nothing of a run but what is said.
async fn change(on: &Bench, job: &Job, change: impl FnOnce(&mut Changes)) {
    let mut tx = on.store.begin().await.unwrap();
    let rows = view(tx.as_mut(), &job.id).await;
    let mut changes = View::new(rows, job.definition.clone()).flush();
    change(&mut changes);
    tx.save(vec![(job.id.clone(), changes)]).await.unwrap();
    tx.commit().await.unwrap();
}

async fn find(on: &Bench, key: &str) -> Option<Sharer> {
    on.store.find_shared(key, MEDIA).await.unwrap()
}

/// See the name.
pub async fn what_a_key_is_made_of_is_read_with_its_step(on: Bench) {
    let job = succeeded(&on, (Some(made()), None)).await;
    assert_eq!(known(&on, &job).await, Some(made()));
    let reused = Made {
        reused_from: Some(Origin {
            job: job.id.clone(),
            step: StepId::item("encode", 3),
        }),
        ..made()
    };
    let other = succeeded(&on, (Some(reused.clone()), None)).await;
    assert_eq!(known(&on, &other).await, Some(reused.clone()));
    let origin = serde_json::to_value(reused.reused_from).unwrap();
    let told = on.data(&other, "step.succeeded").await;
    assert_eq!(told[0]["reused_from"], origin);
    let plain = succeeded(&on, (None, None)).await;
    assert_eq!(known(&on, &plain).await, None);
    assert_eq!(find(&on, "any").await, None);
}

/// See the name.
pub async fn a_step_that_begins_anew_forgets_what_its_key_was_made_of(on: Bench) {
    let job = succeeded(&on, (Some(made()), None)).await;
    let step = on.step(&job, "only").await.id;
    change(&on, &job, |changes| changes.cleared.push(step.clone())).await;
    assert_eq!(known(&on, &job).await, None);
    // Also if it is done in the same transaction.
    let anew = Made {
        tools: "x264 165".to_owned(),
        ..made()
    };
    change(&on, &job, |changes| {
        changes.cleared.push(step.clone());
        changes.made.push((step, anew.clone()));
    })
    .await;
    assert_eq!(known(&on, &job).await, Some(anew));
}

/// See the name.
pub async fn who_shared_last_under_a_key_is_found(on: Bench) {
    let one = succeeded(&on, (Some(made()), Some(shared("a", "1")))).await;
    let found = find(&on, "a").await.unwrap();
    let step = on.step(&one, "only").await.id;
    let expected = |job: &Job, seal: &str| Sharer {
        run: job.id.clone(),
        step: step.clone(),
        seal: seal.to_owned(),
    };
    assert_eq!(found, expected(&one, "1"));
    let two = succeeded(&on, (Some(made()), Some(shared("a", "2")))).await;
    assert_eq!(find(&on, "a").await.unwrap(), expected(&two, "2"));
    assert_eq!(find(&on, "b").await, None);
    let elsewhere = on.store.find_shared("a", "file:///other").await.unwrap();
    assert_eq!(elsewhere, None);
    // A key that comes twice in a transaction is that of the last.
    change(&on, &one, |changes| {
        let seals = ["3", "4"].map(|seal| (step.clone(), shared("a", seal)));
        changes.shared.extend(seals);
    })
    .await;
    assert_eq!(find(&on, "a").await.unwrap(), expected(&one, "4"));
}

/// See the name.
pub async fn of_too_many_keys_the_oldest_go(on: Bench) {
    let job = succeeded(&on, (Some(made()), Some(shared("first", "")))).await;
    let step = on.step(&job, "only").await.id;
    change(&on, &job, |changes| {
        let keys = (0..limits::REUSE_KEYS).map(|n| shared(&format!("{n:06}"), ""));
        changes.shared.extend(keys.map(|key| (step.clone(), key)));
    })
    .await;
    assert_eq!(find(&on, "first").await, None);
    assert!(find(&on, "000000").await.is_some());
    // A key that is shared again is the newest.
    change(&on, &job, |changes| {
        let keys = ["000000", "new"].map(|key| (step.clone(), shared(key, "")));
        changes.shared.extend(keys);
    })
    .await;
    assert!(find(&on, "000000").await.is_some());
    assert_eq!(find(&on, "000001").await, None);
    assert!(find(&on, "099999").await.is_some());
}
