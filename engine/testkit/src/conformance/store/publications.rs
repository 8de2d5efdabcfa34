//! Generations of published sets, and which one readers see.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use telecine_engine::activity::ErrorClass;
use telecine_engine::machine::Command;
use telecine_engine::store::{Claim, Generation};

use super::{Bench, Job, single};

const KEYS: Option<&str> = Some("a/g{n}/*");

/// A run with its only step claimed.
async fn running(on: &Bench) -> (Job, Claim) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    (job, claim)
}

/// However often its steps and attempts ask.
pub async fn a_run_has_one_generation_of_a_name(on: Bench) {
    let (job, first) = running(&on).await;
    assert_eq!(
        on.store
            .allocate_generation(&first.fence, "a", 0, KEYS)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        on.store
            .allocate_generation(&first.fence, "a", 0, KEYS)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        on.store
            .allocate_generation(&first.fence, "b", 0, KEYS)
            .await
            .unwrap(),
        1
    );
    let release = Command::Release {
        step: first.fence.step.clone(),
        fence: first.fence.fence,
        usage: Default::default(),
    };
    on.fold(&job, release).await.unwrap();
    let second = on.claim_one(&on.session().await).await;
    assert_eq!(
        on.store
            .allocate_generation(&second.fence, "a", 0, KEYS)
            .await
            .unwrap(),
        1
    );
}

/// See the name.
pub async fn generations_of_a_name_count_up_over_runs(on: Bench) {
    for expected in 1..=3 {
        let (_, claim) = running(&on).await;
        assert_eq!(
            on.store
                .allocate_generation(&claim.fence, "a", 0, KEYS)
                .await
                .unwrap(),
            expected
        );
    }
    assert_eq!(on.store.publication("a").await.unwrap(), None);
}

/// A database that was restored or made anew does not hand out what the object store still holds.
pub async fn a_generation_is_above_what_the_caller_knows_of(on: Bench) {
    let allocate = async |above| {
        let (_, claim) = running(&on).await;
        let allocated = on
            .store
            .allocate_generation(&claim.fence, "a", above, KEYS)
            .await;
        let again = on
            .store
            .allocate_generation(&claim.fence, "a", 90, KEYS)
            .await;
        assert_eq!(allocated.as_ref().unwrap(), again.as_ref().unwrap());
        allocated.unwrap()
    };
    assert_eq!(allocate(7).await, 8);
    assert_eq!(allocate(3).await, 9);
    assert_eq!(allocate(9).await, 10);
}

/// See the name.
pub async fn publishing_moves_the_name(on: Bench) {
    let (first, one) = running(&on).await;
    let (second, two) = running(&on).await;
    on.store
        .allocate_generation(&one.fence, "a", 0, KEYS)
        .await
        .unwrap();
    on.store
        .allocate_generation(&two.fence, "a", 0, KEYS)
        .await
        .unwrap();
    let moved = on.store.publish(&one.fence, "a", 1).await.unwrap();
    assert_eq!(moved.previous, None);
    assert_eq!(on.store.publication("a").await.unwrap(), Some(1));
    let moved = on.store.publish(&two.fence, "a", 2).await.unwrap();
    assert_eq!(moved.previous, Some(1));
    assert_eq!(on.store.publication("a").await.unwrap(), Some(2));
    assert_eq!(on.store.publication("b").await.unwrap(), None);
    let expected = |generation, previous: Option<u64>| json!([{"name": "a", "generation": generation, "previous": previous}]);
    assert_eq!(
        json!(on.data(&first, "publication.moved").await),
        expected(1, None)
    );
    assert_eq!(
        json!(on.data(&second, "publication.moved").await),
        expected(2, Some(1))
    );
}

/// An attempt that died between publishing and saying so is followed by one that publishes again.
pub async fn publishing_again_answers_the_same(on: Bench) {
    let (_, one) = running(&on).await;
    let (job, two) = running(&on).await;
    on.store
        .allocate_generation(&one.fence, "a", 0, KEYS)
        .await
        .unwrap();
    on.store
        .allocate_generation(&two.fence, "a", 0, KEYS)
        .await
        .unwrap();
    on.store.publish(&one.fence, "a", 1).await.unwrap();
    let moved = on.store.publish(&two.fence, "a", 2).await.unwrap();
    assert_eq!(on.store.publish(&two.fence, "a", 2).await.unwrap(), moved);
    assert_eq!(on.data(&job, "publication.moved").await.len(), 1);
}

/// A job that was stuck publishes after one that began later.
pub async fn a_publication_never_moves_back(on: Bench) {
    let (job, one) = running(&on).await;
    let (_, two) = running(&on).await;
    on.store
        .allocate_generation(&one.fence, "a", 0, KEYS)
        .await
        .unwrap();
    on.store
        .allocate_generation(&two.fence, "a", 0, KEYS)
        .await
        .unwrap();
    on.store.publish(&two.fence, "a", 2).await.unwrap();
    let moved = on.store.publish(&one.fence, "a", 1).await.unwrap();
    assert_eq!(moved.current, 2);
    assert_eq!(on.store.publication("a").await.unwrap(), Some(2));
    assert!(on.data(&job, "publication.moved").await.is_empty());
}

/// Only what was moved, and only what the run itself has allocated.
pub async fn a_run_knows_which_of_its_steps_have_published(on: Bench) {
    let (earlier, first) = running(&on).await;
    let (later, second) = running(&on).await;
    for (claim, name) in [(&first, "a"), (&second, "a"), (&second, "b")] {
        let allocated = on
            .store
            .allocate_generation(&claim.fence, name, 0, KEYS)
            .await;
        allocated.unwrap();
    }
    let published = async |job: &Job| on.store.published_by(&job.id).await.unwrap();
    assert_eq!(published(&later).await, BTreeSet::new());
    let publish = async |claim: &Claim, name, n| {
        let moved = on.store.publish(&claim.fence, name, n).await;
        moved.unwrap();
    };
    // Another run's, and one that readers never see.
    publish(&first, "b", 1).await;
    publish(&second, "a", 2).await;
    publish(&first, "a", 1).await;
    assert_eq!(published(&earlier).await, BTreeSet::new());
    let step = second.fence.step.clone();
    assert_eq!(published(&later).await, BTreeSet::from([step]));
}

/// See the name.
pub async fn a_generation_that_was_never_allocated_cannot_be_published(on: Bench) {
    let (job, claim) = running(&on).await;
    assert!(on.store.publish(&claim.fence, "a", 1).await.is_err());
    assert_eq!(on.store.publication("a").await.unwrap(), None);
    assert!(on.data(&job, "publication.moved").await.is_empty());
}

/// What is not over is not looked through, and what was looked through is so again once its run went on.
pub async fn generations_of_stopped_runs_are_swept_once(on: Bench) {
    let due = async |age: Duration, after: Option<&Generation>, limit| {
        let due = on.store.unswept(age, after, limit).await.unwrap();
        let names = due.iter().map(|it| (it.name.clone(), it.n));
        (due.clone(), names.collect::<Vec<_>>())
    };
    let day = Duration::from_secs(86_400);
    let (first, one) = running(&on).await;
    let (second, two) = running(&on).await;
    for (claim, name) in [(&one, "a"), (&two, "a"), (&two, "b")] {
        let keys = format!("{name}/g{{n}}_*.x");
        let allocated = on
            .store
            .allocate_generation(&claim.fence, name, 0, Some(&keys));
        allocated.await.unwrap();
    }
    assert_eq!(due(Duration::ZERO, None, 9).await.1, []);
    for (job, claim) in [(&first, &one), (&second, &two)] {
        on.complete(job, claim, json!(null)).await;
    }
    assert_eq!(due(day, None, 9).await.1, [], "they stopped just now");
    let named = |name: &str, n: u64| (name.to_owned(), n);
    let (all, names) = due(Duration::ZERO, None, 9).await;
    assert_eq!(names, [named("a", 1), named("a", 2), named("b", 1)]);
    let stored = on.store.load_run(&all[1].run).await.unwrap().unwrap();
    let ended_at = stored.ended_at.unwrap();
    let expected = Generation {
        name: "a".to_owned(),
        n: 2,
        run: second.id.clone(),
        store: stored.stores.media,
        keys: "a/g2_*.x".to_owned(),
        ended_at,
        published: false,
    };
    assert_eq!(all[1], expected);
    assert_eq!(due(Duration::ZERO, None, 2).await.1, names[..2]);
    assert_eq!(due(Duration::ZERO, Some(&all[1]), 9).await.1, names[2..]);
    let before_it_went_on = Generation {
        ended_at: ended_at - Duration::from_secs(1),
        ..all[1].clone()
    };
    on.store.swept(&before_it_went_on).await.unwrap();
    assert_eq!(due(Duration::ZERO, None, 9).await.1, names);
    on.store.swept(&all[1]).await.unwrap();
    assert_eq!(
        due(Duration::ZERO, None, 9).await.1,
        [named("a", 1), named("b", 1)]
    );
}

/// Nor is one of which nobody has said yet where its objects are.
pub async fn what_failed_after_it_was_published_is_not_swept(on: Bench) {
    let due = async || {
        let due = on.store.unswept(Duration::ZERO, None, 9).await.unwrap();
        due.iter().map(|it| it.n).collect::<Vec<_>>()
    };
    for (n, publishes, succeeds) in [(1, true, false), (2, true, true), (3, false, false)] {
        let (job, claim) = running(&on).await;
        let allocated = on.store.allocate_generation(&claim.fence, "a", 0, KEYS);
        assert_eq!(allocated.await.unwrap(), n);
        if publishes {
            on.store.publish(&claim.fence, "a", n).await.unwrap();
        }
        match succeeds {
            true => on.complete(&job, &claim, json!(null)).await,
            false => on.fail_as(&job, &claim, ErrorClass::Input).await,
        }
    }
    assert_eq!(due().await, [2, 3]);

    let (job, claim) = running(&on).await;
    for keys in [None, None] {
        let allocated = on.store.allocate_generation(&claim.fence, "a", 0, keys);
        assert_eq!(allocated.await.unwrap(), 4);
    }
    on.fail_as(&job, &claim, ErrorClass::Input).await;
    assert_eq!(due().await, [2, 3]);
    let (job, claim) = running(&on).await;
    for keys in [None, KEYS, Some("elsewhere/g{n}/*")] {
        let allocated = on.store.allocate_generation(&claim.fence, "a", 0, keys);
        assert_eq!(allocated.await.unwrap(), 5);
    }
    on.fail_as(&job, &claim, ErrorClass::Input).await;
    assert_eq!(due().await, [2, 3, 5]);
    let placed = on.store.unswept(Duration::ZERO, None, 9).await.unwrap();
    assert!(placed[0].published && !placed[1].published);
    assert_eq!(placed[2].keys, "a/g5/*");
}

/// See the name.
pub async fn generations_asked_for_at_once_differ(on: Bench) {
    let second = on.factory.open().await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..6 {
        let (_, claim) = running(&on).await;
        let store = if n % 2 == 0 {
            on.store.clone()
        } else {
            second.clone()
        };
        asking.spawn(async move {
            store
                .allocate_generation(&claim.fence, "a", 0, KEYS)
                .await
                .unwrap()
        });
    }
    let generations: BTreeSet<u64> = asking.join_all().await.into_iter().collect();
    assert_eq!(generations, (1..=6).collect());
}
