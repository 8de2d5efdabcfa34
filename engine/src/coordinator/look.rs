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

/// The key of an object that a run made and that is gone or has another size; nothing is read.
pub(super) async fn missing(
    objects: &dyn ObjectStores,
    snapshot: &Snapshot,
) -> Result<Option<String>, ObjectError> {
    let media = objects.open(&snapshot.run.stores.media)?;
    let artifacts = snapshot.steps.iter().flat_map(|record| &record.artifacts);
    let looks = artifacts.map(async |artifact| {
        let found = media.head(&artifact.key).await?;
        let verdict = match found {
            Some(found) if found.size == artifact.size => Verdict::Present,
            _ => Verdict::Missing,
        };
        Ok((artifact.key.clone(), verdict))
    });
    let mut found = collect(looks.collect(), LOOKS_AT_ONCE).await?.into_iter();
    let missing = found.find(|(_, verdict)| *verdict == Verdict::Missing);
    Ok(missing.map(|(key, _)| key))
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

/// Objects that this process has read and found right although their etag is not the one that they were put
/// with. A server whose store was moved need not read all of it again each time that a plan is made or
/// executed, and of a request that was given up, the objects count that were read to their end.
#[derive(Debug, Default)]
pub struct Proven(Mutex<HashSet<Mark>>);

/// What an object that was read is known by: a hash over the bytes that it is to have, where it is, and its etag.
type Mark = [u8; 32];

impl Proven {
    /// Of that many objects at most is that remembered: then it begins anew.
    const OBJECTS: usize = 100_000;

    fn has(&self, mark: &Mark) -> bool {
        self.lock().contains(mark)
    }

    fn add(&self, mark: Mark) {
        let mut known = self.lock();
        if known.len() >= Self::OBJECTS {
            known.clear();
        }
        known.insert(mark);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Mark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mark(store: &str, artifact: &Artifact, etag: &str) -> Mark {
        let named = [store, &artifact.key, etag, &artifact.sha256];
        Sha256::digest(json!(named).to_string()).into()
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
        let is_another = artifact.etag.as_ref().is_some_and(|put| put != etag);
        let mark = is_another.then(|| Proven::mark(self.url, artifact, etag));
        let has_to_be_read = mark.as_ref().is_some_and(|mark| !self.proven.has(mark));
        if how == Verification::Heads && !has_to_be_read {
            return Ok(Verdict::Present);
        }
        let verdict = self.read(artifact).await?;
        if let (Verdict::Present, Some(mark)) = (verdict, mark) {
            self.proven.add(mark);
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
    use std::ops::Range;
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;
    use chrono::DateTime;
    use tokio::sync::Barrier;

    use super::*;
    use crate::objects::{Access, ObjectMeta, ObjectStream};

    /// A store with one object, and how often that was read.
    #[derive(Debug)]
    struct One {
        etag: &'static str,
        bytes: &'static [u8],
        read: AtomicU32,
    }

    #[async_trait]
    impl ObjectStore for One {
        async fn head(&self, _: &str) -> Result<Option<ObjectMeta>, ObjectError> {
            Ok(Some(ObjectMeta {
                size: self.bytes.len() as u64,
                etag: self.etag.to_owned(),
                modified: DateTime::UNIX_EPOCH,
            }))
        }

        async fn stream(&self, _: &str, _: Range<u64>) -> Result<ObjectStream, ObjectError> {
            self.read.fetch_add(1, Ordering::Relaxed);
            let bytes = Bytes::from_static(self.bytes);
            Ok(Box::pin(stream::iter([Ok(bytes)])))
        }

        async fn read_range(&self, _: &str, _: u64, _: usize) -> Result<Bytes, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn put_bytes(&self, _: &str, _: Bytes) -> Result<String, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn put_new(&self, _: &str, _: Bytes) -> Result<bool, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn put_file(&self, _: &str, _: &Path) -> Result<String, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn copy(&self, _: &str, _: &str) -> Result<String, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn delete(&self, _: &str) -> Result<(), ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn list(&self, _: &str) -> Result<Vec<(String, u64)>, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn list_directories(&self, _: &str) -> Result<Vec<String>, ObjectError> {
            unreachable!("it is not asked for")
        }

        fn local_path(&self, _: &str) -> Result<Option<PathBuf>, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn signed_url(
            &self,
            _: &str,
            _: Access,
            _: Duration,
        ) -> Result<Option<String>, ObjectError> {
            unreachable!("it is not asked for")
        }

        async fn remove_unfinished(&self, _: Duration) -> Result<Vec<String>, ObjectError> {
            unreachable!("it is not asked for")
        }
    }

    /// What is found of an object that was put as `text` with the etag `put`, and how often it was read by then.
    async fn judged(
        (etag, bytes): (&'static str, &'static [u8]),
        how: Verification,
        proven: &Proven,
    ) -> (Verdict, u32) {
        let media = One {
            etag,
            bytes,
            read: AtomicU32::new(0),
        };
        let judge = Judge {
            media: &media,
            url: "s3://media",
            proven,
            reads: Semaphore::new(1),
        };
        let artifact = Artifact {
            key: "k".to_owned(),
            size: 4,
            sha256: hex(&Sha256::digest("text")),
            media_type: "text/plain".to_owned(),
        };
        let artifact = StoredArtifact {
            artifact,
            etag: Some("put".to_owned()),
        };
        let (_, verdict) = judge.judge(&artifact, how).await.unwrap();
        (verdict, media.read.into_inner())
    }

    #[tokio::test]
    async fn only_what_has_another_etag_is_read_and_only_once() {
        let (heads, proven) = (Verification::Heads, Proven::default());
        let untouched = judged(("put", b"next"), heads, &proven).await;
        assert_eq!(untouched, (Verdict::Present, 0), "its etag is proof");
        for read in [1, 0] {
            let moved = judged(("moved", b"text"), heads, &proven).await;
            assert_eq!(moved, (Verdict::Present, read));
        }
        for _ in 0..2 {
            let written = judged(("written", b"next"), heads, &proven).await;
            assert_eq!(written, (Verdict::Corrupt, 1), "it may be put back");
        }
    }

    #[tokio::test]
    async fn full_verification_reads_whatever_the_etag_is() {
        let (full, proven) = (Verification::Full, Proven::default());
        for (object, verdict) in [
            (("put", &b"text"[..]), Verdict::Present),
            (("put", b"next"), Verdict::Corrupt),
            (("moved", b"text"), Verdict::Present),
            (("moved", b"text"), Verdict::Present),
        ] {
            assert_eq!(judged(object, full, &proven).await, (verdict, 1));
        }
        let after = judged(("moved", b"text"), Verification::Heads, &proven).await;
        assert_eq!(after, (Verdict::Present, 0), "it was read");
    }

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
