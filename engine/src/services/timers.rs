//! Wakes steps whose backoff is over, and ends attempts that are past their deadline.

use std::time::Duration;

use ::metrics::counter;

use super::ServiceParts;
use crate::activity::{ErrorClass, Usage};
use crate::clock;
use crate::committer::CommitError;
use crate::machine::Command;
use crate::metrics;
use crate::run::Failure;
use crate::store::Due;

/// The longest sleep. Who sets a timer wakes the loop of its own process; the others look for the timers
/// of processes that are gone.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);
/// How soon to try again after the store failed.
const AGAIN: Duration = Duration::from_millis(500);
/// Timers handled at a time.
const BATCH: usize = 256;

pub(super) async fn run(parts: ServiceParts) {
    let mut set = parts.committer.timers_set();
    loop {
        let pause = match fire(&parts).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "timers could not be handled");
                AGAIN
            }
        };
        // Early if one is set, also since the last look.
        if let Ok(Err(_)) = clock::timeout(pause, set.changed()).await {
            // The committer is gone: nobody will set any.
            return;
        }
    }
}

/// Handles what is due and answers how long to sleep.
async fn fire(parts: &ServiceParts) -> Result<Duration, CommitError> {
    loop {
        match parts.store.next_due_in().await? {
            Some(Duration::ZERO) if fire_some(parts).await? => {}
            Some(Duration::ZERO) => return Ok(AGAIN),
            next => return Ok(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP)),
        }
    }
}

/// Answers whether anything of what is due could be handled.
async fn fire_some(parts: &ServiceParts) -> Result<bool, CommitError> {
    let mut fired = false;
    for due in parts.store.due(BATCH).await? {
        let (kind, run, command) = match due {
            Due::Backoff(run, step) => ("backoff", run, Command::Wake { step }),
            Due::Deadline(fence) => ("deadline", fence.run, overdue(fence.step, fence.fence)),
        };
        match parts.committer.fold(&run, command).await {
            Ok(()) => {
                fired = true;
                counter!(metrics::TIMERS.name, "kind" => kind).increment(1);
            }
            // Another process was quicker.
            Err(CommitError::Rejected(_)) => {}
            // The others must not wait for this one.
            Err(error) => tracing::error!(%error, run.id = %run, "a timer could not be handled"),
        }
    }
    Ok(fired)
}

fn overdue(step: crate::id::StepId, fence: u64) -> Command {
    Command::Fail {
        step,
        fence,
        error: Failure {
            class: ErrorClass::Timeout,
            code: "attempt_timeout".to_owned(),
            message: "the attempt is past its deadline and its worker did not end it".to_owned(),
            step: None,
        },
        usage: Usage::default(),
        warnings: Vec::new(),
    }
}
