//! Says which steps no worker can run, and holds those for which none will come.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ::metrics::counter;

use super::ServiceParts;
use crate::activity::ErrorClass;
use crate::clock;
use crate::committer::CommitError;
use crate::machine::Command;
use crate::metrics;
use crate::queue::{Kind, Prospect, Waiting};
use crate::run::Failure;

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(10);
/// How long no worker may fit before anything is said or done about it: another process may be about to
/// begin.
const GRACE: Duration = Duration::from_secs(60);
/// Steps of a kind that are held at a time.
const AT_ONCE: usize = 64;

/// The kinds of steps that no worker fits, and since when.
#[derive(Debug, Default)]
pub struct Unfit {
    since: BTreeMap<Kind, Instant>,
    /// Those that were told of.
    told: BTreeSet<Kind>,
}

pub(super) async fn run(parts: ServiceParts) {
    let mut unfit = Unfit::default();
    loop {
        clock::sleep(LOOK).await;
        if let Err(error) = look(&parts, &mut unfit, clock::now()).await {
            tracing::warn!(%error, "steps that no worker can run were not looked for");
        }
    }
}

/// Once no worker has fitted for the time of grace: tells of the steps that wait until one is started, and
/// holds those for which nobody will start one.
pub(super) async fn look(
    parts: &ServiceParts,
    unfit: &mut Unfit,
    now: Instant,
) -> Result<(), CommitError> {
    let waiting = parts.store.waiting(None, AT_ONCE).await?;
    if waiting.is_empty() {
        *unfit = Unfit::default();
        return Ok(());
    }
    let offers = parts.store.offers().await?;
    let prospect = |it: &Waiting| Prospect::of(&it.run, &it.ticket.kind, &offers);
    let alone: Vec<(&Waiting, Prospect)> = waiting
        .iter()
        .map(|it| (it, prospect(it)))
        .filter(|(_, prospect)| matches!(prospect, Prospect::Unfit | Prospect::Hopeless))
        .collect();
    let stands = |kind: &Kind| alone.iter().any(|(it, _)| it.ticket.kind == *kind);
    unfit.since.retain(|kind, _| stands(kind));
    unfit.told.retain(stands);
    for (step, prospect) in alone {
        let kind = &step.ticket.kind;
        let since = *unfit.since.entry(kind.clone()).or_insert(now);
        if now.duration_since(since) < GRACE {
            continue;
        }
        match prospect {
            Prospect::Hopeless => hold(parts, step).await?,
            _ if unfit.told.insert(kind.clone()) => {
                tracing::warn!(
                    run.id = %step.run, step.name = %step.step, %kind,
                    "steps wait for a worker that has what they need: {}; there is none", kind.needs()
                );
            }
            _ => {}
        }
    }
    Ok(())
}

async fn hold(parts: &ServiceParts, step: &Waiting) -> Result<(), CommitError> {
    let kind = &step.ticket.kind;
    let command = Command::Hold {
        step: step.step.clone(),
        error: misfit(kind),
    };
    match parts.committer.fold(&step.run, command).await {
        Ok(()) => {
            let queue = kind.queue.as_str();
            counter!(metrics::STEPS_UNFIT.name, "queue" => queue).increment(1);
            tracing::warn!(run.id = %step.run, step.name = %step.step, %kind, "no worker can run a step");
            Ok(())
        }
        // Another process was quicker, or the job was cancelled.
        Err(CommitError::Rejected(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

fn misfit(kind: &Kind) -> Failure {
    let needs = kind.needs();
    Failure {
        class: ErrorClass::Resource,
        code: "no_worker_fits".to_owned(),
        message: format!(
            "no worker has what the step needs: {needs}; start one that has, and retry the job"
        ),
        step: None,
    }
}
