//! The events of all runs in one order.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;
use telecine_engine::id::RunId;
use telecine_engine::run::RecordedEvent;
use telecine_engine::store::{Content, FeedPlace, NewCheckpoint, Store};

use super::{Bench, fan_out, single};

/// How long events may be held back: on a server with others, until what these are at has ended. The longest of the
/// suite opens 100,000 steps in one transaction, which took a minute on two busy processors.
const HELD_BACK: Duration = Duration::from_secs(180);

/// The next so many events behind a place, read in pages.
pub(super) async fn read(
    store: &dyn Store,
    (mut after, page): (FeedPlace, usize),
    count: usize,
) -> Vec<(RunId, RecordedEvent)> {
    let mut all = Vec::new();
    let began = Instant::now();
    while all.len() < count {
        assert!(
            began.elapsed() < HELD_BACK,
            "{} of {count} events",
            all.len()
        );
        let events = store.feed(after, page).await.unwrap();
        assert!(events.len() <= page);
        assert!(events.iter().all(|event| event.place > after));
        match events.last() {
            Some(last) => after = last.place,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        all.extend(events.into_iter().map(|event| (event.run, event.recorded)));
    }
    assert_eq!(all.len(), count);
    all
}

/// The same from the beginning.
async fn whole(store: &dyn Store, page: usize, count: usize) -> Vec<(RunId, RecordedEvent)> {
    read(store, (FeedPlace::default(), page), count).await
}

fn of_each(events: Vec<(RunId, RecordedEvent)>) -> BTreeMap<RunId, Vec<RecordedEvent>> {
    let mut of_each: BTreeMap<RunId, Vec<RecordedEvent>> = BTreeMap::new();
    for (run, event) in events {
        of_each.entry(run).or_default().push(event);
    }
    of_each
}

/// See the name.
pub async fn the_feed_has_the_events_of_all_runs_and_those_of_each_in_their_order(on: Bench) {
    let (first, second) = (on.submit(single()).await, on.submit(single()).await);
    let session = on.session().await;
    for claim in on.claim(&session, 2).await {
        let of = [&first, &second];
        let job = of.into_iter().find(|job| job.id == claim.fence.run);
        on.complete(job.unwrap(), &claim, json!(1)).await;
    }
    let expected = BTreeMap::from([
        (first.id.clone(), on.events(&first).await),
        (second.id.clone(), on.events(&second).await),
    ]);
    let count = expected.values().map(Vec::len).sum();
    assert_eq!(
        of_each(whole(on.store.as_ref(), 100, count).await),
        expected
    );
}

/// See the name.
pub async fn pages_of_the_feed_follow_each_other_and_what_comes_later_is_behind_them(on: Bench) {
    let (first, second) = (on.submit(single()).await, on.submit(fan_out(40)).await);
    on.claim(&on.session().await, 41).await;
    let count = on.events(&first).await.len() + on.events(&second).await.len();
    let all = whole(on.store.as_ref(), 1000, count).await;
    for page in [1, 3, 17] {
        assert_eq!(whole(on.store.as_ref(), page, count).await, all);
    }
    let end = on.store.feed_end().await.unwrap();
    assert_eq!(on.store.feed(end, 100).await.unwrap(), []);
    let third = on.submit(single()).await;
    let events = on.events(&third).await;
    let later = read(on.store.as_ref(), (end, 1), events.len()).await;
    assert_eq!(of_each(later), BTreeMap::from([(third.id, events)]));
}

/// See the name.
pub async fn the_feed_has_what_attempts_write_beside_the_committer(on: Bench) {
    let job = on.submit(single()).await;
    let claim = on.claim_one(&on.session().await).await;
    let checkpoint = NewCheckpoint {
        content: Content::Whole(json!(1)),
        covers: None,
        compat: "c".to_owned(),
        artifacts: Vec::new(),
    };
    on.store
        .save_checkpoint(&claim.fence, &checkpoint)
        .await
        .unwrap();
    let events = on.events(&job).await;
    let feed = of_each(whole(on.store.as_ref(), 2, events.len()).await);
    assert_eq!(feed, BTreeMap::from([(job.id, events)]));
}

/// See the name.
pub async fn the_feed_of_two_stores_misses_nothing(on: Bench) {
    let other = on.factory.open().await;
    let (mut seen, mut count) = (Vec::new(), 0);
    let mut after = FeedPlace::default();
    for _ in 0..5 {
        let job = on.submit(single()).await;
        count += on.events(&job).await.len();
        for event in other.feed(after, 3).await.unwrap() {
            after = event.place;
            seen.push((event.run, event.recorded));
        }
    }
    let rest = count - seen.len();
    seen.extend(read(other.as_ref(), (after, 3), rest).await);
    assert_eq!(seen, whole(on.store.as_ref(), 100, count).await);
}
