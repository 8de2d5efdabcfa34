//! What has become of the objects that a run stands on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::source_key;
use crate::activity::hex;
use crate::objects::{Artifact, ObjectError, ObjectStore, ObjectStores, StoredArtifact};
use crate::retry::reuse::{self, Beside, SourceIdentity};
use crate::retry::world::{
    Identity, Installed, Source, Verdict, Verdicts, Verification, fingerprint,
};
use crate::run::{Run, Snapshot, StepRecord};

/// How many artifacts are looked at at a time. A service far away takes some 20 ms for each: within the
/// 30 s that a request over HTTP may take, that is 96,000 of them instead of 1,500.
const LOOKS_AT_ONCE: usize = 64;

/// How many are read at a time: each takes a connection, and what it is hashed with a processor.
const READS_AT_ONCE: usize = 8;

/// What has become of every object that steps of a run made. `suspects` are read whatever is asked for:
/// their size may be right and their bytes wrong.
pub(super) async fn verdicts(
    (objects, proven): (&dyn ObjectStores, &Proven),
    (snapshot, suspects): (&Snapshot, &BTreeSet<String>),
    how: Verification,
) -> Result<Verdicts, ObjectError> {
    let url = &snapshot.run.stores.media;
    let media = objects.open(url)?;
    let judge = Judge {
        media: media.as_ref(),
        url,
        proven,
        reads: Semaphore::new(READS_AT_ONCE),
    };
    let artifacts = snapshot.steps.iter().flat_map(|record| &record.artifacts);
    let judged = artifacts.map(|artifact| {
        let how = match suspects.contains(&artifact.key) {
            true => Verification::Full,
            false => how,
        };
        judge.judge(artifact, how)
    });
    collect(judged.collect(), LOOKS_AT_ONCE).await
}

/// What has become of the source of a run, and what is there.
pub(super) async fn source(
    objects: &dyn ObjectStores,
    run: &Run,
) -> Result<(Source, Option<SourceIdentity>), ObjectError> {
    let Some(key) = source_key(&run.input) else {
        return Ok((Source::Unknown, None));
    };
    let found = objects.open_source(&run.stores.source)?.head(key).await?;
    let Some(found) = found.as_ref().map(SourceIdentity::from) else {
        return Ok((Source::Gone, None));
    };
    let Run {
        definition,
        input,
        stores,
        ..
    } = run;
    let is = fingerprint((definition, input), stores, Some(&found));
    if is == run.fingerprint {
        return Ok((Source::Same, Some(found)));
    }
    let identity = Identity {
        fingerprint: is,
        source: Some(key.to_owned()),
        size: Some(found.size),
        etag: Some(found.etag.clone()),
    };
    Ok((Source::Replaced(identity), Some(found)))
}

/// What the objects are like that steps name as sources beside the run's own. One that cannot be looked at
/// is left out: a step that reads it looks at it itself.
pub(super) async fn beside(
    objects: &dyn ObjectStores,
    snapshot: &Snapshot,
    activities: &BTreeMap<String, Installed>,
) -> Beside {
    let run = &snapshot.run;
    let own = source_key(&run.input);
    let named = |record: &StepRecord| -> BTreeSet<String> {
        let installed = activities.get(&record.step.activity);
        let schema = installed.and_then(|installed| installed.names_sources.as_ref());
        let (Some(input), Some(schema)) = (&record.step.input, schema) else {
            return BTreeSet::new();
        };
        let named = reuse::beside(schema, input, own).into_iter();
        named.map(str::to_owned).collect()
    };
    let names: BTreeSet<String> = snapshot.steps.iter().flat_map(named).collect();
    let why = |error: &ObjectError| {
        tracing::warn!(%error, run.id = %run.id, "what steps read could not be looked at for a plan");
    };
    let opened = objects.open_source(&run.stores.source).inspect_err(why);
    let Ok(store) = opened else {
        return Beside::new();
    };
    let looks = names.into_iter().map(async |name| {
        let found = store.head(&name).await.inspect_err(why).ok()?;
        Some((name, found.as_ref().map(SourceIdentity::from)))
    });
    let looks: Vec<_> = looks.collect();
    let found = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE);
    found.filter_map(std::future::ready).collect().await
}

/// Objects that were read and found right although their etag is not the one that they were put with. Whoever
/// has moved a store need not wait for all of it again each time that a plan is made or executed, and a request
/// that was given up goes on where it was.
#[derive(Debug, Default)]
pub struct Proven(Mutex<HashSet<String>>);

impl Proven {
    /// Of that many objects at most is that remembered, with 32 bytes of each: then it begins anew.
    const OBJECTS: usize = 100_000;

    fn has(&self, digest: &str) -> bool {
        self.lock().contains(digest)
    }

    fn add(&self, digest: String) {
        let mut known = self.lock();
        if known.len() >= Self::OBJECTS {
            known.clear();
        }
        known.insert(digest);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What an object that was read is known by: the bytes that it is to have, where it is, and its etag.
    fn digest(store: &str, artifact: &Artifact, etag: &str) -> String {
        let named = [store, &artifact.key, etag, &artifact.sha256];
        hex(&Sha256::digest(json!(named).to_string())[..16])
    }
}

/// Looks at artifacts, and reads those that have to be read.
struct Judge<'a> {
    media: &'a dyn ObjectStore,
    /// Its address.
    url: &'a str,
    proven: &'a Proven,
    /// As many are read at a time.
    reads: Semaphore,
}

impl Judge<'_> {
    /// What has become of an artifact, and its key. One of the right size is read if that is asked for, and if
    /// its etag is not the one that it was put with: somebody has written it since, or moved the store as a
    /// whole, and only its bytes tell.
    async fn judge(
        &self,
        artifact: &StoredArtifact,
        how: Verification,
    ) -> Result<(String, Verdict), ObjectError> {
        let key = artifact.key.clone();
        let verdict = match self.media.head(&key).await? {
            None => Verdict::Missing,
            Some(meta) if meta.size != artifact.size => Verdict::Corrupt,
            Some(meta) => self.judge_bytes(artifact, &meta.etag, how).await?,
        };
        Ok((key, verdict))
    }

    async fn judge_bytes(
        &self,
        artifact: &StoredArtifact,
        etag: &str,
        how: Verification,
    ) -> Result<Verdict, ObjectError> {
        let moved = artifact.etag.as_ref().is_some_and(|put| put != etag);
        let moved = moved.then(|| Proven::digest(self.url, artifact, etag));
        let is_right = moved.as_ref().is_none_or(|digest| self.proven.has(digest));
        if how == Verification::Heads && is_right {
            return Ok(Verdict::Present);
        }
        let verdict = self.read(artifact).await?;
        if let (Verdict::Present, Some(digest)) = (verdict, moved) {
            self.proven.add(digest);
        }
        Ok(verdict)
    }

    async fn read(&self, artifact: &Artifact) -> Result<Verdict, ObjectError> {
        // Nobody closes it.
        let _turn = self.reads.acquire().await;
        match digest(self.media, &artifact.key).await {
            Ok(digest) if digest == artifact.sha256 => Ok(Verdict::Present),
            Ok(_) | Err(ObjectError::Changed { .. }) => Ok(Verdict::Corrupt),
            Err(ObjectError::NotFound { .. }) => Ok(Verdict::Missing),
            Err(error) => Err(error),
        }
    }
}

async fn digest(media: &dyn ObjectStore, key: &str) -> Result<String, ObjectError> {
    let mut bytes = media.stream(key, 0..u64::MAX).await?;
    let mut hash = Sha256::new();
    while let Some(piece) = bytes.next().await {
        hash.update(&piece?);
    }
    Ok(hex(&hash.finalize()))
}

/// Takes so many looks at a time. What they find counts in their order, whichever answer comes
/// first: of two verdicts on one key the later, of two errors the earlier.
async fn collect<F>(looks: Vec<F>, at_once: usize) -> Result<Verdicts, ObjectError>
where
    F: Future<Output = Result<(String, Verdict), ObjectError>>,
{
    let looks = stream::iter(looks).buffered(at_once);
    looks.try_collect().await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn as_many_artifacts_are_looked_at_at_once_as_may_be() {
        // Nobody is answered before that many have asked.
        let all_asked = Barrier::new(LOOKS_AT_ONCE);
        let look = async |number: usize| {
            all_asked.wait().await;
            Ok((format!("k{number}"), Verdict::Present))
        };
        let looks: Vec<_> = (0..2 * LOOKS_AT_ONCE).map(look).collect();
        let verdicts =
            tokio::time::timeout(Duration::from_secs(10), collect(looks, LOOKS_AT_ONCE)).await;
        let verdicts = verdicts.expect("they are asked together").unwrap();
        assert_eq!(verdicts.len(), 2 * LOOKS_AT_ONCE);
    }

    #[tokio::test]
    async fn what_is_found_does_not_depend_on_which_answer_comes_first() {
        let look = async |(key, turns, verdict): (&str, u32, Verdict)| {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            Ok((key.to_owned(), verdict))
        };
        let looks = [
            ("a", 9, Verdict::Missing),
            ("b", 3, Verdict::Corrupt),
            ("a", 1, Verdict::Present),
        ];
        let verdicts = collect(looks.map(look).into(), LOOKS_AT_ONCE)
            .await
            .unwrap();
        let expected = [("a", Verdict::Present), ("b", Verdict::Corrupt)];
        let expected = expected.map(|(key, verdict)| (key.to_owned(), verdict));
        assert_eq!(verdicts, Verdicts::from(expected));
    }
}
