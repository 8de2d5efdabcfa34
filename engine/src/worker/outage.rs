//! What a worker does while the database is away: it waits. Its attempts go on as far as they can, and
//! what they have to write is written when the database is back.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::held::Held;
use crate::clock;
use crate::committer::{CommitError, Committer};
use crate::id::RunId;
use crate::machine::Command;
use crate::store::{Claim, ClaimRequest, StoreError};

/// How soon something is tried again, at first.
const FIRST: Duration = Duration::from_millis(100);
/// How soon, in the end.
const LAST: Duration = Duration::from_secs(1);

/// An error that may be none the next time.
pub(super) trait Passing: std::fmt::Display {
    /// Whether waiting helps.
    fn passes(&self) -> bool;
}

impl Passing for StoreError {
    fn passes(&self) -> bool {
        StoreError::passes(self)
    }
}

impl Passing for CommitError {
    fn passes(&self) -> bool {
        matches!(self, Self::Store(error) if error.passes())
    }
}

/// Does something again and again until it is done, or failed for good, or nobody wants it any more;
/// answers what came of it the last time.
pub(super) async fn wait_out<T, E: Passing, F: Future<Output = Result<T, E>>>(
    unwanted: &CancellationToken,
    mut doing: impl FnMut() -> F,
) -> Result<T, E> {
    let mut pause = FIRST;
    loop {
        match doing().await {
            Err(error) if error.passes() && !unwanted.is_cancelled() => {
                tracing::warn!(%error, "a step waits for the database");
            }
            done => return done,
        }
        tokio::select! {
            () = clock::sleep(pause) => {}
            () = unwanted.cancelled() => {}
        }
        pause = (pause * 2).min(LAST);
    }
}

/// Reports how an attempt ended, whatever it takes, and answers what was claimed with that. A report
/// that failed may have been committed with what it claimed, which nobody would run then: it is
/// doubtful until somebody has looked.
///
/// # Errors
/// What came of it the last time, if nobody wants the report any more or it is refused.
pub async fn report(
    committer: &Committer,
    (run, command, next): (&RunId, Command, Option<ClaimRequest>),
    (unwanted, held): (&CancellationToken, &Held),
) -> Result<Vec<Claim>, CommitError> {
    wait_out(unwanted, || {
        let (command, next) = (command.clone(), next.clone());
        async move {
            let reported = committer.fold_and_claim(run, command, next).await;
            held.note(&reported);
            reported
        }
    })
    .await
}
