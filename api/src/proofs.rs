//! Plans that are made after every byte of their objects was read: that may take longer than a request
//! may, so it goes on when the caller is told to ask again, and whoever asks for the same joins in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::json;
use telecine_engine::coordinator::{Coordinator, PlanError};
use telecine_engine::id::RunId;
use telecine_engine::retry::edits::Edits;
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::retry::world::Verification;
use tokio::sync::{Semaphore, watch};

/// Plans that are read for at a time: each reads eight objects at once.
const AT_ONCE: usize = 2;
/// Plans that may be wanted at a time.
const WANTED: usize = 64;
/// How long a plan that was made is there for whoever was told to ask again.
const KEPT: Duration = Duration::from_secs(600);
/// How long a caller waits for one at most before it is told to ask again. A request may take 30 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

type Made = Arc<Result<RetryPlan, PlanError>>;

/// What somebody wants to be planned.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) job: RunId,
    /// Those of the current plan, unless given.
    pub(crate) edits: Option<Edits>,
    /// Who wants it.
    pub(crate) by: String,
}

impl Wanted {
    /// Equal for requests that the same plan answers.
    fn key(&self) -> String {
        json!([self.job, self.edits, self.by]).to_string()
    }

    async fn plan(&self, coordinator: &Coordinator) -> Result<RetryPlan, PlanError> {
        let how = Verification::Full;
        match &self.edits {
            Some(edits) => coordinator.plan(&self.job, (edits, &self.by), how).await,
            None => coordinator.verify(&self.job, how).await,
        }
    }
}

/// What has become of a plan that is wanted.
#[derive(Debug)]
pub(crate) enum Proof {
    /// It was made, or cannot be.
    Made(Made),
    /// Objects are being read.
    Reading,
    /// Too many are wanted already.
    Busy,
}

/// Plans that are being made.
#[derive(Debug, Clone)]
pub(crate) struct Proofs {
    going_on: Arc<Mutex<HashMap<String, GoingOn>>>,
    reading: Arc<Semaphore>,
}

#[derive(Debug)]
struct GoingOn {
    made: watch::Receiver<Option<Made>>,
    ended: Option<Instant>,
}

impl Default for Proofs {
    fn default() -> Self {
        Self {
            going_on: Arc::default(),
            reading: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Proofs {
    /// Makes a plan, or joins those who wait for the same one; waits no longer than `patience` for it.
    pub(crate) async fn make(
        &self,
        coordinator: &Coordinator,
        (wanted, patience): (Wanted, Duration),
    ) -> Proof {
        let key = wanted.key();
        let Some(mut going_on) = self.join(coordinator, wanted) else {
            return Proof::Busy;
        };
        let made = tokio::time::timeout(patience, going_on.wait_for(Option::is_some)).await;
        let made = match made {
            Ok(Ok(made)) => made.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        match made {
            Some(made) => {
                // Who asks once more wants it looked at once more.
                self.going_on().remove(&key);
                Proof::Made(made)
            }
            None => Proof::Reading,
        }
    }

    fn join(
        &self,
        coordinator: &Coordinator,
        wanted: Wanted,
    ) -> Option<watch::Receiver<Option<Made>>> {
        let key = wanted.key();
        let mut going_on = self.going_on();
        going_on.retain(|_, it| match it.ended {
            Some(ended) => ended.elapsed() < KEPT,
            // Whoever was at it has panicked if nobody can tell any more: begin anew.
            None => it.made.has_changed().is_ok(),
        });
        if let Some(known) = going_on.get(&key) {
            return Some(known.made.clone());
        }
        if going_on.len() >= WANTED {
            return None;
        }
        let (tell, made) = watch::channel(None);
        let of_all = GoingOn {
            made: made.clone(),
            ended: None,
        };
        going_on.insert(key.clone(), of_all);
        let (proofs, coordinator) = (self.clone(), coordinator.clone());
        tokio::spawn(async move {
            let permit = proofs.reading.acquire().await;
            let plan = wanted.plan(&coordinator).await;
            drop(permit);
            if let Some(known) = proofs.going_on().get_mut(&key) {
                known.ended = Some(Instant::now());
            }
            tell.send_replace(Some(Arc::new(plan)));
        });
        Some(made)
    }

    fn going_on(&self) -> MutexGuard<'_, HashMap<String, GoingOn>> {
        self.going_on.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
