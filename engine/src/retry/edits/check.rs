//! Whether edits can work: everything that cannot is told at once, each with the place of what is wrong.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::schema::{self, Impossible};
use super::{Edit, Edits};
use crate::activity::Registry;
use crate::definition::{
    ActivityCatalog as _, Definition, InputError, StepDef, escape_pointer as escape, misfits,
};
use crate::id::StepId;
use crate::limits;
use crate::queue::Queue;
use crate::retry::adoption::Adoption;
use crate::retry::reuse::{places, touches_place};
use crate::run::{Snapshot, Step};

/// Something in [`Edits`] that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EditError {
    /// JSON pointer of the member, `/set/encode/~1rungs`.
    pub pointer: String,
    /// Stable, `snake_case`.
    pub code: &'static str,
    /// Lowercase, one sentence.
    pub message: String,
}

/// What edits are checked against.
pub(crate) struct Checked<'a> {
    /// The run, as the definition sees it.
    pub(crate) snapshot: &'a Snapshot,
    /// What it goes on with.
    pub(crate) definition: &'a Definition,
    /// What another definition than its own changes.
    pub(crate) adoption: Option<&'a Adoption>,
    /// Installed activities; what is not installed here is not checked against its schemas.
    pub(crate) registry: &'a Registry,
}

/// The changes that edits come to, in the order in which they are applied.
///
/// # Errors
/// Everything that cannot work.
pub(crate) fn check(edits: &Edits, against: &Checked<'_>) -> Result<Vec<Edit>, Vec<EditError>> {
    let mut checker = Checker {
        against,
        steps: BTreeMap::new(),
        changes: Vec::new(),
        errors: Vec::new(),
    };
    checker.whole(edits);
    checker.definition();
    checker.force(edits);
    checker.skip(edits);
    checker.supply(edits);
    checker.set(edits);
    checker.unset(edits);
    checker.run(edits);
    checker.conflicts();
    if checker.errors.is_empty() {
        Ok(checker.changes)
    } else {
        Err(checker.errors)
    }
}

/// Puts a value where a JSON pointer says: a member may be new, all else has to be there.
///
/// # Errors
/// What is in the way, as the end of a sentence that begins with the pointer.
pub(crate) fn put(input: &mut Value, pointer: &str, value: &Value) -> Result<(), String> {
    let Some((parent, last)) = pointer.rsplit_once('/') else {
        return Err("does not begin with a slash".to_owned());
    };
    let name = last.replace("~1", "/").replace("~0", "~");
    match input.pointer_mut(parent) {
        Some(Value::Object(members)) => {
            members.insert(name, value.clone());
            Ok(())
        }
        Some(Value::Array(items)) => {
            let place = name.parse::<usize>().ok();
            let item = place.and_then(|place| items.get_mut(place));
            let item = item.ok_or_else(|| format!("names no item of the list {parent}"))?;
            *item = value.clone();
            Ok(())
        }
        Some(_) => Err(format!("leads into {parent}, which has no members")),
        None => Err(format!("leads into {parent}, which is not there")),
    }
}

struct Checker<'a> {
    against: &'a Checked<'a>,
    /// What is asked of each step, with the place where it is asked.
    steps: BTreeMap<StepId, Vec<(Asked, String)>>,
    changes: Vec<Edit>,
    errors: Vec<EditError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Force,
    Skip,
    Supply,
    Set,
    Unset,
}

impl Asked {
    /// Whether two may be asked of the same step.
    fn goes_with(self, other: Self) -> bool {
        let runs = |it| matches!(it, Self::Force | Self::Set | Self::Unset);
        runs(self) && runs(other)
    }
}

impl<'a> Checker<'a> {
    fn refuse(&mut self, pointer: &str, code: &'static str, message: String) {
        self.errors.push(EditError {
            pointer: pointer.to_owned(),
            code,
            message,
        });
    }

    /// How many there are, and how large.
    fn whole(&mut self, edits: &Edits) {
        let set: usize = edits.set.values().map(BTreeMap::len).sum();
        let unset: usize = edits.unset.values().map(Vec::len).sum();
        let count = edits.force.len() + edits.skip.len() + edits.supply.len() + set + unset;
        if count > limits::EDITS_PER_PLAN {
            let message = format!(
                "{count} edits are too many; the limit EDITS_PER_PLAN is {}",
                limits::EDITS_PER_PLAN
            );
            self.refuse("", "too_many_edits", message);
        }
        let values = edits
            .supply
            .values()
            .chain(edits.set.values().flat_map(BTreeMap::values));
        let bytes: usize = values.map(|value| value.to_string().len()).sum();
        if bytes > limits::EDITS_BYTES {
            let message = format!(
                "the values of the edits are {bytes} bytes; the limit EDITS_BYTES is {}",
                limits::EDITS_BYTES
            );
            self.refuse("", "edits_too_large", message);
        }
    }

    fn definition(&mut self) {
        let changes = self.against.adoption.map(|adoption| &adoption.changes);
        self.changes.extend(changes.map(|changes| Edit::Definition {
            definition: changes.definition.clone(),
            digest: changes.digest.clone(),
        }));
    }

    fn force(&mut self, edits: &Edits) {
        for (n, text) in edits.force.iter().enumerate() {
            if let Some(step) = self.step(text, (&format!("/force/{n}"), Asked::Force)) {
                self.changes.push(Edit::Force { step });
            }
        }
    }

    fn skip(&mut self, edits: &Edits) {
        for (n, skip) in edits.skip.iter().enumerate() {
            // Said twice, it is still one wish.
            if edits.skip[..n].contains(skip) {
                continue;
            }
            let place = format!("/skip/{n}");
            let why = skip.why.trim();
            if why.is_empty() {
                let message = "say why the step stays out: it is kept in the history".to_owned();
                self.refuse(&format!("{place}/why"), "why_missing", message);
            }
            if let Some(step) = self.step(&skip.step, (&format!("{place}/step"), Asked::Skip)) {
                let why = why.chars().take(limits::MESSAGE_CHARS).collect();
                self.changes.push(Edit::Skip { step, why });
            }
        }
    }

    fn supply(&mut self, edits: &Edits) {
        for (text, output) in &edits.supply {
            let place = format!("/supply/{}", escape(text));
            let Some(step) = self.step(text, (&place, Asked::Supply)) else {
                continue;
            };
            self.output(&step, output, &place);
            self.supplied_place(&step, output, &place);
            let output = output.clone();
            self.changes.push(Edit::Supply { step, output });
        }
    }

    /// Where a job writes to is its own: a place that is supplied is the one that the step gave.
    fn supplied_place(&mut self, step: &StepId, output: &Value, place: &str) {
        let schema = self.schema(step, |registry, name, version| {
            registry.output_schema(name, version)
        });
        let Some(schema) = schema.filter(|schema| touches_place(schema, "")) else {
            return;
        };
        let records = self.against.snapshot.steps.iter();
        let records = records.filter(|record| record.step.id.node == step.node);
        let gave: BTreeMap<&StepId, &Value> = records
            .filter_map(|record| Some((&record.step.id, record.step.output.as_ref()?)))
            .collect();
        let outputs = match output.as_array().filter(|_| self.is_list(step)) {
            Some(items) => (0..)
                .zip(items)
                .map(|(n, item)| (format!("{place}/{n}"), StepId::item(&step.node, n), item))
                .collect(),
            None => vec![(place.to_owned(), step.clone(), output)],
        };
        for (place, step, output) in outputs {
            for pointer in places(&schema, output) {
                let before = gave.get(&step).and_then(|before| before.pointer(&pointer));
                if before != output.pointer(&pointer) {
                    let message = format!(
                        "{step} says where the job writes to: only the step itself finds a place that is no other job's"
                    );
                    self.refuse(&format!("{place}{pointer}"), "place_fixed", message);
                }
            }
        }
    }

    /// Whether an output can be that of a step.
    fn output(&mut self, step: &StepId, output: &Value, place: &str) {
        let bytes = output.to_string().len();
        if bytes > limits::OUTPUT_BYTES && !self.is_list(step) {
            let message = format!(
                "the output is {bytes} bytes; the limit OUTPUT_BYTES is {}",
                limits::OUTPUT_BYTES
            );
            return self.refuse(place, "output_too_large", message);
        }
        let Some(schema) = self.schema(step, |registry, name, version| {
            registry.output_schema(name, version)
        }) else {
            return self.list_of(step, output, place);
        };
        if !self.is_list(step) {
            return self.misfits(misfits(&schema, output), (place, "bad_output"));
        }
        self.list_of(step, output, place);
        for (n, item) in output.as_array().into_iter().flatten().enumerate() {
            let place = format!("{place}/{n}");
            self.misfits(misfits(&schema, item), (&place, "bad_output"));
        }
    }

    /// All items of a fan-out yield a list, each a step.
    fn list_of(&mut self, step: &StepId, output: &Value, place: &str) {
        if !self.is_list(step) {
            return;
        }
        match output.as_array().map(Vec::len) {
            None => {
                let message =
                    format!("{step} runs over a list: supply a list with the output of each item");
                self.refuse(place, "bad_output", message);
            }
            Some(items) if items > limits::STEPS_PER_RUN => {
                let message = format!(
                    "the list has {items} items; the limit STEPS_PER_RUN is {}",
                    limits::STEPS_PER_RUN
                );
                self.refuse(place, "output_too_large", message);
            }
            Some(_) => {}
        }
    }

    fn misfits(&mut self, found: Vec<InputError>, (place, code): (&str, &'static str)) {
        for misfit in found {
            let pointer = format!("{place}{}", misfit.pointer);
            self.refuse(&pointer, code, misfit.message);
        }
    }

    fn set(&mut self, edits: &Edits) {
        for (text, values) in &edits.set {
            let place = format!("/set/{}", escape(text));
            let Some(step) = self.step(text, (&place, Asked::Set)) else {
                continue;
            };
            if values.is_empty() {
                let message = "nothing is set: name a member of the input, as /name".to_owned();
                self.refuse(&place, "bad_path", message);
            }
            let known = self.errors.len();
            self.paths(&step, values, &place);
            if self.errors.len() == known {
                self.inputs(&step, values, &place);
            }
            let changes = values.iter().map(|(path, value)| Edit::Set {
                step: step.clone(),
                path: path.clone(),
                value: value.clone(),
            });
            self.changes.extend(changes);
        }
    }

    /// Whether what is set can be part of any input.
    fn paths(&mut self, step: &StepId, values: &BTreeMap<String, Value>, place: &str) {
        let schema = self.schema(step, |registry, name, version| {
            registry.input_schema(name, version)
        });
        for (path, value) in values {
            let pointer = format!("{place}/{}", escape(path));
            if !path.starts_with('/') {
                let message = format!("{path:?} is no JSON pointer: write /{path}");
                self.refuse(&pointer, "bad_path", message);
                continue;
            }
            let Some(schema) = &schema else { continue };
            // What else is set within it may make it fit.
            let within = format!("{path}/");
            let is_whole = !values.keys().any(|other| other.starts_with(&within));
            match schema::check(schema, path, Some(value).filter(|_| is_whole)) {
                Err(Impossible::Place(why)) => {
                    self.refuse(&pointer, "unknown_path", format!("{step}: {why}"));
                }
                _ if touches_place(schema, path) => {
                    let message = format!(
                        "{path} says where {step} writes to: that is a place of this job, and no edit gives it another"
                    );
                    self.refuse(&pointer, "place_fixed", message);
                }
                Err(Impossible::Value(misfits)) => {
                    for misfit in misfits {
                        self.refuse(&pointer, "bad_value", format!("{step}: {misfit}"));
                    }
                }
                Ok(()) => {}
            }
        }
    }

    /// Values that hold no more.
    fn unset(&mut self, edits: &Edits) {
        for (text, paths) in &edits.unset {
            let place = format!("/unset/{}", escape(text));
            let Some(step) = self.step(text, (&place, Asked::Unset)) else {
                continue;
            };
            let known = self.against.snapshot.amendments.set.get(&step);
            if paths.is_empty() {
                let message = "nothing is named: name what was set, as /name".to_owned();
                self.refuse(&place, "bad_path", message);
            }
            for (n, path) in paths.iter().enumerate() {
                let pointer = format!("{place}/{n}");
                let set = edits.set.get(text);
                if set.is_some_and(|values| values.contains_key(path)) {
                    let message = format!("{step} cannot have {path} set and withdrawn at once");
                    self.refuse(&pointer, "conflicting_edits", message);
                } else if known.is_none_or(|values| !values.contains_key(path)) {
                    self.refuse(&pointer, "not_set", not_set(&step, path, known));
                }
                let (step, path) = (step.clone(), path.clone());
                self.changes.push(Edit::Unset { step, path });
            }
        }
    }

    /// Whether the inputs that are known still fit with what is set.
    fn inputs(&mut self, step: &StepId, values: &BTreeMap<String, Value>, place: &str) {
        let schema = self.schema(step, |registry, name, version| {
            registry.input_schema(name, version)
        });
        let against = self.against;
        // What another definition gives a step is known when it is read.
        let unread = against.adoption.map(Adoption::unread).unwrap_or_default();
        if unread.contains(step.node.as_str()) {
            return;
        }
        for record in &against.snapshot.steps {
            let Step { id, input, .. } = &record.step;
            let meant = id == step || (step.item.is_none() && id.node == step.node);
            let Some(mut input) = input.clone().filter(|_| meant) else {
                continue;
            };
            let known = self.errors.len();
            for (path, value) in values {
                if let Err(why) = put(&mut input, path, value) {
                    let pointer = format!("{place}/{}", escape(path));
                    self.refuse(&pointer, "unknown_path", format!("{path} {why}"));
                }
            }
            if let (Some(schema), true) = (&schema, self.errors.len() == known) {
                for misfit in misfits(schema, &input) {
                    let pointer = blamed(&misfit, values, place);
                    self.refuse(&pointer, "bad_value", format!("{id}: {misfit}"));
                }
            }
            // The items of a list are alike: what does not fit one is told once.
            if self.errors.len() > known {
                return;
            }
        }
    }

    /// What is asked of the run as a whole.
    fn run(&mut self, edits: &Edits) {
        if let Some(budget) = &edits.budget {
            let step = match &budget.step {
                Some(text) => match self.known_step(text, "/budget/step") {
                    Some(step) => Some(step),
                    None => return,
                },
                None => None,
            };
            let attempts = budget.attempts;
            if (1..=limits::ATTEMPTS_PER_STEP).contains(&attempts) {
                self.changes.push(Edit::Budget { attempts, step });
            } else {
                let message = format!(
                    "{attempts} attempts cannot be granted; it is 1 to {} (ATTEMPTS_PER_STEP)",
                    limits::ATTEMPTS_PER_STEP
                );
                self.refuse("/budget/attempts", "bad_budget", message);
            }
        }
        if let Some(name) = &edits.queue {
            match Queue::parse(name) {
                Some(queue) => self.changes.push(Edit::Queue { queue }),
                None => {
                    let known = Queue::ALL.map(Queue::as_str).join(", ");
                    let message = format!("there is no queue {name:?}; there are {known}");
                    self.refuse("/queue", "unknown_queue", message);
                }
            }
        }
        if let Some(priority) = edits.priority {
            if priority.abs() <= limits::PRIORITY {
                self.changes.push(Edit::Priority { priority });
            } else {
                let message = format!(
                    "a priority is at most {} from 0 (PRIORITY)",
                    limits::PRIORITY
                );
                self.refuse("/priority", "bad_priority", message);
            }
        }
    }

    /// Two edits that cannot both be.
    fn conflicts(&mut self) {
        let mut found = Vec::new();
        for (step, asked) in &self.steps {
            let of_node = (step.item.is_some())
                .then(|| self.steps.get(&StepId::single(&step.node)))
                .flatten();
            let others = of_node.into_iter().flatten();
            for (n, (what, place)) in asked.iter().enumerate() {
                let mut before = others.clone().chain(&asked[..n]);
                if let Some((_, other)) = before.find(|(other, _)| !other.goes_with(*what)) {
                    let message = format!("{step} cannot have this and {other} at once");
                    found.push((place.clone(), message));
                }
            }
        }
        for (place, message) in found {
            self.refuse(&place, "conflicting_edits", message);
        }
    }

    /// The step that a text names, if there is one; notes what is asked of it.
    fn step(&mut self, text: &str, (place, asked): (&str, Asked)) -> Option<StepId> {
        let step = self.known_step(text, place)?;
        let of_step = self.steps.entry(step.clone()).or_default();
        of_step.push((asked, place.to_owned()));
        Some(step)
    }

    fn known_step(&mut self, text: &str, place: &str) -> Option<StepId> {
        let step: StepId = match text.parse() {
            Ok(step) => step,
            Err(error) => {
                self.refuse(place, "unknown_step", error.to_string());
                return None;
            }
        };
        let Some(definition) = self.definition_of(&step) else {
            let known: Vec<&str> = self
                .against
                .definition
                .steps
                .keys()
                .map(String::as_str)
                .collect();
            let message = format!("the job has no step {text}; it has {}", known.join(", "));
            self.refuse(place, "unknown_step", message);
            return None;
        };
        if step.item.is_none() || (definition.for_each.is_some() && self.has_item(&step)) {
            return Some(step);
        }
        let message = match definition.for_each {
            None => format!("{} is one step and no list", step.node),
            Some(_) => format!(
                "the list of {} has no such item, or is not known yet",
                step.node
            ),
        };
        self.refuse(place, "unknown_step", message);
        None
    }

    fn has_item(&self, step: &StepId) -> bool {
        let node = self
            .against
            .snapshot
            .nodes
            .iter()
            .find(|node| node.name == step.node);
        let total = node.and_then(|node| node.total);
        matches!((step.item, total), (Some(item), Some(total)) if item < total)
    }

    fn definition_of(&self, step: &StepId) -> Option<&'a StepDef> {
        self.against.definition.steps.get(&step.node)
    }

    /// Whether all items of a fan-out are meant.
    fn is_list(&self, step: &StepId) -> bool {
        let definition = self.definition_of(step);
        step.item.is_none() && definition.is_some_and(|definition| definition.for_each.is_some())
    }

    /// A schema of the activity of a step, if it is installed.
    fn schema(
        &self,
        step: &StepId,
        which: impl Fn(&Registry, &str, u32) -> Option<Value>,
    ) -> Option<Value> {
        let activity = &self.definition_of(step)?.activity;
        which(self.against.registry, &activity.name, activity.version)
    }
}

/// That an earlier round set nothing there, and what it did set.
fn not_set(step: &StepId, path: &str, known: Option<&BTreeMap<String, Value>>) -> String {
    let set: Vec<&str> = known
        .into_iter()
        .flatten()
        .map(|(path, _)| path.as_str())
        .collect();
    match set.is_empty() {
        true => {
            format!("no earlier round set anything of {step}: what this plan sets, leave out of it")
        }
        false => format!(
            "no earlier round set {path} of {step}; it set {}",
            set.join(", ")
        ),
    }
}

/// Which of the values that were set is at fault when an input does not fit.
fn blamed(misfit: &InputError, values: &BTreeMap<String, Value>, place: &str) -> String {
    let related = |path: &&String| {
        misfit.pointer.starts_with(path.as_str()) || path.starts_with(misfit.pointer.as_str())
    };
    match values.keys().find(related) {
        Some(path) => format!("{place}/{}", escape(path)),
        None => place.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(mut input: Value, pointer: &str, value: Value) -> Result<Value, String> {
        put(&mut input, pointer, &value).map(|()| input)
    }

    #[test]
    fn a_value_is_put_where_its_pointer_says() {
        let input = json!({"a": {"b": [1, 2]}, "x/y": 1});
        let changed = |pointer: &str| with(input.clone(), pointer, json!(9)).unwrap();
        assert_eq!(changed("/a/b/1")["a"]["b"], json!([1, 9]));
        assert_eq!(changed("/a/new")["a"]["new"], json!(9));
        assert_eq!(changed("/x~1y")["x/y"], json!(9));
    }

    #[test]
    fn a_pointer_that_leads_nowhere_says_where_it_ends() {
        let input = json!({"a": {"b": [1]}});
        for (pointer, why) in [
            ("a", "begin with a slash"),
            ("/a/b/7", "no item of the list /a/b"),
            ("/a/c/d", "/a/c, which is not there"),
            ("/a/b/0/c", "/a/b/0, which has no members"),
        ] {
            let told = with(input.clone(), pointer, json!(9)).unwrap_err();
            assert!(told.contains(why), "{pointer}: {told}");
        }
    }
}
