//! The objects that steps read beside the job's own source, such as a watermark: what was made of one is kept
//! for as long as that one is there under its name.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::compute::Planner;
use super::{PlannedStep, Reason};
use crate::activity::{compat, differs_in_objects};
use crate::id::StepId;
use crate::retry::policy::OBJECT_MISSING;
use crate::retry::reuse::{self, Beside, Difference, difference};
use crate::retry::world::{Installed, Source};
use crate::run::StepRecord;

/// What a checkpoint is worth to the activity that is installed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It goes on from it; taken for granted of what is not known here.
    Fits,
    /// It is another activity now, or uses other tools.
    OtherActivity,
    /// An object that was read is another one now.
    OtherObject,
}

/// What steps that are to run need back.
#[derive(Debug, Default)]
pub(super) struct Missing<'p> {
    /// Names of objects, each with the first step that reads it.
    pub(super) gone: BTreeMap<&'p str, &'p StepId>,
    /// Steps that missed an object, and whose objects are all known now: there, or among those that are gone.
    pub(super) known: BTreeSet<&'p StepId>,
}

impl<'s> Planner<'s> {
    /// The first object that a step was made of and that is another one now.
    pub(super) fn replaced(&self, record: &StepRecord) -> Option<Difference> {
        let beside = &self.given.world.beside;
        if beside.is_empty() {
            return None;
        }
        let (input, made) = (record.step.input.as_ref()?, record.made.as_ref()?);
        made.sources.iter().find_map(|(pointer, before)| {
            let now = beside.get(input.pointer(pointer)?.as_str()?)?.as_ref()?;
            let (before, now) = (json!(before), json!(now));
            difference(&format!("/input{pointer}"), Some(&before), Some(&now))
        })
    }

    /// What the checkpoint of a step is worth.
    pub(super) fn fit(&self, record: &StepRecord) -> Fit {
        let installed = self.given.world.activities.get(&record.step.activity);
        let (Some(installed), Some(made_by)) = (installed, &record.compat) else {
            return Fit::Fits;
        };
        let looked_at = |name: &str| {
            let found = self.given.world.beside.get(name)?.clone()?;
            Some((name.to_owned(), Some(found)))
        };
        let names = self.beside(record, installed);
        // What is gone, the attempt needs back; what could not be looked at, it looks at itself.
        let beside: Option<Beside> = names.into_iter().map(looked_at).collect();
        let input = record.step.input.clone().unwrap_or_default();
        let (activity, tools) = (&record.step.activity, &installed.fingerprint);
        let now = compat(activity, tools, &input, &beside.clone().unwrap_or_default());
        match (differs_in_objects(made_by, &now), beside) {
            (true, Some(_)) => Fit::OtherObject,
            (true, None) => Fit::Fits,
            (false, _) if *made_by == now => Fit::Fits,
            (false, _) => Fit::OtherActivity,
        }
    }

    fn beside<'r>(&self, record: &'r StepRecord, installed: &Installed) -> BTreeSet<&'r str> {
        let input = record.step.input.as_ref();
        let beside = input.map(|input| reuse::beside(&installed.input, input, self.own_source()));
        beside.unwrap_or_default()
    }

    /// What steps need back that are to run.
    pub(super) fn missing<'p>(&self, steps: &'p [PlannedStep]) -> Missing<'p>
    where
        's: 'p,
    {
        let world = self.given.world;
        let mut missing = Missing::default();
        let missed = |step: &PlannedStep| {
            let error = step.error.as_ref();
            error.is_some_and(|error| error.code == OBJECT_MISSING)
        };
        let any_gone = world.beside.values().any(Option::is_none);
        let runs = steps.iter().filter(|step| step.runs());
        for step in runs.filter(|step| any_gone || missed(step)) {
            // It is given something else now.
            if step.reason == Reason::ParamsChanged {
                missing.known.insert(&step.id);
                continue;
            }
            let mut records = self.steps_of(&step.id.node);
            let Some(record) = records.find(|record| record.step.id == step.id) else {
                continue;
            };
            let Some(installed) = world.activities.get(&record.step.activity) else {
                continue;
            };
            let names = self.beside(record, installed);
            let own = self.names_source(record);
            let own_is_known = !own || world.source == Source::Same;
            let all_known = names.iter().all(|name| world.beside.contains_key(*name));
            if all_known && own_is_known && (own || !names.is_empty()) {
                missing.known.insert(&step.id);
            }
            for name in names {
                if world.beside.get(name) == Some(&None) {
                    missing.gone.entry(name).or_insert(&step.id);
                }
            }
        }
        missing
    }
}
