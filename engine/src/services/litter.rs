//! Removes what killed attempts have left in the object stores: objects under a name that belongs to an attempt,
//! in a generation whose run stopped a day ago, that no step of the run has recorded.

use std::collections::BTreeSet;
use std::time::Duration;

use ::metrics::counter;
use serde_json::Value;

use crate::clock;
use crate::coordinator::Coordinator;
use crate::limits;
use crate::metrics;
use crate::objects::ObjectError;
use crate::store::{Generation, StoreError};

/// How long a run has stopped before its generations are looked through, and how old an object is that is
/// removed: whoever was taken for dead has gone by then, and clocks differ by less.
const GRACE: Duration = Duration::from_secs(24 * 3600);
/// When a process looks first: one that lives for a moment has something else to do.
const FIRST: Duration = Duration::from_mins(1);
/// How often it looks then.
const EVERY: Duration = Duration::from_hours(6);
/// Generations that are asked for at once.
const BATCH: usize = 100;

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
    loop {
        let due = coordinator.store.unswept(grace, last.as_ref(), BATCH);
        let due = due.await?;
        for generation in &due {
            removed.extend(sweep_one(coordinator, generation, grace).await?);
        }
        if due.len() < BATCH {
            return Ok(removed);
        }
        last = due.into_iter().next_back();
    }
}

/// A store that is away is asked again the next time.
async fn sweep_one(
    coordinator: &Coordinator,
    generation: &Generation,
    grace: Duration,
) -> Result<Vec<String>, StoreError> {
    let Generation { name, n, .. } = generation;
    match litter(coordinator, generation, grace).await {
        Ok(found) => {
            coordinator.store.swept(generation).await?;
            if !found.is_empty() {
                let count = found.len();
                tracing::info!(name, n, count, "what killed attempts left was removed");
                counter!(metrics::LITTER.name).increment(count as u64);
            }
            Ok(found)
        }
        Err(Unswept::Store(error)) => Err(error),
        Err(Unswept::Objects(error)) => {
            tracing::warn!(%error, name, n, "what killed attempts left could not be removed");
            Ok(Vec::new())
        }
    }
}

/// Why a generation was not looked through.
enum Unswept {
    Store(StoreError),
    Objects(ObjectError),
}

impl From<ObjectError> for Unswept {
    fn from(error: ObjectError) -> Self {
        Self::Objects(error)
    }
}

/// Removes what nobody has recorded of a generation, and answers its keys.
async fn litter(
    coordinator: &Coordinator,
    generation: &Generation,
    grace: Duration,
) -> Result<Vec<String>, Unswept> {
    let media = coordinator.objects.open(&generation.store)?;
    let mut found = generation.list(media.as_ref()).await?;
    found.retain(|key| is_of_attempt(key));
    if found.is_empty() {
        return Ok(found);
    }
    let snapshot = coordinator.store.snapshot(&generation.run).await;
    let snapshot = snapshot.map_err(Unswept::Store)?;
    let mut recorded = BTreeSet::new();
    for record in &snapshot.steps {
        recorded.extend(
            record
                .artifacts
                .iter()
                .map(|artifact| artifact.key.as_str()),
        );
        // What somebody supplied is recorded nowhere else.
        record
            .step
            .output
            .iter()
            .for_each(|it| texts(it, &mut recorded));
    }
    found.retain(|key| !recorded.contains(key.as_str()));
    let mut removed = Vec::new();
    for key in found {
        let head = media.head(&key).await?;
        if head.is_some_and(|head| head.modified + grace <= chrono::Utc::now()) {
            media.delete(&key).await?;
            removed.push(key);
        }
    }
    Ok(removed)
}

/// All texts of an output.
fn texts<'o>(output: &'o Value, into: &mut BTreeSet<&'o str>) {
    match output {
        Value::String(text) => {
            into.insert(text);
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
