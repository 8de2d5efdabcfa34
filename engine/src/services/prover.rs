//! Looks at what the plans of runs that stopped short stand on, right after they stopped: whoever looks at
//! a plan a moment later sees what has become of its objects.

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;

use crate::coordinator::{Coordinator, PlanError};
use crate::id::RunId;
use crate::retry::world::Verification;

/// Plans that are proved at a time; each looks at many objects at once already.
const AT_ONCE: usize = 2;

/// Runs until the committer is gone. What is missed while many runs stop at once is made up for before a
/// plan is executed.
pub(super) async fn run(coordinator: Coordinator) {
    let mut stopped = coordinator.committer.stopped_short();
    let mut proving = JoinSet::new();
    loop {
        match stopped.recv().await {
            Ok(run) => {
                if proving.len() >= AT_ONCE {
                    proving.join_next().await;
                }
                proving.spawn(prove(coordinator.clone(), run));
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::debug!(missed, "plans are proved only when somebody asks for them");
            }
            Err(RecvError::Closed) => return,
        }
    }
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
