//! Edits that come to nothing, and what earlier ones still come to: the reader of a plan is told, since nothing
//! in what the steps do shows it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::compute::Planner;
use super::entries::Entries;
use super::{Action, PlannedStep, Reason};
use crate::id::StepId;
use crate::retry::edits::Edit;

/// Steps that one sentence names.
const STEPS_NAMED: usize = 5;

/// What cannot run.
const CANNOT_RUN: &str = "cannot run";
/// What stays out because of its condition, of another edit or of what it needs.
const STAYS_OUT: &str = "stays out";
/// What has that value already.
const IS_SO_ALREADY: &str = "is that already";
/// What an earlier round left out.
const IS_OUT_ALREADY: &str = "is left out already";
/// What keeps its output.
const DOES_NOT_RUN: &str = "does not run";

/// What several edits want of so many steps, and why it comes to nothing.
#[derive(Debug, PartialEq)]
struct Moot {
    wants: &'static str,
    why: &'static str,
    of: Vec<String>,
}

impl Planner<'_> {
    /// What the plan does about edits, as far as what the steps do does not show it.
    pub(super) fn told(&self, steps: &[PlannedStep]) -> Vec<String> {
        let mut told: Vec<String> = self.moot(steps).iter().map(Moot::sentence).collect();
        told.extend(self.left_out_before(steps));
        told.extend(self.set_of_others(steps));
        told.extend(self.filled_before());
        told
    }

    /// Defaults that were corrected, and that the job does not take.
    fn filled_before(&self) -> Option<String> {
        let adoption = self.adoption?;
        let names = adoption.filled_before.join(", ");
        (!names.is_empty()).then(|| {
            format!(
                "the job keeps {names} as its input was filled in, although the default of {} is another one: set it in \
                 the steps that read it, or submit a new job",
                adoption.changes.definition
            )
        })
    }

    /// Edits that come to nothing, those alike together.
    fn moot(&self, steps: &[PlannedStep]) -> Vec<Moot> {
        if self.given.edits.is_empty() {
            return Vec::new();
        }
        let entries = Entries::of(steps);
        let mut moot: Vec<Moot> = Vec::new();
        for edit in self.given.edits.iter().map(|recorded| &recorded.edit) {
            let (Some(wants), Some(why)) = (wants(edit), self.why_moot(edit, &entries)) else {
                continue;
            };
            let of = about(edit);
            match moot
                .iter_mut()
                .find(|it| (it.wants, it.why) == (wants, why))
            {
                Some(alike) => alike.of.push(of),
                None => moot.push(Moot {
                    wants,
                    why,
                    of: vec![of],
                }),
            }
        }
        moot
    }

    /// Why an edit comes to nothing; `None` if it does something.
    fn why_moot(&self, edit: &Edit, entries: &Entries<'_>) -> Option<&'static str> {
        let run = &self.given.snapshot.run;
        match edit {
            Edit::Skip { step, .. } if self.was_left_out(step) => Some(IS_OUT_ALREADY),
            Edit::Skip { step, .. } | Edit::Supply { step, .. } => {
                let of_list = entries.meant(step).iter().all(|entry| entry.id != *step);
                (step.item.is_some() && of_list).then(|| idle(entries.meant(step)))?
            }
            Edit::Set { step, path, value } => {
                let meant = entries.meant(step);
                let already = self.has(step, (path, value)) && meant.iter().all(is_given_the_same);
                already.then_some(IS_SO_ALREADY).or_else(|| idle(meant))
            }
            Edit::Force { step }
            | Edit::Unset { step, .. }
            | Edit::Budget {
                step: Some(step), ..
            } => idle(entries.meant(step)),
            Edit::Budget { step: None, .. } => {
                let runs = entries.all().iter().any(PlannedStep::runs);
                (!runs).then_some(DOES_NOT_RUN)
            }
            Edit::Queue { queue } => (*queue == run.queue).then_some(IS_SO_ALREADY),
            Edit::Priority { priority } => (*priority == run.priority).then_some(IS_SO_ALREADY),
            Edit::Definition { .. } => None,
        }
    }

    fn was_left_out(&self, step: &StepId) -> bool {
        self.given.snapshot.amendments.out.contains(step)
    }

    /// Whether all steps that are meant were given that value.
    fn has(&self, step: &StepId, (path, value): (&str, &Value)) -> bool {
        let records = self.records_of(&step.node);
        let records = match step.item {
            None => records,
            Some(_) => records
                .binary_search_by_key(&step.item, |record| record.step.id.item)
                .map_or(&records[..0], |place| &records[place..=place]),
        };
        let mut inputs = records.iter().map(|record| record.step.input.as_ref());
        !records.is_empty()
            && inputs.all(|input| input.and_then(|it| it.pointer(path)) == Some(value))
    }

    /// Steps that stay out because somebody wanted that in an earlier round.
    fn left_out_before(&self, steps: &[PlannedStep]) -> Option<String> {
        let edits = self.given.edits.iter().map(|recorded| &recorded.edit);
        let again = edits.filter(|edit| matches!(edit, Edit::Skip { .. }));
        let again: BTreeSet<&StepId> = again.filter_map(Edit::step).collect();
        let out = steps.iter().filter(|step| {
            let by_operator = step.reason == Reason::SkippedByOperator;
            by_operator && self.was_left_out(&step.id) && !again.contains(&step.id)
        });
        let out: Vec<String> = out.map(|step| step.id.to_string()).collect();
        (!out.is_empty()).then(|| {
            format!(
                "{} stays out, as somebody wanted in an earlier round: force it to bring it back",
                named(&out)
            )
        })
    }

    /// What was set of single items in earlier rounds goes with the list that they are items of.
    fn set_of_others(&self, steps: &[PlannedStep]) -> Option<String> {
        let set = self.given.snapshot.amendments.set.keys();
        let items: Vec<&StepId> = set.filter(|id| id.item.is_some()).collect();
        if items.is_empty() {
            return None;
        }
        let entries = Entries::of(steps);
        let anew = |entry: &PlannedStep| entry.id.item.is_none() && entry.runs();
        let gone = items.iter().filter(|id| entries.meant(id).iter().any(anew));
        let gone: Vec<String> = gone.map(ToString::to_string).collect();
        (!gone.is_empty()).then(|| {
            format!(
                "what was set of {} in an earlier round holds no more: the list is read again, and may have others",
                named(&gone)
            )
        })
    }
}

impl Moot {
    fn sentence(&self) -> String {
        format!(
            "{} {}: nothing comes of it in this round, as it {}",
            self.wants,
            named(&self.of),
            self.why
        )
    }
}

fn named(steps: &[String]) -> String {
    let first = steps[..steps.len().min(STEPS_NAMED)].join(", ");
    match steps.len().saturating_sub(STEPS_NAMED) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The member of [`Edits`](crate::retry::edits::Edits) that asks for it.
fn wants(edit: &Edit) -> Option<&'static str> {
    Some(match edit {
        Edit::Force { .. } => "force",
        Edit::Skip { .. } => "skip",
        Edit::Supply { .. } => "supply",
        Edit::Set { .. } => "set",
        Edit::Unset { .. } => "unset",
        Edit::Budget { .. } => "budget",
        Edit::Queue { .. } => "queue",
        Edit::Priority { .. } => "priority",
        Edit::Definition { .. } => return None,
    })
}

/// What it is about: `encode[3]`, `preview/options/width`.
fn about(edit: &Edit) -> String {
    match edit {
        Edit::Set { step, path, .. } | Edit::Unset { step, path } => format!("{step}{path}"),
        Edit::Queue { queue } => queue.to_string(),
        Edit::Priority { priority } => priority.to_string(),
        Edit::Budget { step: None, .. } => "of all steps".to_owned(),
        other => other.step().map(ToString::to_string).unwrap_or_default(),
    }
}

/// Why steps of which something is wanted do not run; `None` if one of them does.
fn idle(steps: &[PlannedStep]) -> Option<&'static str> {
    if steps.iter().any(PlannedStep::runs) {
        return None;
    }
    let all = |action: Action| steps.iter().all(|step| step.action == action);
    Some(match (all(Action::Blocked), all(Action::Skip)) {
        (true, _) => CANNOT_RUN,
        (_, true) => STAYS_OUT,
        _ => DOES_NOT_RUN,
    })
}

/// Whether nothing else gives a step another input.
fn is_given_the_same(step: &PlannedStep) -> bool {
    step.because.is_empty() && step.differs.is_none()
}
