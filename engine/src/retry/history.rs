//! How long the steps of a workflow took before: what the estimates of plans are made from.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::run::{Attempt, AttemptOutcome, Snapshot, StepRecord};

/// How long attempts of an activity took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Half of them took no longer, in seconds.
    pub p50_s: f64,
    /// Nine in ten took no longer, in seconds.
    pub p90_s: f64,
    /// How many ran side by side, on average over the time in which any did; at least 1.
    pub side_by_side: f64,
    /// How many there were.
    pub attempts: u32,
    /// How many of them were of a step with the same parameters.
    pub same_parameters: u32,
    /// How many of them ran on a machine of the same class.
    pub same_machine: u32,
}

/// What is known of earlier runs of the same workflow.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// How many.
    pub runs: u32,
    /// By activity, as `name@version`.
    paces: BTreeMap<String, Paces>,
}

/// How long attempts of one activity took.
#[derive(Debug, Clone, PartialEq)]
struct Paces {
    /// Whatever step they were of.
    of_any: Pace,
    /// As they matter for a step of the run.
    of_steps: BTreeMap<String, Pace>,
}

impl History {
    /// Nothing is known.
    pub const NONE: Self = Self {
        runs: 0,
        paces: BTreeMap::new(),
    };

    /// What the heads of earlier runs say, and a run itself: attempts that succeeded. Those count that are
    /// most like the one to come: made from the start rather than from a checkpoint, then with the same
    /// parameters and on a machine of the same class, then with the same parameters, then on such a
    /// machine, then any.
    ///
    /// A step has the same parameters in runs of the same definition with the same input, but for the
    /// source, and the same values set. The class of a machine is its number of processors, and that of
    /// the machine to come is taken to be that of the run's latest attempt.
    #[must_use]
    pub fn of(earlier: &[Snapshot], own: &Snapshot) -> Self {
        let class = class(own);
        let mut tries: BTreeMap<&str, Vec<Vec<Try<'_>>>> = BTreeMap::new();
        for snapshot in earlier.iter().chain([own]) {
            let alike = has_same_parameters(snapshot, own);
            let mut of_run: BTreeMap<&str, Vec<Try<'_>>> = BTreeMap::new();
            for StepRecord { step, attempts, .. } in &snapshot.steps {
                let tries = attempts.iter();
                let tries = tries.filter_map(|it| Try::of(it, &step.id.node, (alike, class)));
                of_run.entry(&step.activity).or_default().extend(tries);
            }
            for (activity, of_run) in of_run {
                tries.entry(activity).or_default().push(of_run);
            }
        }
        let mut nodes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for StepRecord { step, .. } in &own.steps {
            nodes
                .entry(&step.activity)
                .or_default()
                .insert(&step.id.node);
        }
        let paces = tries.into_iter().filter_map(|(activity, runs)| {
            let of_any = pace(&runs, None)?;
            let nodes = nodes.get(activity).into_iter().flatten();
            let of_steps = nodes.filter_map(|node| {
                let pace = pace(&runs, Some(node))?;
                Some(((*node).to_owned(), pace))
            });
            let of_steps = of_steps.collect();
            Some((activity.to_owned(), Paces { of_any, of_steps }))
        });
        Self {
            runs: u32::try_from(earlier.len()).unwrap_or(u32::MAX),
            paces: paces.collect(),
        }
    }

    /// How long a step may take; `None` if nothing is known of its activity.
    #[must_use]
    pub fn pace(&self, node: &str, activity: &str) -> Option<&Pace> {
        let paces = self.paces.get(activity)?;
        Some(paces.of_steps.get(node).unwrap_or(&paces.of_any))
    }

    /// Whether nothing is known of any activity.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paces.is_empty()
    }
}

/// Whether the steps of two runs are given the same, but for what is made of the source.
fn has_same_parameters(one: &Snapshot, other: &Snapshot) -> bool {
    let parameters = |input: &Value| match input {
        Value::Object(members) => {
            let mut members = members.clone();
            members.remove("source");
            Value::Object(members)
        }
        other => other.clone(),
    };
    one.run.definition == other.run.definition
        && one.amendments.set == other.amendments.set
        && parameters(&one.run.input) == parameters(&other.run.input)
}

/// The class of the machine that a run was on last.
fn class(run: &Snapshot) -> Option<u32> {
    let attempts = run.steps.iter().flat_map(|record| &record.attempts);
    let told = attempts.filter_map(|it| Some((it.started_at, it.usage?.processors?)));
    told.max().map(|(_, processors)| processors)
}

/// An attempt that succeeded, by its beginning and its end.
#[derive(Debug, Clone, Copy)]
struct Try<'a> {
    node: &'a str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    resumed: bool,
    /// Whether its run was given the same.
    alike: bool,
    same_machine: bool,
}

impl<'a> Try<'a> {
    fn of(attempt: &Attempt, node: &'a str, (alike, class): (bool, Option<u32>)) -> Option<Self> {
        let succeeded = attempt.outcome == Some(AttemptOutcome::Succeeded);
        let to = attempt.ended_at.filter(|_| succeeded)?;
        let processors = attempt.usage.and_then(|usage| usage.processors);
        Some(Self {
            node,
            from: attempt.started_at,
            to,
            resumed: attempt.resumed_from.is_some(),
            alike,
            same_machine: processors.is_some() && processors == class,
        })
    }

    fn wall_s(&self) -> f64 {
        (self.to - self.from).as_seconds_f64().max(0.0)
    }
}

/// How long attempts of one activity took, by run, as far as it matters for a step. `None` if there were
/// none.
fn pace(runs: &[Vec<Try<'_>>], node: Option<&str>) -> Option<Pace> {
    let alike = |it: &Try<'_>| it.alike && node.is_none_or(|node| it.node == node);
    let likeness: [&dyn Fn(&Try<'_>) -> bool; 4] = [
        &|it| alike(it) && it.same_machine,
        &|it| alike(it),
        &|it| it.same_machine,
        &|_| true,
    ];
    let of = |like: &dyn Fn(&Try<'_>) -> bool, resumed: bool| -> Vec<Try<'_>> {
        let all = runs.iter().flatten();
        let like = all.filter(|it| like(it) && (resumed || !it.resumed));
        like.copied().collect()
    };
    let found = [false, true].into_iter().find_map(|resumed| {
        let mut by_likeness = likeness.iter().map(|like| (like, of(like, resumed)));
        by_likeness.find(|(_, tries)| !tries.is_empty())
    });
    let (like, tries) = found?;
    let mut walls: Vec<f64> = tries.iter().map(Try::wall_s).collect();
    walls.sort_by(f64::total_cmp);
    let (worked, elapsed) = runs.iter().fold((0.0, 0.0), |(worked, elapsed), of_run| {
        let of_run = || of_run.iter().filter(|it| like(it));
        let from = of_run().map(|it| it.from).min();
        let to = of_run().map(|it| it.to).max();
        let span = from
            .zip(to)
            .map_or(0.0, |(from, to)| (to - from).as_seconds_f64());
        (
            worked + of_run().map(Try::wall_s).sum::<f64>(),
            elapsed + span,
        )
    });
    let side_by_side = if elapsed > 0.0 { worked / elapsed } else { 1.0 };
    let count = |of: &dyn Fn(&Try<'_>) -> bool| {
        let count = tries.iter().filter(|it| of(it)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    Some(Pace {
        p50_s: quantile(&walls, 50)?,
        p90_s: quantile(&walls, 90)?,
        side_by_side: side_by_side.max(1.0),
        attempts: count(&|_| true),
        same_parameters: count(&alike),
        same_machine: count(&|it| it.same_machine),
    })
}

/// The least of sorted values that so many percent of them do not exceed.
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied()
}

#[cfg(test)]
mod tests;
