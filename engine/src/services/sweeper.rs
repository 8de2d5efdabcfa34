//! Ends sessions whose process is gone, so that what they ran can be claimed again.

use std::time::Duration;

use super::ServiceParts;
use crate::committer::CommitError;

/// How often other sessions are looked at. Usually there is none, and a look is one read.
const SWEEP: Duration = Duration::from_millis(500);

pub(super) async fn run(parts: ServiceParts) {
    loop {
        if let Err(error) = sweep(&parts).await {
            tracing::warn!(%error, "dead sessions could not be ended");
        }
        tokio::time::sleep(SWEEP).await;
    }
}

pub(super) async fn sweep(parts: &ServiceParts) -> Result<(), CommitError> {
    for (session, dead) in parts.store.other_sessions(&parts.session).await? {
        if dead {
            tracing::info!(session.id = %session.id, session.name, "a worker is gone; its steps go on here");
            // The others must not wait for this one.
            if let Err(error) = parts.committer.end_dead_session(&session.id).await {
                tracing::error!(%error, session.id = %session.id, "a dead session could not be ended");
            }
        }
    }
    Ok(())
}
