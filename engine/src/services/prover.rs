//! Looks at what the plans of runs that stopped short stand on, right after they stopped: whoever looks at
//! a plan a moment later sees what has become of its objects. Plans of runs that another process stopped, and
//! could not prove or did not come to it, are found in the database.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use crate::coordinator::{Coordinator, PlanError};
use crate::id::{PlanId, RunId};
use crate::retry::world::Verification;

/// Plans that are proved at a time; each looks at many objects at once already.
const AT_ONCE: usize = 2;

/// How often the database is asked for plans that nobody has proved.
const PAUSE: Duration = Duration::from_secs(60);

/// How many of those are looked at: the latest. A plan whose stores cannot be reached is one of them as long as
/// nobody executes it.
const PLANS: usize = 100;

/// Runs until the committer is gone.
pub(super) async fn run(coordinator: Coordinator) {
    let mut stopped = coordinator.committer.stopped_short();
    let mut pause = tokio::time::interval(PAUSE);
    let mut proving = JoinSet::new();
    let mut seen = HashSet::new();
    loop {
        let runs = tokio::select! {
            stopped = stopped.recv() => match stopped {
                Ok(run) => vec![run],
                Err(RecvError::Lagged(_)) => Vec::new(),
                Err(RecvError::Closed) => return,
            },
            _ = pause.tick() => left_over(&coordinator, &mut seen).await,
        };
        for run in runs {
            if proving.len() >= AT_ONCE {
                proving.join_next().await;
            }
            proving.spawn(prove(coordinator.clone(), run));
        }
    }
}

/// Runs whose plans nobody has proved. Each plan is tried once: what could not be looked at is not asked for
/// every minute.
async fn left_over(coordinator: &Coordinator, seen: &mut HashSet<PlanId>) -> Vec<RunId> {
    let found = match coordinator.store.unproved_plans(PLANS).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, "the database could not be asked for plans to prove");
            return Vec::new();
        }
    };
    let before = std::mem::take(seen);
    seen.extend(found.iter().map(|(plan, _)| plan.clone()));
    let new = found.into_iter().filter(|(plan, _)| !before.contains(plan));
    new.map(|(_, run)| run).collect()
}

async fn prove(coordinator: Coordinator, run: RunId) {
    match coordinator.verify(&run, Verification::Heads).await {
        // Somebody was quicker, or the run is gone.
        Ok(_) | Err(PlanError::NotStopped { .. } | PlanError::NoRun(_)) => {}
        Err(error) => {
            tracing::warn!(%error, run.id = %run, "the objects of a plan could not be looked at");
        }
    }
}
