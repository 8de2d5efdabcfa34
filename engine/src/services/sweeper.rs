//! Ends sessions whose process is gone, so that what they ran can be claimed again.

use std::time::Duration;

use ::metrics::{counter, histogram};

use super::ServiceParts;
use crate::clock;
use crate::committer::CommitError;
use crate::metrics;
use crate::store::{Life, Session, StoreError};
use crate::worker::LEASE;

/// How soon to look again after a look that failed, and at the soonest after any other.
const SOON: Duration = Duration::from_millis(250);

pub(super) async fn run(parts: ServiceParts) {
    loop {
        let began = clock::now();
        let swept = sweep(&parts).await;
        histogram!(metrics::SWEEP_SECONDS.name).record(clock::now() - began);
        let result = if swept.is_ok() { "ok" } else { "failed" };
        counter!(metrics::SWEEPS.name, "result" => result).increment(1);
        let pause = swept.unwrap_or_else(|error| {
            tracing::warn!(%error, "dead sessions could not be ended");
            SOON
        });
        tokio::select! {
            () = clock::sleep(pause) => {}
            () = parts.store.suspicion() => {}
        }
    }
}

/// Ends the sessions that are dead, and answers how long nothing more can be said.
///
/// A lease that ran out proves something only if its session could have renewed it. Before the database
/// has been in reach of this process for a lease without a break, nobody is ended for that: after an
/// outage everybody's lease has run out.
pub(super) async fn sweep(parts: &ServiceParts) -> Result<Duration, CommitError> {
    let others = parts.store.other_sessions(&parts.session).await?;
    let contact = parts.contact.lasted();
    let mut pause = parts.store.proof_within().unwrap_or(LEASE);
    for (session, life) in others {
        match life {
            Life::Leased(left) => pause = pause.min(left),
            Life::Lapsed if contact < LEASE => pause = pause.min(LEASE - contact),
            Life::Lapsed | Life::Gone => {
                if end(parts, &session).await.is_err_and(may_pass) {
                    pause = SOON;
                }
            }
        }
    }
    Ok(pause.max(SOON))
}

/// Whether the same may succeed in a moment: what cannot be read now cannot be read then either.
fn may_pass(error: CommitError) -> bool {
    match error {
        CommitError::Store(error) => !matches!(*error, StoreError::Corrupt(_)),
        CommitError::Rejected(_) | CommitError::Stopped => true,
    }
}

async fn end(parts: &ServiceParts, session: &Session) -> Result<bool, CommitError> {
    let ended = parts.committer.end_dead_session(&session.id).await;
    match &ended {
        Ok(true) => {
            tracing::info!(session.id = %session.id, session.name, "a worker is gone; its steps can be claimed again");
            counter!(metrics::SESSIONS_ENDED.name).increment(1);
        }
        // Somebody else was quicker, or it lives after all.
        Ok(false) => {}
        // The others must not wait for this one.
        Err(error) => {
            tracing::error!(%error, session.id = %session.id, "a dead session could not be ended");
        }
    }
    ended
}
