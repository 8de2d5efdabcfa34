//! What this worker knows to hold, and what it may hold without knowing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::outage::Passing as _;
use crate::activity::Usage;
use crate::clock;
use crate::committer::{CommitError, Committer};
use crate::id::SessionId;
use crate::machine::Command;
use crate::store::{Claim, Fence, Store};

/// How long an answer may be on its way from the committer to whoever waits for it.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// Steps that a worker was told it has claimed. When the connection to the database breaks during a
/// commit, nobody knows whether what was claimed in it was claimed: such a step would be `running` for
/// as long as the session lives, and run nowhere. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<State>);

#[derive(Debug, Default)]
struct State {
    fences: Mutex<HashSet<Fence>>,
    doubt: Notify,
}

impl Held {
    /// What came of a commit that claims. One that failed may have been made.
    pub fn note(&self, claimed: &Result<Vec<Claim>, CommitError>) {
        match claimed {
            Ok(claims) => {
                let fences = claims.iter().map(|claim| claim.fence.clone());
                self.lock().extend(fences);
            }
            Err(error) if error.passes() => self.0.doubt.notify_one(),
            Err(_) => {}
        }
    }

    /// The end of this one was reported.
    pub fn remove(&self, fence: &Fence) {
        self.lock().remove(fence);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Fence>> {
        self.0.fences.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what a session runs without its worker knowing, whenever there may be something; for
    /// as long as it is not dropped.
    pub async fn watch(self, store: Arc<dyn Store>, committer: Committer, of: SessionId) {
        loop {
            self.0.doubt.notified().await;
            while let Err(error) = self.give_back(store.as_ref(), (&committer, &of)).await {
                tracing::debug!(%error, "what this worker holds is not known yet");
                clock::sleep(ON_ITS_WAY).await;
            }
        }
    }

    async fn give_back(
        &self,
        store: &dyn Store,
        (committer, of): (&Committer, &SessionId),
    ) -> Result<(), CommitError> {
        let strays = self.strays(store, of).await?;
        if strays.is_empty() {
            return Ok(());
        }
        clock::sleep(ON_ITS_WAY).await;
        for stray in self.strays(store, of).await? {
            if !strays.contains(&stray) {
                continue;
            }
            tracing::warn!(run.id = %stray.run, step = %stray.step, "a claim got lost; the step is given back");
            let (step, fence) = (stray.step, stray.fence);
            let usage = Usage::default();
            let release = Command::Release { step, fence, usage };
            match committer.fold(&stray.run, release).await {
                Ok(()) | Err(CommitError::Rejected(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn strays(&self, store: &dyn Store, of: &SessionId) -> Result<Vec<Fence>, CommitError> {
        let mut running = store.begin().await?.running_of(of).await?;
        let held = self.lock();
        running.retain(|fence| !held.contains(fence));
        Ok(running)
    }
}
