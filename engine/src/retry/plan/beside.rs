//! The objects that steps read beside the job's own source, such as a watermark: what was made of one is kept
//! for as long as that one is there under its name.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};

use super::compute::Planner;
use super::{Action, PlannedStep, Reason};
use crate::activity::{ErrorClass, compat, differs_in_objects};
use crate::id::StepId;
use crate::retry::policy::OBJECT_MISSING;
use crate::retry::reuse::{self, Beside, Difference, SourceIdentity, difference};
use crate::retry::world::Source;
use crate::run::{Failure, StepRecord};

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

/// What steps lack, or need otherwise than it is.
#[derive(Debug, Default)]
pub(super) struct Lacking<'p> {
    /// Names of objects that are gone, each with the first step that reads it.
    pub(super) gone: BTreeMap<String, &'p StepId>,
    /// The first of them that each step reads.
    pub(super) of_step: BTreeMap<&'p StepId, String>,
    /// Steps that missed an object of which is known what has become of it: it is there, it is in `gone`, or
    /// they read another one now.
    pub(super) known: BTreeSet<&'p StepId>,
    /// Steps that cannot succeed with an object beside the source.
    pub(super) misfits: BTreeSet<&'p StepId>,
}

impl Planner<'_> {
    /// The first object that a step was made of and that is another one now.
    pub(super) fn replaced(&self, record: &StepRecord) -> Option<Difference> {
        self.made_of(record).find_map(|(pointer, before, now)| {
            let (before, now) = (json!(before), json!(now?));
            difference(&format!("/input{pointer}"), Some(&before), Some(&now))
        })
    }

    /// Whether an object is gone that a step was made of.
    pub(super) fn lacks(&self, record: &StepRecord) -> bool {
        self.made_of(record).any(|(_, _, now)| now.is_none())
    }

    /// The objects beside the source that a step was made of, as far as they were looked at: where its input names
    /// them, what they were like, and what is there now.
    fn made_of<'r>(
        &self,
        record: &'r StepRecord,
    ) -> impl Iterator<Item = (&'r str, &'r SourceIdentity, Option<&SourceIdentity>)> {
        let beside = &self.given.world.beside;
        let made = record.made.as_ref().filter(|_| !beside.is_empty());
        let sources = made.into_iter().flat_map(|made| &made.sources);
        sources.filter_map(|(pointer, before)| {
            let name = record.step.input.as_ref()?.pointer(pointer)?.as_str()?;
            Some((pointer.as_str(), before, beside.get(name)?.as_ref()))
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
        let input = record.step.input.clone().unwrap_or_default();
        let names = self.beside(&record.step.activity, &input);
        // What is gone, the attempt needs back; what could not be looked at, it looks at itself.
        let beside: Option<Beside> = names.into_iter().map(looked_at).collect();
        let (activity, tools) = (&record.step.activity, &installed.fingerprint);
        let now = compat(activity, tools, &input, &beside.clone().unwrap_or_default());
        match (differs_in_objects(made_by, &now), beside) {
            (true, Some(_)) => Fit::OtherObject,
            (true, None) => Fit::Fits,
            (false, _) if *made_by == now => Fit::Fits,
            (false, _) => Fit::OtherActivity,
        }
    }

    /// The names of the objects beside the source that an activity reads of such an input.
    fn beside<'i>(&self, activity: &str, input: &'i Value) -> BTreeSet<&'i str> {
        let installed = self.given.world.activities.get(activity);
        let schema = installed.and_then(|installed| installed.names_sources.as_ref());
        let names = schema.map(|schema| reuse::beside(schema, input, self.own_source()));
        names.unwrap_or_default()
    }

    /// What the steps of a plan lack.
    pub(super) fn lacking<'p>(&self, steps: &'p [PlannedStep]) -> Lacking<'p> {
        let mut lacking = Lacking::default();
        let any_gone = self.given.world.beside.values().any(Option::is_none);
        let is_asked = |step: &&PlannedStep| {
            let failed = step.error.is_some() && (step.runs() || step.action == Action::Blocked);
            failed || (any_gone && (step.runs() || step.reason == Reason::InputChanged))
        };
        let asked: Vec<&PlannedStep> = steps.iter().filter(is_asked).collect();
        if asked.is_empty() {
            return lacking;
        }
        let records = self.given.snapshot.steps.iter();
        let records: HashMap<&StepId, &StepRecord> =
            records.map(|record| (&record.step.id, record)).collect();
        for step in asked {
            if let Some(record) = records.get(&step.id) {
                self.ask(step, record, &mut lacking);
            }
        }
        lacking
    }

    /// What one step lacks. What it reads of another step is that one's to make.
    fn ask<'p>(&self, step: &'p PlannedStep, record: &StepRecord, lacking: &mut Lacking<'p>) {
        let world = self.given.world;
        let activity = &record.step.activity;
        let before = record.step.input.clone().unwrap_or_default();
        let mut now = before.clone();
        // An edit that cannot be followed is told as such.
        let _ = self.wanted.sets.apply(&step.id, &mut now);
        let (named, names) = (self.beside(activity, &before), self.beside(activity, &now));
        if let Some(error) = &step.error {
            let missed = |name: &&str| is_about(error, name);
            let own = self.own_source().filter(|_| self.names_source(record));
            let known = match named.iter().copied().find(|name| missed(name)) {
                Some(name) => !names.contains(name) || world.beside.contains_key(name),
                None => own.is_some_and(|own| missed(&own)) && world.source == Source::Same,
            };
            if known {
                lacking.known.insert(&step.id);
            }
            let misfit = error.class == ErrorClass::Input && error.code != OBJECT_MISSING;
            if misfit && !named.is_empty() && own.is_none() {
                lacking.misfits.insert(&step.id);
            }
        }
        if step.reason == Reason::UpstreamChanged || step.reason == Reason::FailedPermanent {
            return;
        }
        for name in names {
            if world.beside.get(name) == Some(&None) {
                lacking.gone.entry(name.to_owned()).or_insert(&step.id);
                let first = lacking.of_step.entry(&step.id);
                first.or_insert_with(|| name.to_owned());
            }
        }
    }

    /// What became of the objects in whose place others are now, of the steps that run for that: executing a
    /// plan is bound to them.
    pub(super) fn replacements(&self, steps: &[PlannedStep]) -> Beside {
        let beside = &self.given.world.beside;
        let changed: BTreeSet<&StepId> = steps
            .iter()
            .filter(|step| !beside.is_empty() && step.reason == Reason::InputChanged)
            .map(|step| &step.id)
            .collect();
        let mut found = Beside::new();
        if changed.is_empty() {
            return found;
        }
        let records = self.given.snapshot.steps.iter();
        for record in records.filter(|record| changed.contains(&record.step.id)) {
            let input = record.step.input.clone().unwrap_or_default();
            for name in self.beside(&record.step.activity, &input) {
                if let Some(now) = beside.get(name) {
                    found.insert(name.to_owned(), now.clone());
                }
            }
        }
        found
    }
}

/// Whether a step failed because it missed an object of that name: one word of what it said.
fn is_about(error: &Failure, name: &str) -> bool {
    let mut words = error.message.split_whitespace();
    error.code == OBJECT_MISSING && words.any(|word| word.trim_end_matches([',', ':', ';']) == name)
}
