//! `telecine plan explain`: one step of a plan in sentences, down to the step that is the cause.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use telecine_engine::id::StepId;
use telecine_engine::retry::plan::{Action, PlannedStep, RetryPlan};
use telecine_engine::retry::reuse::{Difference, Origin};
use telecine_engine::reuse::Explanation;

use super::tree::from_checkpoint;
use crate::cli::exit::CliError;
use crate::document::json_name;

/// Objects that are named of a step that has many.
const OBJECTS_SHOWN: usize = 5;
/// Characters of a value that is told; `-o json` has more of it.
const VALUE_CHARS: usize = 120;
/// Steps that are explained when nobody says which.
pub(super) const STEPS_EXPLAINED: usize = 20;

/// A step of a plan, and what it was made from.
#[derive(Debug, Serialize)]
pub(super) struct Explained<'a> {
    #[serde(flatten)]
    pub(super) step: &'a PlannedStep,
    /// Its reuse key, as it was and as it would be now.
    pub(super) key: Option<Explanation>,
}

/// What each reason means.
const MEANINGS: [(&str, &str); 18] = [
    (
        "succeeded",
        "it succeeded, and nothing that it depends on changes",
    ),
    (
        "failed_retryable",
        "it failed in a way that may pass, or that can be mended",
    ),
    (
        "failed_permanent",
        "it failed in a way that trying again cannot help",
    ),
    ("lost", "the worker that ran it went away"),
    ("never_ran", "it was not reached"),
    ("held", "it waits for a decision"),
    ("upstream_changed", "a step that it depends on runs again"),
    ("upstream_blocked", "a step that it depends on cannot run"),
    ("condition_false", "its condition is false"),
    ("artifact_missing", "an object that it made is gone"),
    (
        "artifact_corrupt",
        "an object that it made has other bytes than it was made with",
    ),
    (
        "input_changed",
        "the source, or another object that it reads, is not the one any more that it worked on",
    ),
    (
        "params_changed",
        "its parameters are not those any more that it ran with, or its condition or its list is read again",
    ),
    (
        "activity_changed",
        "the activity is not the one any more that ran it",
    ),
    ("forced", "somebody wants it to run again"),
    ("cancelled", "the job was cancelled before it was done"),
    ("skipped_by_operator", "somebody wants it left out"),
    ("supplied_by_operator", "somebody gave its output"),
];

/// The steps that a person means: a step, all items of a fan-out, or what stands for them in the plan.
pub(super) fn find<'a>(plan: &'a RetryPlan, name: &str) -> Result<Vec<&'a PlannedStep>, CliError> {
    let wanted: StepId = name
        .parse()
        .map_err(|error| CliError::usage(format!("{error}")))?;
    let is_meant = |step: &&PlannedStep| {
        step.id == wanted
            || (step.id.node == wanted.node && (wanted.item.is_none() || step.id.item.is_none()))
    };
    let found: Vec<_> = plan.steps.iter().filter(is_meant).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let nodes: BTreeSet<_> = plan
        .steps
        .iter()
        .map(|step| step.id.node.as_str())
        .collect();
    let nodes: Vec<_> = nodes.into_iter().collect();
    Err(CliError::not_found(format!(
        "the plan has no step {name}; it has {}",
        nodes.join(", ")
    )))
}

/// The steps that are the cause of everything else that is not kept.
pub(super) fn causes(plan: &RetryPlan) -> Vec<&PlannedStep> {
    let moves = |step: &&PlannedStep| step.action != Action::Reuse && step.because.is_empty();
    plan.steps
        .iter()
        .filter(moves)
        .take(STEPS_EXPLAINED)
        .collect()
}

/// Steps in sentences.
pub(super) fn text(plan: &RetryPlan, steps: &[Explained<'_>]) -> String {
    let shown = steps.iter().take(STEPS_EXPLAINED);
    let told: Vec<_> = shown
        .map(|it| {
            let mut text = step_text(plan, it.step);
            if let Some(key) = &it.key {
                made_from(it.step, key, &mut text);
            }
            text
        })
        .collect();
    let mut text = told.join("\n");
    if steps.len() > STEPS_EXPLAINED {
        let more = steps.len() - STEPS_EXPLAINED;
        let _ = writeln!(text, "\n... and {more} more; `-o json` has all of them");
    }
    text
}

// Writing to a string cannot fail, so the results below are dropped.

fn step_text(plan: &RetryPlan, step: &PlannedStep) -> String {
    let reason = json_name(&step.reason);
    let mut text = format!("{} {}: {}\n", step.id, does(step.action), meaning(&reason));
    if let Some(error) = &step.error {
        let _ = writeln!(
            text,
            "  {} ({}, {})",
            error.message, error.class, error.code
        );
    }
    if let Some(why) = &step.why {
        let _ = writeln!(text, "  {why}");
    }
    for cause in chain(plan, step) {
        let reason = json_name(&cause.reason);
        let _ = writeln!(
            text,
            "  because {} {}: {}",
            cause.id,
            does(cause.action),
            meaning(&reason)
        );
        if let Some(why) = &cause.why {
            let _ = writeln!(text, "    {why}");
        }
    }
    if let Some(differs) = &step.differs {
        let _ = writeln!(text, "  {}", difference(differs));
    }
    if let Some(checkpoint) = &step.checkpoint {
        let _ = writeln!(text, "  it goes on {}", from_checkpoint(checkpoint));
    }
    for key in step.damaged.iter().take(OBJECTS_SHOWN) {
        let _ = writeln!(text, "  it makes {key} again");
    }
    if step.damaged.len() > OBJECTS_SHOWN {
        let _ = writeln!(text, "  and {} more", step.damaged.len() - OBJECTS_SHOWN);
    }
    if let Some(key) = step
        .proof
        .as_ref()
        .and_then(|proof| proof.cache_key.as_ref())
    {
        let _ = writeln!(text, "  made from {key}");
    }
    if let Some(attempts) = step.attempts {
        let _ = writeln!(
            text,
            "  attempts: {} used, {} granted",
            attempts.used, attempts.granted
        );
    }
    objects(step, &mut text);
    text
}

/// What became of the key of a step, and why it took nothing of another job.
fn made_from(step: &PlannedStep, key: &Explanation, text: &mut String) {
    match (&key.before, &key.now, &key.difference) {
        (_, _, Some(differs)) if step.differs.is_none() => {
            let _ = writeln!(text, "  made anew, {}", difference(differs));
        }
        (Some(_), None, _) => {
            let why = "its source is gone, or its activity is not installed here";
            let _ = writeln!(text, "  what it would be made from now is not known: {why}");
        }
        _ => {}
    }
    if let Some(Origin { job, step }) = &key.taken_from {
        let _ = writeln!(text, "  its result was taken from {step} of {job}");
    }
    let latest = key.latest.as_ref();
    if let Some((job, differs)) = latest.and_then(|it| Some((&it.job, it.difference.as_ref()?))) {
        let differs = difference(differs);
        let _ = writeln!(text, "  it took no result of {job}: {differs}");
    }
}

/// The first thing that two keys differ in, with both values.
pub(super) fn difference(differs: &Difference) -> String {
    let told = |value: &Option<Value>| match value {
        None => "nothing".to_owned(),
        Some(value) => {
            let text = value.to_string();
            match text.chars().count() > VALUE_CHARS {
                true => format!("{}...", text.chars().take(VALUE_CHARS).collect::<String>()),
                false => text,
            }
        }
    };
    let (before, after) = (told(&differs.before), told(&differs.after));
    format!("{} was {before} and is {after}", differs.path)
}

/// What a reuse stands on, and what a rerun lacks.
fn objects(step: &PlannedStep, text: &mut String) {
    let Some(proof) = &step.proof else { return };
    let artifacts = &proof.artifacts;
    let (mut found, mut bytes) = (0, 0);
    for proof in artifacts {
        found += usize::from(proof.verified == Some(true));
        bytes += proof.artifact.size;
    }
    if !artifacts.is_empty() {
        let all = artifacts.len();
        let _ = writeln!(
            text,
            "  objects: {all} of {bytes} bytes, {found} of them found as they were made"
        );
    }
    let damaged = artifacts
        .iter()
        .filter(|proof| proof.verified == Some(false));
    for proof in damaged.take(OBJECTS_SHOWN) {
        let _ = writeln!(text, "  not as it was made: {}", proof.artifact.key);
    }
}

fn does(action: Action) -> &'static str {
    match action {
        Action::Reuse => "is kept",
        Action::Resume => "goes on where it was",
        Action::Rerun => "runs from the start",
        Action::Skip => "is left out",
        Action::Blocked => "cannot run",
    }
}

fn meaning(reason: &str) -> &str {
    let known = MEANINGS.iter().find(|(name, _)| *name == reason);
    known.map_or(reason, |(_, meaning)| meaning)
}

/// The steps that lead to this one, from the nearest to the first cause; each once.
fn chain<'a>(plan: &'a RetryPlan, step: &PlannedStep) -> Vec<&'a PlannedStep> {
    let (mut chain, mut told) = (Vec::new(), BTreeSet::new());
    let mut next: Vec<&StepId> = step.because.iter().collect();
    while let Some(id) = next.pop() {
        // A cause that is a whole node stands for the first of its items that is not kept.
        let cause = plan.steps.iter().find(|other| {
            let same = other.id == *id || (id.item.is_none() && other.id.node == id.node);
            same && other.action != Action::Reuse
        });
        let Some(cause) = cause.filter(|cause| told.insert(&cause.id)) else {
            continue;
        };
        chain.push(cause);
        next.extend(&cause.because);
    }
    chain
}
