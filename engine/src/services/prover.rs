//! Looks at what the plans of runs that stopped short stand on, right after they stopped: whoever looks at
//! a plan a moment later sees what has become of its objects. Plans of runs that another process stopped, and
//! could not prove or did not come to it, are found in the database.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::coordinator::{Coordinator, PlanError};
use crate::id::{PlanId, RunId};

/// Plans that are proved at a time; each looks at many objects at once already.
const AT_ONCE: usize = 2;

/// How often the database is asked for plans that nobody has proved.
const PAUSE: Duration = Duration::from_secs(60);

/// When one of those is tried again whose stores could not be asked.
const AGAIN: Duration = Duration::from_secs(600);

/// How many of those are looked at: the latest.
const PLANS: usize = 100;

/// How many runs wait here to be looked at. Those beyond are found in the database.
const WAITING: usize = 10_000;

/// Runs until the committer is gone.
pub(super) async fn run(coordinator: Coordinator) {
    let mut stopped = coordinator.committer.stopped_short();
    let mut pause = tokio::time::interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut proving = JoinSet::new();
    let mut tried = HashMap::new();
    // Whoever has just seen a job stop looks at its plan; the others have waited longer already.
    let mut waiting = VecDeque::new();
    loop {
        tokio::select! {
            stopped = stopped.recv() => match stopped {
                Ok(run) if waiting.len() < WAITING => waiting.push_front(run),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
            Some(_) = proving.join_next() => {}
            _ = pause.tick(), if waiting.is_empty() => {
                waiting.extend(left_over(&coordinator, &mut tried).await);
            }
        }
        while proving.len() < AT_ONCE
            && let Some(run) = waiting.pop_front()
        {
            proving.spawn(prove(coordinator.clone(), run));
        }
    }
}

/// Runs whose plans nobody has proved.
async fn left_over(coordinator: &Coordinator, tried: &mut HashMap<PlanId, Instant>) -> Vec<RunId> {
    let found = match coordinator.store.unproved_plans(PLANS).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, "the database could not be asked for plans to prove");
            return Vec::new();
        }
    };
    tried.retain(|_, at| at.elapsed() < AGAIN);
    let mut runs = Vec::new();
    for (plan, run) in found {
        if let Entry::Vacant(never) = tried.entry(plan) {
            never.insert(Instant::now());
            runs.push(run);
        }
    }
    runs
}

async fn prove(coordinator: Coordinator, run: RunId) {
    match coordinator.prove(&run).await {
        // Somebody was quicker, or the run is gone.
        Ok(()) | Err(PlanError::NotStopped { .. } | PlanError::NoRun(_)) => {}
        Err(error) => {
            tracing::warn!(%error, run.id = %run, "the objects of a plan could not be looked at");
        }
    }
}
