//! What stays, what goes, and what others see of it.

use serde_json::json;
use telecine_engine::machine::{self, Command};
use telecine_engine::run::RunStatus;
use telecine_engine::store::Admission;

use super::{Bench, fan_out, fold, queued, record, single};

/// See the name.
pub async fn what_was_committed_is_there_after_reopening(on: Bench) {
    let job = on.submit(fan_out(3)).await;
    let claim = on.claim(&on.session().await, 1).await.remove(0);
    on.complete(&job, &claim, json!({"kept": true})).await;
    let before = (
        on.store.snapshot(&job.id).await.unwrap(),
        on.events(&job).await,
    );
    let on = on.reopen().await;
    assert_eq!(
        (
            on.store.snapshot(&job.id).await.unwrap(),
            on.events(&job).await
        ),
        before
    );
    assert_eq!(on.claim(&on.session().await, 9).await.len(), 2);
}

/// See the name.
pub async fn a_transaction_that_is_dropped_changes_nothing(on: Bench) {
    let job = on.submit(single()).await;
    let session = on.session().await;
    let before = (
        on.store.snapshot(&job.id).await.unwrap(),
        on.events(&job).await,
    );
    let mut tx = on.store.begin().await.unwrap();
    let cancel = Command::Cancel {
        by: "a test".to_owned(),
        reason: None,
    };
    fold(tx.as_mut(), &job, &cancel, chrono::TimeDelta::zero())
        .await
        .unwrap();
    tx.end_session(&session).await.unwrap();
    drop(tx);
    assert_eq!(
        (
            on.store.snapshot(&job.id).await.unwrap(),
            on.events(&job).await
        ),
        before
    );
    on.claim_one(&session).await;
}

/// The transaction breaks a rule of the schema: a run whose definition nobody has saved.
pub async fn a_store_goes_on_after_a_failed_transaction(on: Bench) {
    let definition = single();
    let run = queued(&definition, json!({}));
    let mut tx = on.store.begin().await.unwrap();
    let new = machine::plan_run(run.clone(), &definition, tx.now().await.unwrap());
    tx.admit_runs(&[Admission::of(&new.run, false)])
        .await
        .unwrap();
    assert!(tx.save(vec![super::insertion(&new)]).await.is_err());
    drop(tx);
    on.store
        .save_definition(&record(&definition))
        .await
        .unwrap();
    let mut tx = on.store.begin().await.unwrap();
    super::create(tx.as_mut(), &new, false).await;
    tx.commit().await.unwrap();
    assert!(on.store.load_run(&run.id).await.unwrap().is_some());
}

/// Steps of one fan-out are completed on two stores at once; its counters must not lose any.
pub async fn commands_of_two_stores_are_serialised(on: Bench) {
    const ITEMS: usize = 40;
    let job = std::sync::Arc::new(on.submit(fan_out(ITEMS)).await);
    let claims = on.claim(&on.session().await, ITEMS).await;
    let on = std::sync::Arc::new(on);
    let second = on.factory.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for (n, claim) in claims.into_iter().enumerate() {
        let store = if n % 2 == 0 {
            on.store.clone()
        } else {
            second.clone()
        };
        let job = job.clone();
        tasks.spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let (step, fence) = (claim.fence.step, claim.fence.fence);
            let complete = Command::Complete {
                step,
                fence,
                outcome: Default::default(),
            };
            fold(tx.as_mut(), &job, &complete, chrono::TimeDelta::zero())
                .await
                .unwrap();
            tx.commit().await.unwrap();
        });
    }
    tasks.join_all().await;
    let snapshot = on.store.snapshot(&job.id).await.unwrap();
    assert_eq!(snapshot.run.status, RunStatus::Succeeded);
    assert_eq!(snapshot.nodes[0].settled as usize, ITEMS);
}

/// See the name.
pub async fn the_change_counter_shows_commits_of_others(on: Bench) {
    let second = on.factory.open().await;
    let before = on.store.change_counter().await.unwrap();
    second.save_definition(&record(&single())).await.unwrap();
    let after = on.store.change_counter().await.unwrap();
    assert_ne!(after, before);
}

/// What one transaction writes carries one instant.
pub async fn the_clock_is_read_once_per_transaction(on: Bench) {
    let job = on.submit(fan_out(5)).await;
    let events = on.events(&job).await;
    let mut tx = on.store.begin().await.unwrap();
    let now = tx.now().await.unwrap();
    assert_eq!(tx.now().await.unwrap(), now);
    assert!(
        events
            .iter()
            .all(|event| event.at == events[0].at && event.at <= now)
    );
}
