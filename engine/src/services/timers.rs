//! Wakes steps whose backoff is over, and ends attempts that are past their deadline.

use std::time::Duration;

use ::metrics::counter;

use super::ServiceParts;
use crate::activity::{ErrorClass, Usage};
use crate::committer::CommitError;
use crate::machine::Command;
use crate::metrics;
use crate::run::Failure;
use crate::store::Due;

/// The longest sleep: another process may have set a timer meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);
/// Timers handled at a time.
const BATCH: usize = 256;

pub(super) async fn run(parts: ServiceParts) {
    loop {
        let pause = match fire(&parts).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "timers could not be handled");
                LONGEST_SLEEP
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Handles what is due and answers how long to sleep.
async fn fire(parts: &ServiceParts) -> Result<Duration, CommitError> {
    for due in parts.store.due(BATCH).await? {
        let (kind, run, command) = match due {
            Due::Backoff(run, step) => ("backoff", run, Command::Wake { step }),
            Due::Deadline(fence) => ("deadline", fence.run, overdue(fence.step, fence.fence)),
        };
        match parts.committer.fold(&run, command).await {
            Ok(()) => counter!(metrics::TIMERS.name, "kind" => kind).increment(1),
            // Another process was quicker.
            Err(CommitError::Rejected(_)) => {}
            // The others must not wait for this one.
            Err(error) => tracing::error!(%error, run.id = %run, "a timer could not be handled"),
        }
    }
    let next = parts.store.next_due_in().await?;
    Ok(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP))
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
