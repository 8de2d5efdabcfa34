//! What executing a plan saves and takes: counts, pauses, time.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, Attempts, Estimate, EstimateBasis, Given, PlannedStep, Quantiles, Scheduled, Summary,
};
use crate::definition::Backoff;
use crate::id::StepId;
use crate::limits;
use crate::retry::history::Pace;
use crate::retry::policy;
use crate::run::StepRecord;

/// When attempts would be made if each failed in a way that may pass.
pub(super) fn schedule(
    (id, attempts): (&StepId, Attempts),
    backoff: &Backoff,
    seed: &str,
) -> Vec<Scheduled> {
    let mut after_s = 0.0;
    let shown = attempts.granted.min(limits::SCHEDULED_ATTEMPTS);
    let attempts = (0..shown).map(|charged| {
        let made = attempts.used + charged;
        if charged > 0 {
            let pause = policy::pause(backoff, (id, charged, made), seed);
            after_s += pause.as_secs_f64();
        }
        Scheduled {
            attempt: made + 1,
            // Rounded to what a person reads, and so that the JSON is short: there may be 100,000 steps.
            after_s: (after_s * 1000.0).round() / 1000.0,
        }
    });
    attempts.collect()
}

pub(super) fn summarise(steps: &[PlannedStep], given: &Given<'_>) -> Summary {
    let mut summary = Summary::default();
    let mut reused = BTreeSet::new();
    for step in steps {
        match step.action {
            Action::Reuse => {
                summary.reuse += 1;
                reused.insert(&step.id);
            }
            Action::Resume => summary.resume += 1,
            Action::Rerun => summary.rerun += 1,
            Action::Skip => summary.skip += 1,
            Action::Blocked => summary.blocked += 1,
        }
    }
    summary.saved.wall_s = given
        .snapshot
        .steps
        .iter()
        .filter(|record| reused.contains(&record.step.id))
        .filter_map(|record| record.attempts.last())
        .filter_map(|attempt| Some(attempt.ended_at? - attempt.started_at))
        .map(|wall| wall.as_seconds_f64())
        // Not `sum`, which makes -0.0 of nothing.
        .fold(0.0, |sum, wall| sum + wall);
    summary.estimate = estimate(steps, given);
    summary
}

/// What is left to do of a node.
#[derive(Debug, Default)]
struct Left {
    /// Attempts, those that go on from a checkpoint as the part of one that is left.
    attempts: f64,
    /// Steps that make them.
    steps: u32,
}

/// How long the plan may take: along the longest way through the graph, the items of a list side by side
/// as far as they were before. `None` if nothing is known of any activity that would run.
fn estimate(steps: &[PlannedStep], given: &Given<'_>) -> Option<Estimate> {
    let history = &given.world.history;
    if history.is_empty() {
        return None;
    }
    let left = left(steps, given);
    let mut basis = EstimateBasis {
        runs: history.runs,
        ..EstimateBasis::default()
    };
    let mut ends: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    for (name, definition) in &given.definition.steps {
        let begins = definition
            .needs
            .iter()
            .filter_map(|need| ends.get(need.step.as_str()));
        let (mut p50, mut p90) = begins.fold((0.0_f64, 0.0_f64), |(p50, p90), (one, other)| {
            (p50.max(*one), p90.max(*other))
        });
        if let Some(left) = left.get(name.as_str()) {
            let activity = definition.activity.to_string();
            match history.pace(name, &activity) {
                Some(pace) => {
                    p50 += left.takes(pace, pace.p50_s);
                    p90 += left.takes(pace, pace.p90_s);
                    basis.attempts += pace.attempts;
                    basis.same_parameters += pace.same_parameters;
                    basis.same_machine += pace.same_machine;
                }
                None => basis.unknown += left.steps,
            }
        }
        ends.insert(name, (p50, p90));
    }
    let longest = |of: fn(&(f64, f64)) -> f64| ends.values().map(of).fold(0.0, f64::max);
    let wall_s = Quantiles {
        p50: longest(|end| end.0),
        p90: longest(|end| end.1),
    };
    (basis.attempts > 0).then_some(Estimate { wall_s, basis })
}

impl Left {
    fn takes(&self, pace: &Pace, each_s: f64) -> f64 {
        let side_by_side = pace.side_by_side.max(1.0);
        (self.attempts * each_s / side_by_side).max(each_s * self.attempts.min(1.0))
    }
}

fn left<'a>(steps: &'a [PlannedStep], given: &Given<'_>) -> BTreeMap<&'a str, Left> {
    let records: BTreeMap<&StepId, &StepRecord> =
        match steps.iter().any(|it| it.action == Action::Resume) {
            true => given
                .snapshot
                .steps
                .iter()
                .map(|it| (&it.step.id, it))
                .collect(),
            false => BTreeMap::new(),
        };
    let lists: BTreeMap<&str, u32> = given
        .snapshot
        .nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), node.total?)))
        .collect();
    let mut left: BTreeMap<&str, Left> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.runs()) {
        let name = step.id.node.as_str();
        let of_node = left.entry(name).or_default();
        let items = match step.id.item {
            None => lists.get(name).copied().unwrap_or(1).max(1),
            Some(_) => 1,
        };
        let done = records
            .get(&step.id)
            .filter(|_| step.action == Action::Resume);
        let done = done.and_then(|record| record.step.progress.as_ref()?.percent);
        let share = 1.0 - done.unwrap_or(0.0).clamp(0.0, 100.0) / 100.0;
        of_node.steps += items;
        of_node.attempts += f64::from(items) * share;
    }
    left
}
