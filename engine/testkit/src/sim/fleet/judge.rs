use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use telecine_engine::clock;
use telecine_engine::id::{RunId, SessionId, StepId};
use telecine_engine::retry::plan::RetryPlan;
use telecine_engine::run::{AttemptOutcome, RecordedEvent, Run, RunStatus, Snapshot};
use telecine_engine::store::Fence;
use telecine_engine::worker::LEASE;

use super::{Shared, TROUBLE, lock};
use crate::memory::{Commit, MemoryStore, Witness};

/// How long after the trouble a step may go on running under a session that is over, or one that does
/// not know of it: everybody has to be in contact for a lease, and to look.
const GRACE: Duration = Duration::from_secs(20);

/// How long a transaction takes at most.
const WRITTEN: Duration = Duration::from_mins(1);

/// Watches, and remembers what rule was broken first.
#[derive(Debug, Default)]
pub(super) struct Judge(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    accepted: BTreeSet<RunId>,
    completed: BTreeSet<Key>,
    /// What each live session runs, as far as its process knows.
    running: BTreeMap<SessionId, BTreeSet<Key>>,
    /// Since when a step has been running that it should not.
    astray: BTreeMap<Key, Instant>,
    broken: Option<String>,
}

/// A fence that sorts.
type Key = (RunId, StepId, u64);

fn key(fence: &Fence) -> Key {
    (fence.run.clone(), fence.step.clone(), fence.fence)
}

impl Judge {
    pub(super) fn accepted(&self, run: &RunId) {
        lock(&self.0).accepted.insert(run.clone());
    }

    pub(super) fn begins(&self, session: &SessionId) {
        lock(&self.0)
            .running
            .insert(session.clone(), BTreeSet::new());
    }

    pub(super) fn ends(&self, session: &SessionId) {
        lock(&self.0).running.remove(session);
    }

    pub(super) fn runs(&self, session: &SessionId, fence: &Fence) {
        let mut seen = lock(&self.0);
        seen.running
            .entry(session.clone())
            .or_default()
            .insert(key(fence));
    }

    pub(super) fn rests(&self, session: &SessionId, fence: &Fence) {
        if let Some(running) = lock(&self.0).running.get_mut(session) {
            running.remove(&key(fence));
        }
    }

    /// Somebody was told that this attempt has succeeded.
    pub(super) fn completed(&self, fence: &Fence) {
        lock(&self.0).completed.insert(key(fence));
    }

    fn broken(&self, what: String) {
        lock(&self.0).broken.get_or_insert(what);
    }

    /// A run that stopped short can be tried again, or its plan says what stands in the way.
    pub(super) fn may_stop(&self, run: &Run, plan: Option<&RetryPlan>) {
        let explained = plan.is_some_and(|plan| plan.executable || !plan.warnings.is_empty());
        if !explained {
            self.broken(format!("{} is {} and nobody can help", run.id, run.status));
        }
    }

    /// Looks whether anything runs that should not.
    pub(super) fn look(&self, shared: &Shared) {
        let now = clock::now();
        let running = shared.database().running();
        let mut seen = lock(&self.0);
        let mut astray = BTreeMap::new();
        for (fence, session, lives) in running {
            if lives.is_none() {
                let what = format!("{fence:?} runs in {session}, which has ended");
                seen.broken.get_or_insert(what);
            }
            let known = seen.running.get(&session);
            let known = known.is_some_and(|running| running.contains(&key(&fence)));
            if lives != Some(true) || !known {
                let since = seen.astray.get(&key(&fence)).copied().unwrap_or(now);
                astray.insert(key(&fence), since);
            }
        }
        seen.astray = astray;
        let calm = shared.database().age().saturating_sub(TROUBLE);
        let late = seen
            .astray
            .iter()
            .find(|(_, since)| (now - **since).min(calm) > LEASE * 2 + GRACE);
        if let Some((fence, _)) = late {
            let what = format!("{fence:?} is running, and nobody runs it");
            seen.broken.get_or_insert(what);
        }
    }

    pub(super) fn verdict(&self) -> Result<(), String> {
        lock(&self.0).broken.clone().map_or(Ok(()), Err)
    }

    /// What did not get to its end.
    pub(super) fn stuck(&self, database: &MemoryStore) -> String {
        let accepted = lock(&self.0).accepted.clone();
        let states = accepted.iter().map(|run| match database.look(run) {
            None => format!("{run} is lost"),
            Some((snapshot, events)) => {
                let steps = snapshot.steps.iter();
                let steps: Vec<_> = steps
                    .map(|record| format!("{} {}", record.step.id, record.step.status))
                    .collect();
                let last = events.last().map(|event| event.event.kind.clone());
                format!("{run} is {}: {steps:?} after {last:?}", snapshot.run.status)
            }
        });
        format!("not at an end: {}", states.collect::<Vec<_>>().join("; "))
    }

    /// What has to be true in the end.
    pub(super) fn conclude(&self, shared: &Shared, deadly: bool) -> Result<(), String> {
        self.verdict()?;
        let (accepted, completed) = {
            let seen = lock(&self.0);
            (seen.accepted.clone(), seen.completed.clone())
        };
        for run in &accepted {
            let Some((snapshot, events)) = shared.database().look(run) else {
                return Err(format!("{run} was accepted and is lost"));
            };
            tell(shared, &snapshot, &events);
            check_events(&snapshot, &events)?;
            check_attempts(&snapshot, &completed)?;
            let lost = outcomes(&snapshot, AttemptOutcome::Lost);
            if !deadly && lost > 0 {
                return Err(format!("{run} lost {lost} attempts to an outage"));
            }
        }
        Ok(())
    }
}

impl Witness for Judge {
    fn committed(&self, commit: &Commit<'_>) {
        let told = commit
            .before
            .audit(&commit.events, (&commit.after, commit.plan));
        if let Err(why) = told {
            self.broken(format!("{}: {why}", commit.run));
        }
    }
}

fn outcomes(snapshot: &Snapshot, outcome: AttemptOutcome) -> usize {
    let of_steps = snapshot.steps.iter().flat_map(|record| &record.attempts);
    let former = snapshot.former.iter().map(|(_, attempt)| attempt);
    let attempts = of_steps.chain(former);
    attempts
        .filter(|attempt| attempt.outcome == Some(outcome))
        .count()
}

/// Adds up what happened.
fn tell(shared: &Shared, snapshot: &Snapshot, events: &[RecordedEvent]) {
    let mut told = lock(&shared.told);
    let lost = outcomes(snapshot, AttemptOutcome::Lost);
    told.lost += u32::try_from(lost).unwrap_or_default();
    told.held += u32::from(snapshot.run.status == RunStatus::Held);
    for event in events {
        let text = format!("{} {:?} {}", event.event.kind, event.event.step, event.at);
        for byte in text.bytes() {
            // FNV-1a.
            told.digest = (told.digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Events have no gaps. What they tell is looked at with every commit.
fn check_events(snapshot: &Snapshot, events: &[RecordedEvent]) -> Result<(), String> {
    let numbers = events.iter().map(|event| event.seq);
    let run = &snapshot.run;
    if !numbers.eq(1..=events.len() as u64) {
        return Err(format!("the events of {} have a gap", run.id));
    }
    // Prepared and written, it may have waited for the database in between.
    let apart = events.first().map(|first| first.at - run.created_at);
    match apart.is_some_and(|apart| apart.abs().to_std().is_ok_and(|apart| apart < WRITTEN)) {
        true => Ok(()),
        false => Err(format!("{} was not created when it was submitted", run.id)),
    }
}

/// A step succeeds at most once in a round, and what was said to have succeeded has.
fn check_attempts(snapshot: &Snapshot, completed: &BTreeSet<Key>) -> Result<(), String> {
    let run = &snapshot.run.id;
    let of_steps = snapshot.steps.iter().flat_map(|record| {
        let id = &record.step.id;
        record.attempts.iter().map(move |attempt| (id, attempt))
    });
    let former = snapshot.former.iter().map(|(id, attempt)| (id, attempt));
    let mut effective = BTreeMap::new();
    for (id, attempt) in of_steps.chain(former) {
        if attempt.outcome == Some(AttemptOutcome::Succeeded) {
            *effective.entry((id.clone(), attempt.round)).or_insert(0) += 1;
        }
    }
    if let Some(((id, round), times)) = effective.iter().find(|(_, times)| **times > 1) {
        return Err(format!(
            "{id} of {run} succeeded {times} times in round {round}"
        ));
    }
    let known = completed.iter().filter(|(of, ..)| of == run);
    for (_, step, fence) in known {
        if !effective.keys().any(|(id, _)| id == step) {
            return Err(format!(
                "{step} of {run} succeeded as {fence}, and that is lost"
            ));
        }
    }
    Ok(())
}
