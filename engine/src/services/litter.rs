//! Removes what killed attempts have left in the object stores: objects under a name that belongs to an attempt, in a
//! generation whose run ended a day ago, that no step of the run has recorded, and uploads that never ended.

use std::collections::BTreeSet;
use std::time::Duration;

use ::metrics::counter;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;

use crate::clock;
use crate::coordinator::Coordinator;
use crate::limits;
use crate::metrics;
use crate::objects::{MEDIA_SCHEME, ObjectError, ObjectStore, PUBLISHED_MARK};
use crate::store::{Generation, StoreError};

/// How long ago a run ended whose generations are looked through: whoever was taken for dead has gone by then.
const GRACE: Duration = Duration::from_hours(24);
/// When a process looks first: one that lives for a moment has something else to do.
const FIRST: Duration = Duration::from_mins(1);
/// How often it looks then.
const EVERY: Duration = Duration::from_hours(6);
/// How long after the end of its run an object may be written that is removed: by attempts that were taken for dead, and
/// by clocks that differ. What is younger belongs to a time that the database has forgotten.
const AFTER_THE_END: Duration = Duration::from_hours(1);
/// Generations that are asked for at once.
const BATCH: usize = 100;
/// Objects that are looked at, or deleted, at a time.
const OBJECTS_AT_ONCE: usize = 16;

pub(super) async fn run(coordinator: Coordinator) {
    clock::sleep(FIRST).await;
    loop {
        if let Err(error) = sweep(&coordinator, GRACE).await {
            tracing::warn!(%error, "what killed attempts left was not looked for");
        }
        clock::sleep(EVERY).await;
    }
}

/// Looks through all generations that are due; answers the keys that were removed.
pub(super) async fn sweep(
    coordinator: &Coordinator,
    grace: Duration,
) -> Result<Vec<String>, StoreError> {
    let (mut removed, mut last) = (Vec::new(), None);
    // Of a store that is away, one warning is enough.
    let (mut away, mut tidied) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let due = coordinator.store.unswept(grace, last.as_ref(), BATCH);
        let due = due.await?;
        for generation in &due {
            if tidied.insert(generation.store.clone()) {
                let abandoned = abandon_uploads(coordinator, &generation.store, grace).await;
                match abandoned {
                    Some(keys) => removed.extend(keys),
                    None => drop(away.insert(generation.store.clone())),
                }
            }
            if !away.contains(&generation.store) {
                removed.extend(sweep_one(coordinator, generation, &mut away).await?);
            }
        }
        if due.len() < BATCH {
            return Ok(removed);
        }
        last = due.into_iter().next_back();
    }
}

/// Removes uploads of a store that began so long ago and never ended: nobody lists them, and whoever keeps them is paid
/// for them. Answers their keys; `None` of a store that is away.
async fn abandon_uploads(
    coordinator: &Coordinator,
    store: &str,
    grace: Duration,
) -> Option<Vec<String>> {
    let removed = async {
        coordinator
            .objects
            .open(store)?
            .remove_unfinished(grace)
            .await
    };
    match removed.await {
        Ok(removed) => {
            counter!(metrics::LITTER.name).increment(removed.len() as u64);
            Some(removed)
        }
        Err(error) => {
            tracing::warn!(%error, store, "uploads that never ended were not looked for");
            let is_away = matches!(error, ObjectError::Service { .. });
            (!is_away).then(Vec::new)
        }
    }
}

/// What cannot be looked through is looked at again the next time.
async fn sweep_one(
    coordinator: &Coordinator,
    generation: &Generation,
    away: &mut BTreeSet<String>,
) -> Result<Vec<String>, StoreError> {
    let Generation { name, n, .. } = generation;
    match litter(coordinator, generation).await {
        Ok(removed) => {
            coordinator.store.swept(generation).await?;
            if !removed.is_empty() {
                let count = removed.len();
                tracing::info!(name, n, count, "what killed attempts left was removed");
                counter!(metrics::LITTER.name).increment(count as u64);
            }
            Ok(removed)
        }
        Err(error) => {
            tracing::warn!(%error, name, n, "what killed attempts left could not be removed");
            if matches!(error, Unswept::Objects(ObjectError::Service { .. })) {
                away.insert(generation.store.clone());
            }
            Ok(Vec::new())
        }
    }
}

/// Why a generation was not looked through.
#[derive(Debug, thiserror::Error)]
enum Unswept {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
}

/// Removes what nobody has recorded of a generation, and answers its keys.
async fn litter(
    coordinator: &Coordinator,
    generation: &Generation,
) -> Result<Vec<String>, Unswept> {
    let media = coordinator.objects.open(&generation.store)?;
    let mut found = generation.list(media.as_ref()).await?;
    if !knows_of_its_publication(&found, generation) {
        return Ok(Vec::new());
    }
    found.retain(|key| is_of_attempt(key));
    if found.is_empty() {
        return Ok(found);
    }
    let snapshot = coordinator.store.snapshot(&generation.run).await?;
    let mut recorded = BTreeSet::new();
    for record in &snapshot.steps {
        recorded.extend(
            record
                .artifacts
                .iter()
                .map(|artifact| artifact.key.as_str()),
        );
        // What somebody supplied or set is recorded nowhere else.
        let said = record.step.output.iter().chain(&record.step.input);
        said.for_each(|it| texts(it, &mut recorded));
    }
    found.retain(|key| !recorded.contains(key.as_str()));
    let removed = remove(media.as_ref(), (&found, generation)).await?;
    Ok(if removed { found } else { Vec::new() })
}

/// Removes objects of a generation, or none if the database does not know what one of them is for.
pub(super) async fn remove(
    media: &dyn ObjectStore,
    (keys, generation): (&[String], &Generation),
) -> Result<bool, ObjectError> {
    if !is_of_its_time(media, (keys, generation)).await? {
        return Ok(false);
    }
    let deletions = stream::iter(keys.to_vec()).map(async |key| media.delete(&key).await);
    let deletions = deletions.buffer_unordered(OBJECTS_AT_ONCE);
    deletions.try_collect::<()>().await?;
    Ok(true)
}

/// Whether the database knows that a generation was published that says so itself. If not, it was set back, or is a copy.
pub(super) fn knows_of_its_publication(keys: &[String], generation: &Generation) -> bool {
    let is_mark = |key: &String| key.rsplit('/').next() == Some(PUBLISHED_MARK);
    if generation.published || !keys.iter().any(is_mark) {
        return true;
    }
    let Generation { name, n, run, .. } = generation;
    tracing::warn!(
        name,
        n,
        run.id = %run,
        "a generation says that it was published, and the database does not know it: it seems to have been set back, and \
         the objects are left alone"
    );
    false
}

/// Whether objects of a generation were all written before its run ended, or soon after. If not, the database was set back
/// to an earlier time, and does not know what they are for.
async fn is_of_its_time(
    media: &dyn ObjectStore,
    (keys, generation): (&[String], &Generation),
) -> Result<bool, ObjectError> {
    let heads = stream::iter(keys.to_vec()).map(async |key| media.head(&key).await);
    let mut heads = heads.buffer_unordered(OBJECTS_AT_ONCE);
    while let Some(head) = heads.next().await {
        if head?.is_some_and(|head| head.modified > generation.ended_at + AFTER_THE_END) {
            let Generation { name, n, run, .. } = generation;
            tracing::warn!(
                name,
                n,
                run.id = %run,
                "objects are younger than the end of the job that they belong to: the database seems to have been set \
                 back, and they are left alone"
            );
            return Ok(false);
        }
    }
    Ok(true)
}

/// All texts of a value, addresses of results as keys.
fn texts<'o>(value: &'o Value, into: &mut BTreeSet<&'o str>) {
    match value {
        Value::String(text) => {
            into.insert(text.strip_prefix(MEDIA_SCHEME).unwrap_or(text));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(members) => members.values().for_each(|member| texts(member, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// `.../seg_00001_0a1b2c3d.m4s`.
fn is_of_attempt(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let tag = stem.rsplit_once('_').map_or("", |(_, tag)| tag);
    let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    tag.len() == limits::ATTEMPT_TAG_CHARS && tag.bytes().all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::is_of_attempt;

    #[test]
    fn only_names_with_a_tag_belong_to_an_attempt() {
        for own in [
            "g1/video/seg_00001_0a1b2c3d.m4s",
            "a_01234567",
            "v.g1_89abcdef.webp",
        ] {
            assert!(is_of_attempt(own), "{own}");
        }
        for other in [
            "g1/.claim",
            "g1/master.m3u8",
            "g1/cover.jpg",
            "g1/init.mp4",
            "g1/a_0a1b2c3.m4s",
            "g1/a_0A1B2C3D.m4s",
            "a_0a1b2c3d/b.m4s",
        ] {
            assert!(!is_of_attempt(other), "{other}");
        }
    }
}
