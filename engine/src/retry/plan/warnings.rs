//! What the reader of a plan should know.

use std::collections::BTreeSet;

use super::beside::Lacking;
use super::compute::Unmet;
use super::output::Unmade;
use super::published::Republished;
use super::{Action, Given, PlannedStep, Reason};
use crate::activity::ErrorClass;
use crate::id::StepId;
use crate::retry::policy::{
    DISK_FULL, OBJECT_ARCHIVED, OBJECT_MISSING, PERMISSION_DENIED, SOURCE_CHANGED,
};
use crate::run::{Failure, StepRecord};

/// Steps that cannot run of which a plan says why, each by itself: a list of 100,000 may fail of one cause.
const OBSTACLES: usize = 20;

/// What stands in the way of success, and what to do first.
pub(super) fn warnings(
    (steps, executable): (&[PlannedStep], bool),
    (given, stranded): (&Given<'_>, bool),
    (unmade, republished, lacking): (&Unmade<'_>, &Republished<'_>, &Lacking<'_>),
    (unmet, told): (&[Unmet], &[String]),
) -> Vec<String> {
    let mut warnings = obstacles(steps, lacking);
    if stranded {
        let why = "the source is gone or cannot be looked at, and the job takes another definition only with it";
        warnings.push(why.to_owned());
    }
    warnings.extend(unmade.warnings());
    warnings.extend(republished.why());
    if let Some(error) = given
        .snapshot
        .run
        .error
        .as_ref()
        .filter(|_| warnings.is_empty())
        && !executable
    {
        warnings.push(format!("no step has to run again, but {}", error.message));
    }
    warnings.extend(put_back(lacking));
    warnings.extend(to_do_first(steps, lacking));
    warnings.extend(made_by_others(steps, given));
    let unmet = unmet.iter();
    warnings.extend(unmet.map(|it| format!("{}: {}", it.edit.pointer(), it.why)));
    warnings.extend_from_slice(told);
    warnings
}

/// What is kept although the tools that made it are not those that are installed: nothing of it is wrong, and
/// who wants it made again can say so.
fn made_by_others(steps: &[PlannedStep], given: &Given<'_>) -> Option<String> {
    let activities = &given.world.activities;
    if activities.is_empty() {
        return None;
    }
    let by_others = |record: &&StepRecord| {
        let installed = activities.get(&record.step.activity);
        let made = record.made.as_ref();
        installed
            .zip(made)
            .is_some_and(|(installed, made)| installed.fingerprint != made.tools)
    };
    let records = given.snapshot.steps.iter().filter(by_others);
    let records: BTreeSet<&StepId> = records.map(|record| &record.step.id).collect();
    let kept = steps.iter().filter(|step| {
        (step.action, step.reason) == (Action::Reuse, Reason::Succeeded)
            && records.contains(&step.id)
    });
    let nodes: BTreeSet<&str> = kept.map(|step| step.id.node.as_str()).collect();
    if nodes.is_empty() {
        return None;
    }
    let nodes: Vec<&str> = nodes.into_iter().collect();
    Some(format!(
        "{} is kept as other versions of the tools made it: force it to have it made again",
        nodes.join(", ")
    ))
}

/// The objects that steps read and that are gone; of many, the first stand for all.
fn put_back(lacking: &Lacking<'_>) -> Option<String> {
    let gone = &lacking.gone;
    if gone.is_empty() {
        return None;
    }
    let named = gone.iter().take(OBSTACLES);
    let named = named.map(|(name, step)| format!("{name} ({step} reads it)"));
    let named = named.collect::<Vec<_>>().join(", ");
    Some(match gone.len().saturating_sub(OBSTACLES) {
        0 => format!("put back first what is gone: {named}"),
        more => format!("put back first what is gone: {named} and {more} more"),
    })
}

/// What to do before the plan can help: of several steps that need the same, the first stands for
/// all.
pub(super) fn to_do_first(steps: &[PlannedStep], lacking: &Lacking<'_>) -> Vec<String> {
    let is_told = |step: &PlannedStep, error: &Failure| {
        error.code == OBJECT_MISSING && lacking.known.contains(&step.id)
    };
    // Other parameters are what was set right.
    let is_mended = |step: &PlannedStep, error: &Failure| {
        step.reason == Reason::ParamsChanged && need(error) == Some(SET_RIGHT)
    };
    let errors = steps.iter().filter(|step| step.runs()).filter_map(|step| {
        let error = step.error.as_ref();
        error.filter(|error| !is_told(step, error) && !is_mended(step, error))
    });
    let mut told = BTreeSet::new();
    let first = errors.filter(|error| told.insert(error.code.as_str()));
    let needs = first.filter_map(|error| Some(format!("{}: {}", need(error)?, error.message)));
    needs.collect()
}

const SET_RIGHT: &str = "set this right first";

/// What somebody has to do before a step that failed can succeed; `None` if it may pass by itself.
fn need(error: &Failure) -> Option<&'static str> {
    match (error.code.as_str(), error.class) {
        (DISK_FULL, _) => Some("make room first"),
        (PERMISSION_DENIED, _) => Some("give permission first"),
        (OBJECT_MISSING, _) => Some("put it back first"),
        (OBJECT_ARCHIVED, _) => Some("restore it first"),
        (_, ErrorClass::Config) => Some(SET_RIGHT),
        _ => None,
    }
}

/// Why steps cannot run; of many, the first stand for all.
pub(super) fn obstacles(steps: &[PlannedStep], lacking: &Lacking<'_>) -> Vec<String> {
    let blocked = steps
        .iter()
        .filter(|step| step.action == Action::Blocked && step.reason != Reason::UpstreamBlocked);
    let more = blocked.clone().count().saturating_sub(OBSTACLES);
    let told = blocked.take(OBSTACLES);
    let mut told: Vec<String> = told.map(|step| obstacle(step, lacking)).collect();
    if more > 0 {
        told.push(format!("{more} more steps cannot succeed either"));
    }
    told
}

fn obstacle(step: &PlannedStep, lacking: &Lacking<'_>) -> String {
    let lacks = lacking.of_step.get(&step.id);
    if let (Reason::InputChanged, Some(name)) = (step.reason, lacks) {
        return format!(
            "{} needs {name}, which is gone: put it back as it was",
            step.id
        );
    }
    if step.reason == Reason::InputChanged {
        return format!("{} needs the source, which is gone: put it back", step.id);
    }
    match &step.error {
        Some(error) if error.code == SOURCE_CHANGED => format!("{}: {}", step.id, error.message),
        Some(error) if lacking.misfits.contains(&step.id) => format!(
            "{} cannot succeed with what it reads ({}): put a corrected one in its place and force the step",
            step.id, error.message
        ),
        Some(error) if error.class == ErrorClass::Input => format!(
            "{} cannot succeed with what it was given ({}): put a corrected source in its place, or submit a new job",
            step.id, error.message
        ),
        Some(error) => format!(
            "{} cannot succeed as it is set up: {}; set what it takes, or correct the definition",
            step.id, error.message
        ),
        None => format!("{} cannot succeed as it is set up", step.id),
    }
}
