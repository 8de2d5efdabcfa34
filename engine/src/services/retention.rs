//! Forgets what nobody asks for any more: jobs that stopped long ago, what is left of them in the object stores where
//! no reader sees it, and the oldest of the feed.

use std::time::Duration;

use ::metrics::counter;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use crate::clock;
use crate::coordinator::Coordinator;
use crate::id::RunId;
use crate::metrics;
use crate::objects::ObjectError;
use crate::store::{Ages, Expired, Generation, StoreError};

/// How long a generation has not been the current one before it goes: players that began on it go on with it.
const SUPERSEDED: Duration = Duration::from_hours(24);
/// When a process looks first: after it has looked for litter.
const FIRST: Duration = Duration::from_mins(2);
/// How often it looks then.
const EVERY: Duration = Duration::from_hours(1);
/// Runs that are forgotten in one transaction. The deletion of one of 100,000 steps takes seconds: a batch that takes
/// too long is forgotten run by run.
const BATCH: usize = 20;
/// Entries of the feed that are looked at in one transaction.
const ENTRIES: usize = 10_000;
/// Objects that are deleted at a time.
const OBJECTS_AT_ONCE: usize = 16;

pub(super) async fn run(coordinator: Coordinator, age: Duration) {
    clock::sleep(FIRST).await;
    let ages = Ages {
        stopped: age,
        superseded: SUPERSEDED,
    };
    loop {
        if let Err(error) = forget(&coordinator, ages).await {
            tracing::warn!(%error, "jobs that are over could not be forgotten");
        }
        clock::sleep(EVERY).await;
    }
}

/// Forgets all that is so old; answers the runs.
pub(super) async fn forget(
    coordinator: &Coordinator,
    ages: Ages,
) -> Result<Vec<RunId>, StoreError> {
    let store = &coordinator.store;
    let (mut forgotten, mut last) = (Vec::new(), None);
    loop {
        let expired = store.expired(ages, last.as_ref(), BATCH).await?;
        let mut cleared = Vec::new();
        for expired in &expired {
            match clear(coordinator, expired).await {
                Ok(()) => cleared.push(expired.run.clone()),
                // The run stands for its objects: while they are there, somebody has to know of them.
                Err(error) => {
                    tracing::warn!(%error, run.id = %expired.run, "objects of a job that is over could not be removed");
                }
            }
        }
        let gone = forget_runs(coordinator, &cleared, ages).await?;
        counter!(metrics::FORGOTTEN.name).increment(gone.len() as u64);
        forgotten.extend(gone);
        if expired.len() < BATCH {
            break;
        }
        last = expired.into_iter().next_back().map(|expired| expired.run);
    }
    while store.trim_feed(ages.stopped, ENTRIES).await? == ENTRIES {}
    if !forgotten.is_empty() {
        tracing::info!(count = forgotten.len(), "jobs that are over were forgotten");
    }
    Ok(forgotten)
}

async fn forget_runs(
    coordinator: &Coordinator,
    runs: &[RunId],
    ages: Ages,
) -> Result<Vec<RunId>, StoreError> {
    let store = &coordinator.store;
    match store.forget(runs, ages).await {
        Err(StoreError::Unreachable(_) | StoreError::Contended(_)) if runs.len() > 1 => {}
        forgotten => return forgotten,
    }
    let mut forgotten = Vec::new();
    for run in runs {
        forgotten.extend(store.forget(std::slice::from_ref(run), ages).await?);
    }
    Ok(forgotten)
}

/// Removes what nobody sees of a run.
async fn clear(coordinator: &Coordinator, expired: &Expired) -> Result<(), ObjectError> {
    for generation in &expired.unseen {
        remove(coordinator, generation).await?;
    }
    Ok(())
}

async fn remove(coordinator: &Coordinator, generation: &Generation) -> Result<(), ObjectError> {
    let media = coordinator.objects.open(&generation.store)?;
    let keys = generation.list(media.as_ref()).await?;
    let deletions = keys.into_iter().map(|key| {
        let media = media.clone();
        async move { media.delete(&key).await }
    });
    let deletions = stream::iter(deletions).buffer_unordered(OBJECTS_AT_ONCE);
    deletions.try_collect().await
}
