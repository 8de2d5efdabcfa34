use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::activity::{ActivityError, AttemptPort, ErrorClass, MediaSpan, PublicationMove};
use crate::objects::Artifact;
use crate::store::{Fence, NewCheckpoint, Store, StoreError};

/// The fenced writes of one attempt. A write that finds the fence gone cancels the attempt.
#[derive(Debug)]
pub(super) struct FencedPort {
    pub(super) store: Arc<dyn Store>,
    pub(super) fence: Fence,
    pub(super) compat: String,
    pub(super) cancelled: CancellationToken,
}

impl FencedPort {
    fn explain(&self, error: StoreError) -> ActivityError {
        match error {
            StoreError::Fenced { .. } => {
                self.cancelled.cancel();
                ActivityError::cancelled().with_source(error)
            }
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
        artifacts: Vec<Artifact>,
    ) -> Result<(), ActivityError> {
        let checkpoint = NewCheckpoint {
            value,
            covers,
            compat: self.compat.clone(),
            artifacts,
        };
        let saved = self.store.save_checkpoint(&self.fence, &checkpoint).await;
        saved.map(drop).map_err(|error| self.explain(error))
    }

    async fn allocate_generation(&self, name: &str, above: u32) -> Result<u64, ActivityError> {
        let allocated = self
            .store
            .allocate_generation(&self.fence, name, above)
            .await;
        allocated.map_err(|error| self.explain(error))
    }

    async fn publish(&self, name: &str, generation: u64) -> Result<PublicationMove, ActivityError> {
        let moved = self.store.publish(&self.fence, name, generation).await;
        moved.map_err(|error| match error {
            // Trying again for ever, as with a database that is away, would not allocate it.
            StoreError::Corrupt(_) => {
                let message = format!("generation {generation} of {name} was never allocated");
                ActivityError::bug("unknown_generation", message).with_source(error)
            }
            _ => self.explain(error),
        })
    }
}
