//! The workers that share a scratch directory: those of one machine. When one of them is killed, another, or the
//! process that is started in its place, ends its session at once, whatever its lease says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::metrics::counter;

use super::scratch::{self, ATTEMPTS, Dead};
use crate::committer::Committer;
use crate::id::SessionId;
use crate::metrics;

/// How often a worker looks; a look takes some 50 us.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after the workers that share a scratch directory.
#[derive(Debug)]
pub struct Neighbours {
    attempts: PathBuf,
    committer: Committer,
}

impl Neighbours {
    /// Those of a scratch directory, whose sessions the committer ends.
    #[must_use]
    pub fn of(scratch: &Path, committer: Committer) -> Self {
        Self {
            attempts: scratch.join(ATTEMPTS),
            committer,
        }
    }

    /// Ends the sessions of workers that are gone, so that their steps can be claimed, and then removes what they
    /// left. One whose session cannot be ended now is left as it is for the next look.
    pub async fn bury(&self) {
        let attempts = self.attempts.clone();
        let found = tokio::task::spawn_blocking(move || scratch::dead(&attempts)).await;
        let mut ended = Vec::new();
        for dead in found.unwrap_or_default() {
            if self.end(dead.session.as_ref()).await {
                dead.settle();
                ended.push(dead);
            }
        }
        // Trees of many gigabytes are removed in seconds.
        let remove = move || ended.into_iter().for_each(Dead::remove);
        let _ = tokio::task::spawn_blocking(remove).await;
    }

    /// Does so again and again.
    pub(super) async fn watch(self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.bury().await;
        }
    }

    /// Answers whether there is nothing more to end.
    async fn end(&self, session: Option<&SessionId>) -> bool {
        let Some(session) = session else { return true };
        match self.committer.end_session(session).await {
            Ok(true) => {
                tracing::info!(session.id = %session, "a worker of this machine is gone; its steps go on");
                counter!(metrics::SESSIONS_ENDED.name).increment(1);
            }
            // It was noticed elsewhere, or is one of another database.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, session.id = %session, "the session of a dead worker could not be ended");
                return false;
            }
        }
        true
    }
}
