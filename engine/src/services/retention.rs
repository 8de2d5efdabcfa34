//! Forgets what nobody asks for any more: jobs that ended long ago and never published anything, what is left in the
//! object stores of those that did not succeed, and the oldest of the feed.

use std::collections::BTreeSet;
use std::time::Duration;

use ::metrics::counter;

use super::litter::{self, knows_of_its_publication};
use crate::clock;
use crate::coordinator::Coordinator;
use crate::id::RunId;
use crate::metrics;
use crate::objects::ObjectError;
use crate::store::{Generation, StoreError};

/// When a process looks first: after it has looked for litter.
const FIRST: Duration = Duration::from_mins(2);
/// How often it looks then.
const EVERY: Duration = Duration::from_hours(1);
/// Runs that are forgotten in one transaction. The deletion of one of 100,000 steps takes seconds: a batch that takes
/// too long is forgotten run by run.
const BATCH: usize = 100;
/// Entries of the feed that are looked at in one transaction.
const ENTRIES: usize = 10_000;

pub(super) async fn run(coordinator: Coordinator, age: Duration) {
    clock::sleep(FIRST).await;
    loop {
        if let Err(error) = forget(&coordinator, age).await {
            tracing::warn!(%error, "jobs that are over could not be forgotten");
        }
        clock::sleep(EVERY).await;
    }
}

/// Forgets all that is so old; answers the runs.
pub(super) async fn forget(
    coordinator: &Coordinator,
    age: Duration,
) -> Result<Vec<RunId>, StoreError> {
    let store = &coordinator.store;
    while store.trim_feed(age, ENTRIES).await? == ENTRIES {}
    let (mut forgotten, mut last) = (Vec::new(), None);
    loop {
        let mut expired = store.expired(age, last.as_ref(), BATCH).await?;
        let gone = forget_runs(coordinator, &expired, age).await?;
        counter!(metrics::FORGOTTEN.name).increment(gone.len() as u64);
        forgotten.extend(gone);
        if expired.len() < BATCH {
            break;
        }
        last = expired.pop();
    }
    if !forgotten.is_empty() {
        tracing::info!(count = forgotten.len(), "jobs that are over were forgotten");
    }
    clear(coordinator).await?;
    Ok(forgotten)
}

/// One that cannot be forgotten keeps no other.
async fn forget_runs(
    coordinator: &Coordinator,
    runs: &[RunId],
    age: Duration,
) -> Result<Vec<RunId>, StoreError> {
    let store = &coordinator.store;
    match store.forget(runs, age).await {
        Err(error) => tracing::debug!(%error, "jobs are forgotten one by one"),
        forgotten => return forgotten,
    }
    let mut forgotten = Vec::new();
    for run in runs {
        match store.forget(std::slice::from_ref(run), age).await {
            Ok(gone) => forgotten.extend(gone),
            Err(error @ (StoreError::Contended(_) | StoreError::Corrupt(_))) => {
                tracing::warn!(%error, run.id = %run, "a job that is over could not be forgotten");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(forgotten)
}

/// Removes what forgotten runs have left.
async fn clear(coordinator: &Coordinator) -> Result<(), StoreError> {
    let mut last = None;
    // Of a store that is away, one warning is enough.
    let mut away = BTreeSet::new();
    loop {
        let abandoned = coordinator.store.abandoned(last.as_ref(), BATCH).await?;
        for generation in &abandoned {
            if away.contains(&generation.store) {
                continue;
            }
            match remove(coordinator, generation).await {
                Ok(()) => coordinator.store.cleared(generation).await?,
                // It is looked at again the next time.
                Err(error) => {
                    let Generation { name, n, .. } = generation;
                    tracing::warn!(%error, name, n, "what a forgotten job has left could not be removed");
                    if matches!(error, ObjectError::Service { .. }) {
                        away.insert(generation.store.clone());
                    }
                }
            }
        }
        if abandoned.len() < BATCH {
            return Ok(());
        }
        last = abandoned.into_iter().next_back();
    }
}

/// Removes all objects of a generation but its claim, which keeps others from its number.
async fn remove(coordinator: &Coordinator, generation: &Generation) -> Result<(), ObjectError> {
    let media = coordinator.objects.open(&generation.store)?;
    let mut keys = generation.list(media.as_ref()).await?;
    if !knows_of_its_publication(&keys, generation) {
        return Ok(());
    }
    keys.retain(|key| !key.rsplit('/').next().unwrap_or_default().starts_with('.'));
    litter::remove(media.as_ref(), (&keys, generation))
        .await
        .map(drop)
}
