//! What this worker knows to hold, and what it may hold without knowing.

use std::collections::{HashSet, VecDeque};
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

/// How long an answer may be on its way from the committer to whoever waits for it. One that takes longer
/// comes to nothing.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Steps given back that are remembered, in case the answer is on its way for longer than that.
const REMEMBERED: usize = 1024;

/// Steps that a worker was told it has claimed. When the connection to the database breaks during a
/// commit, nobody knows whether what was claimed in it was claimed: such a step would be `running` for
/// as long as the session lives, and run nowhere. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Held(Arc<State>);

#[derive(Debug, Default)]
struct State {
    known: Mutex<Known>,
    doubt: Notify,
}

#[derive(Debug, Default)]
struct Known {
    held: HashSet<Fence>,
    /// Given back before their answer came, the oldest first.
    given_back: VecDeque<Fence>,
}

impl Known {
    /// The worker was told of it.
    fn hold(&mut self, fence: &Fence) {
        if !self.given_back.contains(fence) {
            self.held.insert(fence.clone());
        }
    }

    /// Whether it can be given back: the worker does not hold it, and never will.
    fn give_back(&mut self, fence: &Fence) -> bool {
        if self.held.contains(fence) {
            return false;
        }
        if self.given_back.len() == REMEMBERED {
            self.given_back.pop_front();
        }
        self.given_back.push_back(fence.clone());
        true
    }
}

impl Held {
    /// What came of a commit that claims. One that failed may have been made. What was claimed is
    /// [held](Self::holds) from now on, unless its answer came too late.
    pub fn note(&self, claimed: &Result<Vec<Claim>, CommitError>) {
        match claimed {
            Ok(claims) => {
                let mut known = self.lock();
                claims.iter().for_each(|claim| known.hold(&claim.fence));
            }
            Err(error) if error.passes() => self.0.doubt.notify_one(),
            Err(_) => {}
        }
    }

    /// Whether the worker holds a step that it was told it has claimed; not if the step was given back
    /// before, and may be somebody else's by now.
    #[must_use]
    pub fn holds(&self, fence: &Fence) -> bool {
        self.lock().held.contains(fence)
    }

    /// The end of this one was reported.
    pub fn remove(&self, fence: &Fence) {
        self.lock().held.remove(fence);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
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
            if !strays.contains(&stray) || !self.lock().give_back(&stray) {
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
        let known = self.lock();
        running.retain(|fence| !known.held.contains(fence));
        Ok(running)
    }
}
