//! Taking an output from an equal step of another run, and leaving one for others.
//!
//! Nothing in here fails an attempt: whatever cannot be looked up, is not as it was, or cannot be
//! copied is made by the activity.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::source::SubmittedSource;
use crate::activity::{ActivityError, Context, DynActivity, Progress, hex};
use crate::definition::Cache;
use crate::objects::{Artifact, ObjectError, ObjectStore, StoredArtifact};
use crate::retry::reuse::{self, Made, Marks, Move, Origin, SourceIdentity};
use crate::run::StepRecord;
use crate::store::{Claim, Fence, Shared, Sharer, Store, StoreError, Window};

/// Objects that are looked at or copied at a time. A service takes some 20 ms for each.
const OBJECTS_AT_ONCE: usize = 16;

/// What an attempt came to.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) output: Value,
    pub(super) made: Option<Made>,
    pub(super) shared: Option<Shared>,
}

/// One step, as far as its output is or may be another's.
#[derive(Debug, Clone)]
pub(super) struct Sharing {
    store: Arc<dyn Store>,
    media: Arc<dyn ObjectStore>,
    media_url: String,
    fence: Fence,
    activity: String,
    input: Value,
    cache: Cache,
    /// Whether an output of another run may be taken.
    may_take: bool,
}

/// Why nothing was taken or left, for the log.
#[derive(Debug, thiserror::Error)]
enum Hindrance {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Objects(#[from] ObjectError),
    #[error("{0}")]
    Other(&'static str),
}

impl Sharing {
    /// `may_resume` says that there is a checkpoint. What an operator has executed again is made again:
    /// after the first round, only a step takes something that has never run.
    pub(super) fn new(
        (store, media): (Arc<dyn Store>, Arc<dyn ObjectStore>),
        claim: &Claim,
        (cache, may_resume): (Cache, bool),
    ) -> Self {
        let is_new = claim.round == 1 || claim.attempt == 1;
        Self {
            store,
            media,
            media_url: claim.stores.media.clone(),
            fence: claim.fence.clone(),
            activity: claim.activity.clone(),
            input: claim.input.clone(),
            cache,
            may_take: cache != Cache::Off && !may_resume && is_new,
        }
    }

    /// Takes the output of an equal step, or runs the activity.
    pub(super) async fn perform(
        &self,
        activity: &dyn DynActivity,
        ctx: &Context,
        source: &SubmittedSource,
    ) -> Result<Done, ActivityError> {
        let made = self.made(activity, ctx).await;
        if let (Some(made), true) = (&made, self.may_take) {
            match self.take(made, ctx).await {
                Ok(Some(done)) => return Ok(done),
                Ok(None) => {}
                Err(why) => {
                    self.log(&why, "an output was not reused");
                    ctx.begin_anew();
                }
            }
        }
        let ended = activity.run(ctx, self.input.clone()).await;
        let output = source.judge(ended).await?;
        let mut shared = None;
        if let (Some(made), Cache::ReadWrite) = (&made, self.cache) {
            let still = self.made(activity, ctx).await;
            let is_same = still.as_ref() == Some(made) && source.is_within(&self.sources(made));
            match is_same {
                true => match self.share(made, ctx).await {
                    Ok(share) => shared = Some(share),
                    Err(why) => self.log(&why, "an output is not shared"),
                },
                false => {
                    let why = Hindrance::Other("it was made of more than its key says");
                    self.log(&why, "an output is not shared");
                }
            }
        }
        Ok(Done {
            output,
            made,
            shared,
        })
    }

    fn log(&self, why: &Hindrance, what: &str) {
        let Fence { run, step, .. } = &self.fence;
        tracing::debug!(run.id = %run, step.name = %step, %why, "{what}");
    }

    /// What the key is made of; nothing if the activity names no tools, or a source is not there.
    async fn made(&self, activity: &dyn DynActivity, ctx: &Context) -> Option<Made> {
        let tools = activity.tool_fingerprint();
        if tools.is_empty() {
            return None;
        }
        let marks = Marks::of(&activity.info().input_schema, &self.input);
        let mut made = Made {
            tools,
            places: marks.places,
            ..Made::default()
        };
        for pointer in marks.sources {
            let named = self.input.pointer(&pointer)?.as_str()?;
            let (store, key) = ctx.locate(named);
            let found = store.head(key).await.ok()??;
            made.sources.insert(pointer, SourceIdentity::from(&found));
        }
        Some(made)
    }

    /// Keys of what the key covers.
    fn sources(&self, made: &Made) -> Vec<&str> {
        let pointers = made.sources.keys();
        let named = pointers.filter_map(|pointer| self.input.pointer(pointer)?.as_str());
        named.collect()
    }

    async fn take(&self, made: &Made, ctx: &Context) -> Result<Option<Done>, Hindrance> {
        let key = reuse::key(&self.activity, &self.input, made).digest;
        let Some(sharer) = self.store.find_shared(&key, &self.media_url).await? else {
            return Ok(None);
        };
        let record = self.record(&sharer, &key).await?;
        let objects = &record.artifacts;
        let input = record.step.input.as_ref().unwrap_or(&Value::Null);
        let moved = Move::between(input, &self.input, &made.places)
            .ok_or(Hindrance::Other("it has no place"))?;
        if seal(self.media.as_ref(), objects).await? != sharer.seal {
            return Err(Hindrance::Other("its objects are not as they were"));
        }
        self.copy(objects, &moved, ctx).await?;
        for warning in &record.step.warnings {
            ctx.warn(warning);
        }
        let output = record.step.output.as_ref().unwrap_or(&Value::Null);
        let origin = Origin {
            job: sharer.run,
            step: sharer.step,
        };
        Ok(Some(Done {
            output: moved.output(output),
            made: Some(Made {
                reused_from: Some(origin),
                ..made.clone()
            }),
            shared: None,
        }))
    }

    /// The step that shares its output, if it still has the one that it shared.
    async fn record(&self, sharer: &Sharer, key: &str) -> Result<StepRecord, Hindrance> {
        let window = Window::One(sharer.step.clone());
        let outline = self.store.outline(&sharer.run, &window).await?;
        let mut records = outline.snapshot.steps.into_iter();
        records
            .find(|record| record.step.id == sharer.step && still_has(record, key))
            .ok_or(Hindrance::Other("it was made again since"))
    }

    /// Puts a copy of each object where this step's go, and lists it.
    async fn copy(
        &self,
        objects: &[StoredArtifact],
        moved: &Move,
        ctx: &Context,
    ) -> Result<(), Hindrance> {
        let targets = objects.iter().map(|object| {
            let key = moved.key(&object.key);
            key.map(|key| Artifact {
                key,
                ..object.artifact.clone()
            })
        });
        let targets: Option<Vec<Artifact>> = targets.collect();
        let targets = targets.ok_or(Hindrance::Other("an object lies elsewhere"))?;
        let pairs = objects.iter().zip(&targets);
        let pairs = pairs.map(|(object, target)| (object.key.as_str(), target.key.as_str()));
        let pairs = pairs.filter(|(from, to)| from != to).collect();
        let mut etags = self.copy_all(pairs, ctx).await?;
        for target in targets {
            let etag = etags.remove(&target.key);
            ctx.list(target, etag);
        }
        Ok(())
    }

    /// Answers the etags of the copies, by key.
    async fn copy_all(
        &self,
        pairs: Vec<(&str, &str)>,
        ctx: &Context,
    ) -> Result<HashMap<String, String>, Hindrance> {
        let total = pairs.len();
        let copies = pairs.into_iter().map(async |(from, to)| {
            let etag = self.media.copy(from, to).await?;
            Ok::<_, Hindrance>((to.to_owned(), etag))
        });
        let copies: Vec<_> = copies.collect();
        let mut copied = stream::iter(copies).buffer_unordered(OBJECTS_AT_ONCE);
        let mut etags = HashMap::with_capacity(total);
        loop {
            let next = tokio::select! {
                () = ctx.cancelled() => return Err(Hindrance::Other("it was cancelled")),
                next = copied.try_next() => next?,
            };
            let Some((key, etag)) = next else {
                return Ok(etags);
            };
            etags.insert(key, etag);
            ctx.progress(Progress::of(etags.len() as u64, total as u64));
        }
    }

    /// What others need to find this step.
    async fn share(&self, made: &Made, ctx: &Context) -> Result<Shared, Hindrance> {
        let window = Window::One(self.fence.step.clone());
        let outline = self.store.outline(&self.fence.run, &window).await?;
        let recorded = outline.snapshot.steps.into_iter();
        let mut objects: Vec<_> = recorded.flat_map(|record| record.artifacts).collect();
        for listed in ctx.listed() {
            if objects.iter().all(|known| known.key != listed.key) {
                objects.push(listed.into());
            }
        }
        let nowhere = Move::between(&self.input, &self.input, &made.places);
        let is_below = |object: &StoredArtifact| {
            let places = nowhere.as_ref();
            places.is_some_and(|places| places.key(&object.key).is_some())
        };
        if !objects.iter().all(is_below) {
            return Err(Hindrance::Other("an object lies elsewhere"));
        }
        Ok(Shared {
            key: reuse::key(&self.activity, &self.input, made).digest,
            media: self.media_url.clone(),
            seal: seal(self.media.as_ref(), &objects).await?,
        })
    }
}

/// Whether a step has succeeded with that reuse key.
fn still_has(record: &StepRecord, key: &str) -> bool {
    reuse::recorded(record).is_some_and(|recorded| recorded.digest == key)
}

/// Digest of what objects are like: key, size and etag of each, in the order of their keys.
async fn seal(media: &dyn ObjectStore, objects: &[StoredArtifact]) -> Result<String, Hindrance> {
    let looks: Vec<_> = objects.iter().map(|object| look(media, object)).collect();
    let looks = stream::iter(looks).buffer_unordered(OBJECTS_AT_ONCE);
    let mut looks: Vec<(String, u64, String)> = looks.try_collect().await?;
    looks.sort_unstable();
    let text = json!(looks).to_string();
    Ok(hex(&Sha256::digest(text.as_bytes())))
}

async fn look(
    media: &dyn ObjectStore,
    object: &StoredArtifact,
) -> Result<(String, u64, String), Hindrance> {
    match media.head(&object.key).await? {
        Some(found) if found.size == object.size => {
            Ok((object.key.clone(), found.size, found.etag))
        }
        _ => Err(Hindrance::Other("an object is gone or has another size")),
    }
}
