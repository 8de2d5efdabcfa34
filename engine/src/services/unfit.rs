//! Holds steps that no worker can run, instead of letting them wait without a word.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ::metrics::counter;

use super::ServiceParts;
use crate::activity::ErrorClass;
use crate::clock;
use crate::committer::CommitError;
use crate::machine::Command;
use crate::metrics;
use crate::queue::{Capability, Kind, Waiting};
use crate::run::Failure;

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(10);
/// How long no worker may fit before a step is held: workers are replaced one by one, and the next may
/// have what is missing.
const GRACE: Duration = Duration::from_secs(60);
/// Steps of a kind that are held at a time.
const AT_ONCE: usize = 64;

/// The kinds of steps that no worker fits, and since when.
#[derive(Debug, Default)]
pub struct Unfit {
    since: BTreeMap<Kind, Instant>,
}

pub(super) async fn run(parts: ServiceParts) {
    let mut unfit = Unfit::default();
    loop {
        clock::sleep(LOOK).await;
        if let Err(error) = hold(&parts, &mut unfit, clock::now()).await {
            tracing::warn!(%error, "steps that no worker can run were not looked for");
        }
    }
}

/// Holds the steps that no worker has fitted for the time of grace.
pub(super) async fn hold(
    parts: &ServiceParts,
    unfit: &mut Unfit,
    now: Instant,
) -> Result<(), CommitError> {
    let waiting = parts.store.waiting(None, AT_ONCE).await?;
    if waiting.is_empty() {
        unfit.since.clear();
        return Ok(());
    }
    let offers = parts.store.offers().await?;
    let alone: Vec<&Waiting> = waiting
        .iter()
        .filter(|it| fits_nobody(it, &offers))
        .collect();
    let kinds = || alone.iter().map(|it| &it.ticket.kind);
    unfit.since.retain(|kind, _| kinds().any(|it| it == kind));
    for step in alone {
        let kind = &step.ticket.kind;
        let since = *unfit.since.entry(kind.clone()).or_insert(now);
        if now.duration_since(since) < GRACE {
            continue;
        }
        let command = Command::Hold {
            step: step.step.clone(),
            error: misfit(kind),
        };
        match parts.committer.fold(&step.run, command).await {
            Ok(()) => {
                let queue = kind.queue.as_str();
                counter!(metrics::STEPS_UNFIT.name, "queue" => queue).increment(1);
                tracing::warn!(run.id = %step.run, step.name = %step.step, %kind, "no worker can run a step");
            }
            // Another process was quicker, or the job was cancelled.
            Err(CommitError::Rejected(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether there are workers for a step, and none of them can run it. Without any, it waits for them.
fn fits_nobody(waiting: &Waiting, offers: &[Capability]) -> bool {
    let mut asked = offers.iter().filter(|offer| offer.is_for(&waiting.run));
    asked.clone().next().is_some() && !asked.any(|offer| offer.fits(waiting))
}

fn misfit(kind: &Kind) -> Failure {
    let requires = kind.requires;
    let size = |name: &str, bytes: Option<u64>| {
        bytes.map_or_else(String::new, |bytes| {
            format!(", {name} {}", crate::definition::units::format_size(bytes))
        })
    };
    let memory = size("memory", requires.memory_bytes);
    let disk = size("disk", requires.disk_bytes);
    let message = format!(
        "no worker has what the step needs: the activity {}, cpu {}{memory}{disk}, gpu {}; start one that \
         has, and retry the job",
        kind.activity,
        requires.cpu,
        requires.gpu.as_str()
    );
    Failure {
        class: ErrorClass::Resource,
        code: "no_worker_fits".to_owned(),
        message,
        step: None,
    }
}
