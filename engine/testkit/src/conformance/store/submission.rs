//! How runs and definitions come in, and how they are found again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::TimeDelta;
use serde_json::json;
use telecine_engine::definition::{Definition, Template};
use telecine_engine::id::{PlanId, RunId};
use telecine_engine::machine::{self, Command};
use telecine_engine::retry::plan::{self, Given};
use telecine_engine::run::{Run, RunStatus};
use telecine_engine::store::{Created, RequestKey, RunFilter, Store, StoreError};

use super::{Bench, Job, queued, record, single, step, workflow};

async fn create(store: &dyn Store, definition: &Definition, run: Run, force: bool) -> Created {
    store.save_definition(&record(definition)).await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let new = machine::plan_run(run, definition, tx.now().await.unwrap());
    let created = super::create(tx.as_mut(), &new, force).await;
    tx.commit().await.unwrap();
    created
}

fn all() -> RunFilter {
    RunFilter {
        limit: 100,
        ..RunFilter::default()
    }
}

async fn list(bench: &Bench, filter: RunFilter) -> Vec<RunId> {
    bench
        .store
        .list_runs(&filter)
        .await
        .unwrap()
        .runs
        .into_iter()
        .map(|run| run.id)
        .collect()
}

/// See the name.
pub async fn a_run_is_read_back_as_it_was_submitted(on: Bench) {
    let definition = workflow([("b", step(&[])), ("a", step(&["b"]))]);
    let mut run = queued(
        &definition,
        json!({"source": "a b/ü.mp4", "n": 1.0, "x": [null, true]}),
    );
    run.labels = BTreeMap::from([("k".to_owned(), "v \"quoted\"".to_owned())]);
    on.store
        .save_definition(&record(&definition))
        .await
        .unwrap();
    let mut tx = on.store.begin().await.unwrap();
    let new = machine::plan_run(run.clone(), &definition, tx.now().await.unwrap());
    super::create(tx.as_mut(), &new, false).await;
    tx.commit().await.unwrap();
    let stored = Run {
        revision: 1,
        ..new.run
    };
    assert_eq!(on.store.load_run(&run.id).await.unwrap().unwrap(), stored);
    let snapshot = on.store.snapshot(&run.id).await.unwrap();
    assert_eq!(snapshot.run, stored);
    assert_eq!(snapshot.nodes, new.nodes);
    let steps: Vec<_> = snapshot
        .steps
        .into_iter()
        .map(|record| record.step)
        .collect();
    assert_eq!(steps, new.steps);
}

/// See the name.
pub async fn an_equal_request_finds_the_run_that_is_there(on: Bench) {
    let definition = single();
    let run = queued(&definition, json!({}));
    assert_eq!(on.store.find_run(&run.fingerprint).await.unwrap(), None);
    let again = Run {
        id: RunId::generate(),
        ..run.clone()
    };
    assert_eq!(
        create(&*on.store, &definition, run.clone(), false).await,
        Created::New
    );
    let created = create(&*on.store, &definition, again.clone(), false).await;
    assert_eq!(created, Created::Existing(run.id.clone()));
    assert_eq!(on.store.load_run(&again.id).await.unwrap(), None);
    assert_eq!(
        on.store.find_run(&run.fingerprint).await.unwrap(),
        Some(run.id)
    );
}

/// The latest of them is the one that is found from then on.
pub async fn a_forced_request_makes_another_run(on: Bench) {
    let definition = single();
    let run = queued(&definition, json!({}));
    let again = Run {
        id: RunId::generate(),
        ..run.clone()
    };
    create(&*on.store, &definition, run.clone(), false).await;
    assert_eq!(
        create(&*on.store, &definition, again.clone(), true).await,
        Created::New
    );
    assert_eq!(
        on.store.find_run(&run.fingerprint).await.unwrap(),
        Some(again.id.clone())
    );
    let third = Run {
        id: RunId::generate(),
        ..run
    };
    let created = create(&*on.store, &definition, third, false).await;
    assert_eq!(created, Created::Existing(again.id));
}

/// See the name.
pub async fn equal_requests_at_once_make_one_run(on: Bench) {
    let definition = Arc::new(single());
    let run = queued(&definition, json!({}));
    let mut requests = tokio::task::JoinSet::new();
    for request in 0..8 {
        let store = if request % 2 == 0 {
            on.store.clone()
        } else {
            on.factory.open().await
        };
        let run = Run {
            id: RunId::generate(),
            ..run.clone()
        };
        let definition = definition.clone();
        requests.spawn(async move { create(&*store, &definition, run, false).await });
    }
    let created = requests.join_all().await;
    assert_eq!(
        created
            .iter()
            .filter(|created| **created == Created::New)
            .count(),
        1
    );
    assert_eq!(list(&on, all()).await.len(), 1);
}

/// See the name.
pub async fn runs_are_listed_newest_first(on: Bench) {
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.insert(0, on.submit(single()).await.id);
    }
    assert_eq!(list(&on, all()).await, expected);
    assert_eq!(
        list(&on, RunFilter { limit: 2, ..all() }).await,
        expected[..2]
    );
    let before = RunFilter {
        before: Some(expected[1].clone()),
        limit: 2,
        ..all()
    };
    assert_eq!(list(&on, before).await, expected[2..4]);
    assert!(list(&on, RunFilter::default()).await.is_empty());
}

/// See the name.
pub async fn pages_of_a_list_follow_each_other_to_its_end(on: Bench) {
    let mut expected = Vec::new();
    for _ in 0..5 {
        expected.insert(0, on.submit(single()).await.id);
    }
    let mut filter = RunFilter { limit: 2, ..all() };
    let mut seen = Vec::new();
    let mut pages = 0;
    loop {
        let page = on.store.list_runs(&filter).await.unwrap();
        pages += 1;
        seen.extend(page.runs.into_iter().map(|run| run.id));
        // What comes meanwhile is newer than everything that is still to be read.
        on.submit(single()).await;
        match page.before {
            Some(before) => filter.before = Some(before),
            None => break,
        }
    }
    assert_eq!((seen, pages), (expected, 3));
}

/// See the name.
pub async fn a_run_is_found_by_the_state_that_it_is_in_now(on: Bench) {
    let job = on.submit(single()).await;
    let cancel = Command::Cancel {
        by: "a test".to_owned(),
        reason: None,
    };
    on.fold(&job, cancel).await.unwrap();
    let by_status = |status| RunFilter {
        status: Some(status),
        ..all()
    };
    let cancelled = by_status(RunStatus::Cancelled);
    assert_eq!(
        list(&on, cancelled.clone()).await,
        std::slice::from_ref(&job.id)
    );
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    let plan = plan::compute(PlanId::generate(), Given::of(&snapshot, &job.definition));
    let plan = Box::new(plan);
    on.fold(&job, Command::Reopen { plan }).await.unwrap();
    assert_eq!(list(&on, cancelled).await, []);
    let running = by_status(on.run(&job).await.status);
    assert_eq!(list(&on, running).await, [job.id]);
}

/// See the name.
pub async fn a_run_is_found_by_the_hash_that_its_output_says(on: Bench) {
    let definition = Definition {
        output: Template::parse(&json!({"hash": "${{ steps.only.output.hash }}"})).unwrap(),
        ..single()
    };
    let job = on.submit(definition).await;
    let hash = RunFilter {
        hash: Some("0123abcd".to_owned()),
        ..all()
    };
    assert_eq!(list(&on, hash.clone()).await, []);
    let session = on.session().await;
    let claim = on.claim_one(&session).await;
    on.complete(&job, &claim, json!({"hash": "0123abcd"})).await;
    assert_eq!(list(&on, hash).await, [job.id]);
}

/// See the name.
pub async fn runs_are_listed_by_status_and_workflow(on: Bench) {
    let first = on.submit(single()).await;
    let other = Definition {
        name: "test:other".to_owned(),
        ..single()
    };
    let second = on.submit(other).await;
    on.fold(
        &second,
        Command::Cancel {
            by: "a test".to_owned(),
            reason: None,
        },
    )
    .await
    .unwrap();
    let by_status = |status| RunFilter {
        status: Some(status),
        ..all()
    };
    let by_name = |name: &str| RunFilter {
        workflow: Some(name.to_owned()),
        ..all()
    };
    assert_eq!(
        list(&on, by_status(RunStatus::Queued)).await,
        std::slice::from_ref(&first.id)
    );
    assert_eq!(
        list(&on, by_status(RunStatus::Cancelled)).await,
        std::slice::from_ref(&second.id)
    );
    assert_eq!(list(&on, by_name("test:other")).await, [second.id]);
    assert_eq!(list(&on, by_name("test:workflow")).await, [first.id]);
    assert!(list(&on, by_name("test")).await.is_empty());
}

/// See the name.
pub async fn a_definition_is_kept_once(on: Bench) {
    let kept = record(&single());
    assert_eq!(on.store.load_definition(&kept.digest).await.unwrap(), None);
    on.store.save_definition(&kept).await.unwrap();
    on.store.save_definition(&kept).await.unwrap();
    assert_eq!(
        on.store.load_definition(&kept.digest).await.unwrap(),
        Some(kept)
    );
}

/// See the name.
pub async fn an_unknown_run_is_said_to_be_unknown(on: Bench) {
    let id = RunId::generate();
    assert_eq!(on.store.load_run(&id).await.unwrap(), None);
    assert!(on.store.events(&id, 0, 10).await.unwrap().is_empty());
    let error = on.store.snapshot(&id).await.unwrap_err();
    assert!(matches!(error, StoreError::NoRun(run) if run == id));
    let mut tx = on.store.begin().await.unwrap();
    let none = tx.load_views(&BTreeSet::from([id.clone()])).await.unwrap();
    assert!(none.is_empty());
    drop(tx);
    let job = Job {
        id,
        definition: Arc::new(single()),
        next: None,
    };
    assert!(on.events(&job).await.is_empty());
}

fn key(key: &str, digest: &str) -> RequestKey {
    RequestKey {
        key: key.to_owned(),
        digest: digest.to_owned(),
    }
}

/// See the name.
pub async fn a_request_key_stands_for_the_run_that_took_it(on: Bench) {
    assert_eq!(on.store.find_key("mine").await.unwrap(), None);
    let definition = single();
    let run = queued(&definition, json!({}));
    on.store
        .save_definition(&record(&definition))
        .await
        .unwrap();
    let mut tx = on.store.begin().await.unwrap();
    let mine = key("mine", "one");
    let taken = tx.take_key(&mine, &run.id).await.unwrap();
    assert_eq!((&taken.run, taken.digest.as_str()), (&run.id, "one"));
    let new = machine::plan_run(run.clone(), &definition, tx.now().await.unwrap());
    super::create(tx.as_mut(), &new, false).await;
    tx.commit().await.unwrap();

    let mut tx = on.store.begin().await.unwrap();
    let again = key("mine", "another");
    let known = tx.take_key(&again, &RunId::generate()).await.unwrap();
    assert_eq!(known, taken, "whoever comes later is told who has it");
    tx.commit().await.unwrap();
    assert_eq!(on.store.find_key("mine").await.unwrap(), Some(taken));
    assert_eq!(on.store.find_key("other").await.unwrap(), None);
}

/// See the name.
pub async fn a_request_key_is_given_to_the_run_that_its_request_found(on: Bench) {
    let definition = single();
    let run = queued(&definition, json!({}));
    create(&*on.store, &definition, run.clone(), false).await;
    let mut tx = on.store.begin().await.unwrap();
    let mine = key("mine", "one");
    let taken = tx.take_key(&mine, &RunId::generate()).await.unwrap();
    assert_ne!(taken.run, run.id);
    tx.give_key(&mine, &run.id).await.unwrap();
    tx.commit().await.unwrap();
    let found = on.store.find_key("mine").await.unwrap().unwrap();
    assert_eq!(found.run, run.id);
}

/// See the name.
pub async fn a_request_key_of_a_transaction_that_was_dropped_is_free(on: Bench) {
    let mut tx = on.store.begin().await.unwrap();
    let mine = key("mine", "one");
    tx.take_key(&mine, &RunId::generate()).await.unwrap();
    drop(tx);
    assert_eq!(on.store.find_key("mine").await.unwrap(), None);
}

/// See the name.
pub async fn runs_are_found_by_label_hash_and_time(on: Bench) {
    let definition = single();
    let mut first = queued(&definition, json!({"hash": "0123abcd", "n": 1}));
    first.labels = BTreeMap::from([("project".to_owned(), "a \"b\" %_\\".to_owned())]);
    let mut second = queued(&definition, json!({"hash": "0123abcde", "n": 2}));
    second.labels = BTreeMap::from([("project".to_owned(), "a".to_owned())]);
    for run in [&first, &second] {
        create(&*on.store, &definition, run.clone(), true).await;
    }
    let label = |value: &str| RunFilter {
        label: Some(("project".to_owned(), value.to_owned())),
        ..all()
    };
    assert_eq!(list(&on, label("a \"b\" %_\\")).await, [first.id.clone()]);
    assert_eq!(list(&on, label("a")).await, [second.id.clone()]);
    assert_eq!(list(&on, label("b")).await, []);
    let hash = |hash: &str| RunFilter {
        hash: Some(hash.to_owned()),
        ..all()
    };
    assert_eq!(list(&on, hash("0123abcd")).await, [first.id.clone()]);
    assert_eq!(list(&on, hash("0123abcde")).await, [second.id.clone()]);
    let stored = on.store.load_run(&first.id).await.unwrap().unwrap();
    let after = |created_after| RunFilter {
        created_after: Some(created_after),
        ..all()
    };
    let later = list(&on, after(stored.created_at)).await;
    assert!(!later.contains(&first.id));
    let before = stored.created_at - TimeDelta::seconds(1);
    assert_eq!(list(&on, after(before)).await, [second.id, first.id]);
}
