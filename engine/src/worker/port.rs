use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::outage::wait_out;
use crate::activity::{ActivityError, AttemptPort, ErrorClass, Growth, MediaSpan, PublicationMove};
use crate::objects::StoredArtifact;
use crate::store::{Content, Fence, NewCheckpoint, Store, StoreError};

/// The fenced writes of one attempt. A write that finds the fence gone cancels the attempt.
#[derive(Debug)]
pub(super) struct FencedPort {
    pub(super) store: Arc<dyn Store>,
    pub(super) fence: Fence,
    pub(super) compat: String,
    pub(super) cancelled: CancellationToken,
    pub(super) latest: Latest,
}

/// The latest checkpoint of the step and its number, as long as that is known for certain.
pub(super) type Latest = Mutex<Option<(u64, Value)>>;

/// A checkpoint is written as what is new if that has at most this part of its bytes: reading it then
/// puts together values of at most as many bytes again.
const GROWN_PART: usize = 2;

impl FencedPort {
    /// Saves a checkpoint, however long the database is away.
    async fn save(&self, mut checkpoint: NewCheckpoint, value: &Value) -> Result<u64, StoreError> {
        match self.store.save_checkpoint(&self.fence, &checkpoint).await {
            Err(error) if error.passes() => {}
            saved => return saved,
        }
        // It may have been saved, and this one be the next: then it does not grow from the one before.
        checkpoint.content = Content::Whole(value.clone());
        let save = || self.store.save_checkpoint(&self.fence, &checkpoint);
        wait_out(&self.cancelled, save).await
    }

    fn explain(&self, error: StoreError) -> ActivityError {
        match error {
            StoreError::Fenced { .. } => {
                self.cancelled.cancel();
                ActivityError::cancelled().with_source(error)
            }
            // Nobody waits for the database any more: the worker has been told to stop.
            _ if error.passes() => ActivityError::cancelled().with_source(error),
            StoreError::Full(_) => {
                ActivityError::resource("disk_full", error.to_string()).with_source(error)
            }
            _ => ActivityError::new(
                ErrorClass::Dependency,
                "database_unavailable",
                error.to_string(),
            )
            .with_source(error),
        }
    }
}

#[async_trait]
impl AttemptPort for FencedPort {
    async fn save_checkpoint(
        &self,
        value: Value,
        covers: Option<MediaSpan>,
        artifacts: Vec<StoredArtifact>,
    ) -> Result<(), ActivityError> {
        let mut latest = self.latest.lock().await;
        // Until it is known whether this one was saved, it is not known which one is the latest.
        let before = latest.take();
        let checkpoint = NewCheckpoint {
            content: content(before, &value),
            covers,
            compat: self.compat.clone(),
            artifacts,
        };
        let saved = self.save(checkpoint, &value).await;
        let seq = saved.map_err(|error| self.explain(error))?;
        *latest = Some((seq, value));
        Ok(())
    }

    async fn allocate_generation(
        &self,
        name: &str,
        above: u32,
        keys: Option<&str>,
    ) -> Result<u64, ActivityError> {
        let allocate = || {
            self.store
                .allocate_generation(&self.fence, name, above, keys)
        };
        let allocated = wait_out(&self.cancelled, allocate).await;
        allocated.map_err(|error| self.explain(error))
    }

    async fn publish(&self, name: &str, generation: u64) -> Result<PublicationMove, ActivityError> {
        let publish = || self.store.publish(&self.fence, name, generation);
        let moved = wait_out(&self.cancelled, publish).await;
        moved.map_err(|error| match error {
            // Trying again for ever, as with a database that is away, would not allocate it.
            StoreError::Corrupt(_) => {
                let message = format!("generation {generation} of {name} was never allocated");
                ActivityError::bug("unknown_generation", message).with_source(error)
            }
            _ => self.explain(error),
        })
    }

    async fn publication(&self, name: &str) -> Result<Option<u64>, ActivityError> {
        let look = || self.store.publication(name);
        let seen = wait_out(&self.cancelled, look).await;
        seen.map_err(|error| self.explain(error))
    }
}

fn content(before: Option<(u64, Value)>, value: &Value) -> Content {
    let grown = before.and_then(|(from, before)| {
        let by = Growth::between(&before, value)?;
        let bytes = serde_json::to_string(&by).ok()?.len();
        (bytes * GROWN_PART <= value.to_string().len()).then_some(Content::Grown { from, by })
    });
    grown.unwrap_or_else(|| Content::Whole(value.clone()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_that_got_longer_is_not_written_again() {
        let before: Vec<u32> = (0..100).collect();
        let after: Vec<u32> = (0..101).collect();
        let written = content(Some((7, json!(before))), &json!(after));
        let Content::Grown { from: 7, by } = written else {
            panic!("{written:?}");
        };
        assert_eq!(
            serde_json::to_value(by).unwrap(),
            json!({"list": {"more": [100]}})
        );
    }

    #[test]
    fn what_is_mostly_new_or_follows_nothing_known_is_written_whole() {
        let value = json!([1, 2, 3]);
        let written = content(Some((7, json!([4, 5, 6]))), &value);
        assert!(matches!(written, Content::Whole(_)), "{written:?}");
        assert!(matches!(content(None, &value), Content::Whole(_)));
    }
}
