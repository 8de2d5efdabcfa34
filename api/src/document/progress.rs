use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use telecine_engine::run::{Attempt, AttemptOutcome, Node, RunStatus, Snapshot, Step, StepStatus};
use utoipa::ToSchema;

use super::build::Sources;

/// Items that a fan-out counts for until its list is known, so that the total falls back less when
/// it is: a film of ten minutes is cut into about as many chunks.
const UNKNOWN_ITEMS: u32 = 8;
/// Below so many percent the time left is not worth guessing.
const MIN_PERCENT_FOR_ETA: f64 = 2.0;
/// Nor before so many seconds of work.
const MIN_WORK_FOR_ETA_S: f64 = 2.0;

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct JobProgress {
    /// 0 to 100: the mean over all steps, weighted by the processors that each asks for.
    pub(crate) percent: f64,
    /// The first step that is worked on; the last one that ended, when the job has stopped.
    pub(crate) phase: Option<String>,
    /// Seconds until the job is done, if they can be told: at the rate at which it got here, without
    /// the time in which nobody worked on it.
    pub(crate) eta_s: Option<f64>,
}

/// How far a job is, from the shares of its steps.
pub(super) fn of_job(sources: &Sources) -> JobProgress {
    let snapshot = &sources.snapshot;
    let percent = percent(sources);
    let eta_s = match snapshot.run.status {
        RunStatus::Succeeded => Some(0.0),
        RunStatus::Running => time_left(snapshot, percent, worked_s(sources)),
        _ => None,
    };
    JobProgress {
        percent: round(percent, 1),
        phase: phase(snapshot),
        eta_s: eta_s.map(|eta_s| round(eta_s, 0)),
    }
}

/// The time left at the rate so far, but no less than the slowest running step says: the first steps
/// count for more than the time they take.
fn time_left(snapshot: &Snapshot, percent: f64, worked_s: f64) -> Option<f64> {
    if percent < MIN_PERCENT_FOR_ETA || worked_s < MIN_WORK_FOR_ETA_S {
        return None;
    }
    let running = snapshot
        .steps
        .iter()
        .filter(|record| record.step.status == StepStatus::Running);
    let slowest = running
        .filter_map(|record| record.step.progress.as_ref()?.eta_s)
        .fold(0.0, f64::max);
    Some(slowest.max(worked_s * (100.0 - percent) / percent))
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

fn percent(sources: &Sources) -> f64 {
    let Sources {
        snapshot,
        definition,
        ..
    } = sources;
    if snapshot.run.status == RunStatus::Succeeded {
        return 100.0;
    }
    let mut started: BTreeMap<&str, f64> = BTreeMap::new();
    for record in &snapshot.steps {
        *started.entry(&record.step.id.node).or_default() += share(&record.step);
    }
    if sources.is_partial() {
        for node in &snapshot.nodes {
            let done = node.settled.saturating_sub(node.failed + node.held);
            let started = started.entry(&node.name).or_default();
            *started = started.max(f64::from(done));
        }
    }
    let (mut done, mut all) = (0.0, 0.0);
    for node in &snapshot.nodes {
        let cpu = definition
            .steps
            .get(&node.name)
            .map_or(1, |step| step.requires.cpu);
        let items = node.total.unwrap_or(UNKNOWN_ITEMS);
        let finished = if is_done(node.status) {
            f64::from(items)
        } else {
            started.get(node.name.as_str()).copied().unwrap_or_default()
        };
        done += f64::from(cpu) * finished;
        all += f64::from(cpu) * f64::from(items);
    }
    if all > 0.0 { 100.0 * done / all } else { 0.0 }
}

/// Whether nothing is left to do. What failed, is blocked or was cancelled is not done, although it
/// moves no more.
fn is_done(status: StepStatus) -> bool {
    matches!(status, StepStatus::Succeeded | StepStatus::Skipped)
}

/// The part of a step that is done, 0 to 1. What a checkpoint keeps of an attempt that ended counts.
fn share(step: &Step) -> f64 {
    let kept = step.status == StepStatus::Running || step.checkpoint.is_some();
    if is_done(step.status) {
        return 1.0;
    }
    let percent = step
        .progress
        .as_ref()
        .and_then(|progress| progress.percent)
        .filter(|_| kept);
    percent.map_or(0.0, |percent| (percent / 100.0).clamp(0.0, 1.0))
}

fn phase(snapshot: &Snapshot) -> Option<String> {
    let active = |node: &&Node| node.status == StepStatus::Ready;
    if !snapshot.run.status.is_stopped() {
        return snapshot
            .nodes
            .iter()
            .find(active)
            .map(|node| node.name.clone());
    }
    let ended = snapshot
        .steps
        .iter()
        .filter(|record| !record.attempts.is_empty());
    ended
        .max_by_key(|record| record.step.ended_at)
        .map(|record| record.step.id.node.clone())
}

/// Seconds in which at least one attempt ran. How long a lost attempt ran is not known: it ends when
/// somebody notices.
fn worked_s(sources: &Sources) -> f64 {
    let (snapshot, now) = (&sources.snapshot, sources.now);
    if sources.is_partial() {
        // Few of so many attempts are known, and somebody is always at it.
        let since = snapshot.run.started_at.unwrap_or(now);
        return (now - since).as_seconds_f64();
    }
    let attempts = snapshot.steps.iter().flat_map(|record| &record.attempts);
    let attempts = attempts.chain(snapshot.former.iter().map(|(_, attempt)| attempt));
    let known = |attempt: &&Attempt| attempt.outcome != Some(AttemptOutcome::Lost);
    let mut spans: Vec<_> = attempts
        .filter(known)
        .map(|attempt| (attempt.started_at, attempt.ended_at.unwrap_or(now)))
        .collect();
    spans.sort_unstable();
    let mut worked_s = 0.0;
    let mut until = DateTime::<Utc>::MIN_UTC;
    for (from, to) in spans {
        if to > until {
            worked_s += (to - from.max(until)).as_seconds_f64();
            until = to;
        }
    }
    worked_s
}
