//! Ends sessions whose process is gone, so that what they ran can be claimed again.

use std::time::{Duration, Instant};

use ::metrics::{counter, histogram};

use super::ServiceParts;
use crate::committer::CommitError;
use crate::metrics;

/// How often other sessions are looked at. Usually there is none, and a look is one read.
const SWEEP: Duration = Duration::from_millis(500);

pub(super) async fn run(parts: ServiceParts) {
    loop {
        let began = Instant::now();
        let swept = sweep(&parts).await;
        histogram!(metrics::SWEEP_SECONDS.name).record(began.elapsed());
        let result = if swept.is_ok() { "ok" } else { "failed" };
        counter!(metrics::SWEEPS.name, "result" => result).increment(1);
        if let Err(error) = swept {
            tracing::warn!(%error, "dead sessions could not be ended");
        }
        tokio::time::sleep(SWEEP).await;
    }
}

pub(super) async fn sweep(parts: &ServiceParts) -> Result<(), CommitError> {
    for (session, dead) in parts.store.other_sessions(&parts.session).await? {
        if dead {
            tracing::info!(session.id = %session.id, session.name, "a worker is gone; its steps go on here");
            match parts.committer.end_dead_session(&session.id).await {
                Ok(()) => counter!(metrics::SESSIONS_ENDED.name).increment(1),
                // The others must not wait for this one.
                Err(error) => {
                    tracing::error!(%error, session.id = %session.id, "a dead session could not be ended");
                }
            }
        }
    }
    Ok(())
}
