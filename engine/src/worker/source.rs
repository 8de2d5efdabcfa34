use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::WorkerParts;
use super::copies::{SourceCopies, Wanted};
use super::outage::wait_out;
use crate::activity::{ActivityError, ActivityInfo, ErrorClass};
use crate::coordinator::{is_source_of, source_key};
use crate::id::RunId;
use crate::objects::{Access, ObjectError, ObjectMeta, ObjectStore, ObjectStream};
use crate::retry::policy::SOURCE_CHANGED;
use crate::retry::reuse::{self, Beside, SourceIdentity};
use crate::run::Run;
use crate::store::{Claim, Store, StoreError};

/// How long the look may take that an attempt ends with.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// How many objects are looked at at a time.
const LOOKS_AT_ONCE: usize = 16;

/// Keys of sources that are remembered of one attempt. No input names so many.
const KEYS: usize = 10_000;

/// The store of sources as one attempt sees it: the object that the run was submitted with is
/// there for as long as it is the one that was submitted.
///
/// Steps of a run open the source one after the other, for hours. What replaces it meanwhile (an
/// export into the same name) would be published under the hash of the one before.
#[derive(Debug)]
pub(super) struct SubmittedSource {
    objects: Arc<dyn ObjectStore>,
    /// Its address.
    url: String,
    copies: Arc<SourceCopies>,
    runs: Arc<dyn Store>,
    run: RunId,
    loaded: OnceCell<Option<Run>>,
    /// The attempt is to stop, and waits for the database no longer.
    cancelled: CancellationToken,
    /// Keys that the attempt has looked at.
    used: Mutex<BTreeSet<String>>,
}

impl SubmittedSource {
    pub(super) fn new(
        parts: &WorkerParts,
        claim: &Claim,
        (copies, cancelled): (&Arc<SourceCopies>, &CancellationToken),
    ) -> Result<Self, ObjectError> {
        Ok(Self {
            url: claim.stores.source.clone(),
            copies: copies.clone(),
            objects: parts.objects.open_source(&claim.stores.source)?,
            runs: parts.store.clone(),
            run: claim.fence.run.clone(),
            loaded: OnceCell::new(),
            cancelled: cancelled.clone(),
            used: Mutex::default(),
        })
    }

    /// What the objects are like that an input names beside the source of the run. What is no key at all is left
    /// to the activity.
    ///
    /// # Errors
    /// What the store says; one that is not there is no error.
    pub(super) async fn beside(
        &self,
        (activity, input): (&ActivityInfo, &Value),
    ) -> Result<Beside, ObjectError> {
        let mut named = reuse::beside(&activity.input_schema, input, None);
        if named.is_empty() {
            return Ok(Beside::new());
        }
        let run = self.submitted().await?;
        if let Some(own) = run.and_then(|run| source_key(&run.input)) {
            named.remove(own);
        }
        let looks = named.into_iter().map(async |key: &str| {
            let found = match self.objects.head(key).await {
                Err(ObjectError::BadKey { .. }) => return Ok(None),
                found => found?,
            };
            let found = found.as_ref().map(SourceIdentity::from);
            Ok::<_, ObjectError>(Some((key.to_owned(), found)))
        });
        let looks: Vec<_> = looks.collect();
        let found = stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE);
        found.try_filter_map(async |it| Ok(it)).try_collect().await
    }

    /// What came of an attempt, unless an object beside the source is another one than it was `before`: then it may
    /// have been made of both. A look that fails or takes long changes nothing: plans look again.
    pub(super) async fn judge_beside<T>(
        &self,
        (activity, input, before): (&ActivityInfo, &Value, &Beside),
        ended: Result<T, ActivityError>,
    ) -> Result<T, ActivityError> {
        let about_it = |error: &ActivityError| {
            matches!(error.class, ErrorClass::Input | ErrorClass::Transient)
        };
        if before.is_empty() || !ended.as_ref().err().is_none_or(about_it) {
            return ended;
        }
        let look = tokio::time::timeout(LAST_LOOK, self.beside((activity, input)));
        let now = tokio::select! {
            now = look => now,
            () = self.cancelled.cancelled() => return ended,
        };
        let Ok(Ok(now)) = now else { return ended };
        let replaced = before.iter().find(|(key, found)| {
            let now = now.get(*key).and_then(Option::as_ref);
            found.is_some() && now.is_some() && found.as_ref() != now
        });
        match replaced {
            None => ended,
            Some((key, _)) => Err(ActivityError::transient(
                "object_changed",
                format!("{key} was replaced while the step was at work"),
            )),
        }
    }

    /// What came of an attempt, unless its source was another one at its end: then neither what it
    /// made nor what it complains of is about the source that was submitted.
    pub(super) async fn judge<T>(
        &self,
        ended: Result<T, ActivityError>,
    ) -> Result<T, ActivityError> {
        let stops = |error: &ActivityError| error.class == ErrorClass::Cancelled;
        if self.looked_at().is_empty() || ended.as_ref().is_err_and(stops) {
            return ended;
        }
        match (ended, self.confirm().await.map_err(ActivityError::from)) {
            (Err(own), Err(changed)) if changed.code != SOURCE_CHANGED => Err(own),
            (ended, confirmed) => confirmed.and(ended),
        }
    }

    /// The run, however long the database is away: what an attempt has made must not be lost to a
    /// restart of it. It has the same source for as long as it runs.
    async fn submitted(&self) -> Result<Option<&Run>, ObjectError> {
        let load = || self.runs.load_run(&self.run);
        let load = || wait_out(&self.cancelled, load);
        let run = self.loaded.get_or_try_init(load).await;
        run.map(Option::as_ref).map_err(unknown)
    }

    /// # Errors
    /// `Changed`, or `NotFound` if it is gone.
    async fn confirm(&self) -> Result<(), ObjectError> {
        let run = self.submitted().await?;
        let Some(key) = run.and_then(|run| source_key(&run.input)) else {
            return Ok(());
        };
        match self.head(key).await? {
            Some(_) => Ok(()),
            None => Err(ObjectError::NotFound {
                key: key.to_owned(),
            }),
        }
    }

    async fn check(&self, key: &str, found: &ObjectMeta) -> Result<(), ObjectError> {
        let run = self.submitted().await?;
        let other =
            run.is_some_and(|run| source_key(&run.input) == Some(key) && !is_source_of(run, found));
        if other {
            return Err(ObjectError::Changed {
                key: key.to_owned(),
            });
        }
        Ok(())
    }

    /// Whether the attempt has looked at nothing but these keys.
    pub(super) fn is_within(&self, keys: &[&str]) -> bool {
        let mut used = self.looked_at().clone().into_iter();
        used.all(|key| keys.contains(&key.as_str()))
    }

    fn looked_at(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn used(&self, key: &str) -> &dyn ObjectStore {
        let mut looked_at = self.looked_at();
        if looked_at.len() < KEYS && !looked_at.contains(key) {
            looked_at.insert(key.to_owned());
        }
        self.objects.as_ref()
    }
}

fn unknown(error: StoreError) -> ObjectError {
    let (class, code) = match error.passes() {
        // The attempt was told to stop while it waited.
        true => (ErrorClass::Cancelled, "cancelled"),
        false => (ErrorClass::Dependency, "database_unavailable"),
    };
    ObjectError::Service {
        doing: "look up",
        key: "the source of the job".to_owned(),
        class,
        code,
        why: error.to_string(),
        source: Some(Box::new(error)),
    }
}

#[async_trait]
impl ObjectStore for SubmittedSource {
    async fn head(&self, key: &str) -> Result<Option<ObjectMeta>, ObjectError> {
        let found = self.used(key).head(key).await?;
        if let Some(found) = &found {
            self.check(key, found).await?;
        }
        Ok(found)
    }

    async fn read_range(&self, key: &str, offset: u64, len: usize) -> Result<Bytes, ObjectError> {
        self.used(key).read_range(key, offset, len).await
    }

    async fn stream(&self, key: &str, range: Range<u64>) -> Result<ObjectStream, ObjectError> {
        self.used(key).stream(key, range).await
    }

    /// A second name of the copy that all attempts of the worker share.
    async fn download(
        &self,
        key: &str,
        to: &Path,
        copied: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<u64, ObjectError> {
        let found = self.head(key).await?;
        let found = found.ok_or_else(|| ObjectError::NotFound {
            key: key.to_owned(),
        })?;
        let wanted = Wanted {
            store: self.url.clone(),
            key: key.to_owned(),
            etag: found.etag,
            size_bytes: found.size,
        };
        let source = (self.objects.as_ref(), wanted);
        self.copies.name(source, to, copied).await
    }

    async fn put_bytes(&self, key: &str, bytes: Bytes) -> Result<String, ObjectError> {
        self.objects.put_bytes(key, bytes).await
    }

    async fn put_new(&self, key: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        self.objects.put_new(key, bytes).await
    }

    async fn put_file(&self, key: &str, file: &Path) -> Result<String, ObjectError> {
        self.objects.put_file(key, file).await
    }

    async fn copy(&self, from: &str, to: &str) -> Result<String, ObjectError> {
        self.objects.copy(from, to).await
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        self.objects.delete(key).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, u64)>, ObjectError> {
        self.objects.list(prefix).await
    }

    async fn list_directories(&self, prefix: &str) -> Result<Vec<String>, ObjectError> {
        self.objects.list_directories(prefix).await
    }

    fn local_path(&self, key: &str) -> Result<Option<PathBuf>, ObjectError> {
        self.used(key).local_path(key)
    }

    async fn signed_url(
        &self,
        key: &str,
        access: Access,
        lifetime: Duration,
    ) -> Result<Option<String>, ObjectError> {
        self.used(key).signed_url(key, access, lifetime).await
    }

    async fn remove_unfinished(&self, grace: Duration) -> Result<Vec<String>, ObjectError> {
        self.objects.remove_unfinished(grace).await
    }
}
