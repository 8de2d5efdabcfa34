//! What is written, as columns: a statement takes one array for each, and unnests them side by side.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use telecine_engine::id::{RunId, StepId};
use telecine_engine::machine::Changes;
use telecine_engine::objects::StoredArtifact;
use telecine_engine::retry::reuse::Made;
use telecine_engine::run::{Event, Run};
use telecine_engine::store::rows::EventRow;
use telecine_engine::store::{Admission, AttemptEnd, Premises};

use super::rows::Save;
use super::{Placed, json};
use crate::error::Error;
use crate::rows::{StepKeys, clean, count, item, narrow_count};

/// What a part of the statement takes.
pub(super) trait Columns: Send {
    /// How many rows there are.
    fn len(&self) -> usize;

    /// Binds all columns, in the order of the part's parameters.
    fn bind(self: Box<Self>, save: Save, now: DateTime<Utc>) -> Save;
}

/// Runs that are about to be made as `take_requests.sql` takes them.
#[derive(Default)]
pub(crate) struct Admissions<'a> {
    pub(crate) fingerprints: Vec<&'a str>,
    pub(crate) runs: Vec<&'a str>,
    /// Fingerprints that are taken from whoever has them.
    pub(crate) forced: Vec<&'a str>,
}

impl<'a> FromIterator<&'a Admission> for Admissions<'a> {
    fn from_iter<I: IntoIterator<Item = &'a Admission>>(wanted: I) -> Self {
        let mut admissions = Self::default();
        for new in wanted {
            admissions.fingerprints.push(&new.fingerprint);
            admissions.runs.push(new.run.as_str());
            if new.force {
                admissions.forced.push(&new.fingerprint);
            }
        }
        admissions
    }
}

/// What has to be so, as the parts up to `premises.sql` take it.
pub(super) struct Grounds<'a> {
    sessions: Vec<&'a str>,
    admissions: Admissions<'a>,
    runs: Vec<&'a str>,
    revisions: Vec<i64>,
}

impl<'a> Grounds<'a> {
    /// Fingerprints come in their order, so that statements that take the same ones wait for each other and not
    /// in a circle.
    pub(super) fn of(premises: &'a Premises) -> Self {
        let mut admissions: Vec<_> = premises.admissions.iter().collect();
        admissions.sort_by_key(|new| &new.fingerprint);
        Self {
            sessions: premises.sessions.iter().map(|id| id.as_str()).collect(),
            admissions: admissions.into_iter().collect(),
            runs: premises.runs.keys().map(|id| id.as_str()).collect(),
            revisions: premises.runs.values().copied().map(count).collect(),
        }
    }
}

impl Columns for Grounds<'_> {
    fn len(&self) -> usize {
        self.sessions.len() + self.admissions.runs.len() + self.runs.len()
    }

    fn bind(self: Box<Self>, save: Save, _: DateTime<Utc>) -> Save {
        let (sessions, runs) = (self.sessions.len() as u64, self.runs.len() as u64);
        let Admissions {
            fingerprints,
            runs: new,
            forced,
        } = self.admissions;
        save.bind(self.sessions)
            .bind(forced.clone())
            .bind(fingerprints)
            .bind(new.clone())
            .bind(forced)
            .bind(count(sessions))
            .bind(new)
            .bind(self.runs)
            .bind(self.revisions)
            .bind(count(runs))
    }
}

/// Runs as `create_runs.sql` takes them.
#[derive(Default)]
pub(super) struct NewRuns<'a> {
    ids: Vec<&'a str>,
    workflows: Vec<&'a str>,
    versions: Vec<i32>,
    definitions: Vec<&'a str>,
    status: Vec<&'static str>,
    rounds: Vec<i32>,
    revisions: Vec<i64>,
    events: Vec<i64>,
    nodes: Vec<String>,
    inputs: Vec<String>,
    fingerprints: Vec<&'a str>,
    sources: Vec<&'a str>,
    media: Vec<&'a str>,
    labels: Vec<String>,
    outputs: Vec<Option<String>>,
    errors: Vec<Option<String>>,
    created: Vec<DateTime<Utc>>,
    started: Vec<Option<DateTime<Utc>>>,
    ended: Vec<Option<DateTime<Utc>>>,
    queues: Vec<&'static str>,
    priorities: Vec<i32>,
}

impl<'a> NewRuns<'a> {
    pub(super) fn push(&mut self, run: &'a Run, changes: &Changes) -> Result<(), Error> {
        self.ids.push(run.id.as_str());
        self.workflows.push(&run.workflow);
        self.versions.push(narrow_count(run.version));
        self.definitions.push(&run.definition);
        self.status.push(run.status.as_str());
        self.rounds.push(narrow_count(run.round));
        self.revisions.push(count(run.revision));
        self.events.push(count(run.events));
        self.nodes.push(serde_json::to_string(&changes.nodes)?);
        self.inputs.push(serde_json::to_string(&run.input)?);
        self.fingerprints.push(&run.fingerprint);
        self.sources.push(&run.stores.source);
        self.media.push(&run.stores.media);
        self.labels.push(serde_json::to_string(&run.labels)?);
        self.outputs.push(json(run.output.as_ref())?);
        self.errors.push(json(run.error.as_ref())?);
        self.created.push(run.created_at);
        self.started.push(run.started_at);
        self.ended.push(run.ended_at);
        self.queues.push(run.queue.as_str());
        self.priorities.push(run.priority);
        Ok(())
    }
}

impl Columns for NewRuns<'_> {
    fn len(&self) -> usize {
        self.ids.len()
    }

    fn bind(self: Box<Self>, save: Save, _: DateTime<Utc>) -> Save {
        save.bind(self.ids)
            .bind(self.workflows)
            .bind(self.versions)
            .bind(self.definitions)
            .bind(self.status)
            .bind(self.rounds)
            .bind(self.revisions)
            .bind(self.events)
            .bind(self.nodes)
            .bind(self.inputs)
            .bind(self.fingerprints)
            .bind(self.sources)
            .bind(self.media)
            .bind(self.labels)
            .bind(self.outputs)
            .bind(self.errors)
            .bind(self.created)
            .bind(self.started)
            .bind(self.ended)
            .bind(self.queues)
            .bind(self.priorities)
    }
}

/// Headers as `save_runs.sql` takes them.
#[derive(Default)]
pub(super) struct Headers<'a> {
    runs: Vec<&'a str>,
    nodes: Vec<String>,
    events: Vec<i64>,
    status: Vec<&'static str>,
    rounds: Vec<i32>,
    revisions: Vec<i64>,
    outputs: Vec<Option<String>>,
    errors: Vec<Option<String>>,
    started: Vec<Option<DateTime<Utc>>>,
    ended: Vec<Option<DateTime<Utc>>>,
}

impl<'a> Headers<'a> {
    pub(super) fn push(&mut self, run: &'a Run, changes: &Changes) -> Result<(), Error> {
        self.runs.push(run.id.as_str());
        self.nodes.push(serde_json::to_string(&changes.nodes)?);
        self.events.push(count(run.events));
        self.status.push(run.status.as_str());
        self.rounds.push(narrow_count(run.round));
        self.revisions.push(count(run.revision));
        self.outputs.push(json(run.output.as_ref())?);
        self.errors.push(json(run.error.as_ref())?);
        self.started.push(run.started_at);
        self.ended.push(run.ended_at);
        Ok(())
    }
}

impl Columns for Headers<'_> {
    fn len(&self) -> usize {
        self.runs.len()
    }

    fn bind(self: Box<Self>, save: Save, _: DateTime<Utc>) -> Save {
        save.bind(self.runs)
            .bind(self.nodes)
            .bind(self.events)
            .bind(self.status)
            .bind(self.rounds)
            .bind(self.revisions)
            .bind(self.outputs)
            .bind(self.errors)
            .bind(self.started)
            .bind(self.ended)
    }
}

/// Steps as `close_steps.sql` takes them.
#[derive(Default)]
pub(super) struct Closed<'a> {
    runs: Vec<&'a str>,
    positions: Vec<i32>,
    items: Vec<i32>,
}

impl<'a> Closed<'a> {
    pub(super) fn push(&mut self, placed: &Placed<'a>) {
        self.runs.push(placed.run.as_str());
        self.positions.push(placed.place);
        self.items.push(item(&placed.step.id));
    }
}

impl Columns for Closed<'_> {
    fn len(&self) -> usize {
        self.runs.len()
    }

    fn bind(self: Box<Self>, save: Save, _: DateTime<Utc>) -> Save {
        save.bind(self.runs).bind(self.positions).bind(self.items)
    }
}

/// Steps as `open_steps.sql` takes them.
#[derive(Default)]
pub(super) struct Opened<'a> {
    keys: StepKeys<'a>,
    positions: Vec<i32>,
    activities: Vec<&'a str>,
    kinds: Vec<&'a str>,
    ranks: Vec<i64>,
}

impl<'a> Opened<'a> {
    pub(super) fn push(&mut self, placed: &Placed<'a>, (kind, rank): (&'a str, i64)) {
        self.keys.push(placed.run, &placed.step.id);
        self.positions.push(placed.place);
        self.activities.push(&placed.step.activity);
        self.kinds.push(kind);
        self.ranks.push(rank);
    }
}

impl Columns for Opened<'_> {
    fn len(&self) -> usize {
        self.positions.len()
    }

    fn bind(self: Box<Self>, save: Save, _: DateTime<Utc>) -> Save {
        save.bind(self.keys.runs)
            .bind(self.keys.nodes)
            .bind(self.keys.items)
            .bind(self.positions)
            .bind(self.activities)
            .bind(self.kinds)
            .bind(self.ranks)
    }
}

/// Steps as `save_steps.sql` and `update_steps.sql` take them.
#[derive(Default)]
pub(super) struct StepColumns<'a> {
    keys: StepKeys<'a>,
    positions: Vec<i32>,
    activities: Vec<&'a str>,
    status: Vec<&'static str>,
    inputs: Vec<Option<String>>,
    outputs: Vec<Option<String>>,
    errors: Vec<Option<String>>,
    reasons: Vec<Option<String>>,
    fences: Vec<i64>,
    attempts: Vec<i32>,
    charged: Vec<i32>,
    losses: Vec<i32>,
    checkpoint_failures: Vec<i32>,
    sessions: Vec<Option<&'a str>>,
    due: Vec<Option<DateTime<Utc>>>,
    deadlines: Vec<Option<DateTime<Utc>>>,
    progress: Vec<Option<String>>,
    warnings: Vec<String>,
    rounds: Vec<i32>,
    started: Vec<Option<DateTime<Utc>>>,
    ended: Vec<Option<DateTime<Utc>>>,
    outages: Vec<i32>,
    claimed: Vec<Option<DateTime<Utc>>>,
    resumed: Vec<Option<i64>>,
}

impl<'a> StepColumns<'a> {
    pub(super) fn of(
        steps: &[&Placed<'a>],
        made_before: &HashMap<(String, String, i32), i32>,
    ) -> Result<Self, Error> {
        let mut columns = Self::default();
        for placed in steps {
            columns.push(placed, made_before)?;
        }
        Ok(columns)
    }

    fn push(
        &mut self,
        placed: &Placed<'a>,
        made_before: &HashMap<(String, String, i32), i32>,
    ) -> Result<(), Error> {
        let Placed { run, step, .. } = *placed;
        let attempts = narrow_count(step.attempts);
        let key = (run.to_string(), step.id.node.clone(), item(&step.id));
        let before = made_before.get(&key).copied().unwrap_or_default();
        self.keys.push(run, &step.id);
        self.positions.push(placed.place);
        self.activities.push(&step.activity);
        self.status.push(step.status.as_str());
        self.inputs.push(json(step.input.as_ref())?);
        self.outputs.push(json(step.output.as_ref())?);
        self.errors.push(json(step.error.as_ref())?);
        self.reasons.push(
            step.reason
                .as_deref()
                .map(|reason| clean(reason).into_owned()),
        );
        self.fences.push(count(step.fence));
        self.attempts.push(attempts.max(before));
        self.charged.push(narrow_count(step.charged));
        self.losses.push(narrow_count(step.losses));
        self.checkpoint_failures
            .push(narrow_count(step.checkpoint_failures));
        let running = step.running.as_deref();
        self.sessions
            .push(running.map(|running| running.session.as_str()));
        self.due.push(step.due_at);
        self.deadlines.push(step.deadline_at);
        self.progress.push(json(step.progress.as_ref())?);
        self.warnings.push(serde_json::to_string(&step.warnings)?);
        self.rounds.push(narrow_count(step.round));
        self.started.push(step.started_at);
        self.ended.push(step.ended_at);
        self.outages.push(narrow_count(step.outages));
        self.claimed.push(running.map(|running| running.claimed_at));
        let resumed = running.and_then(|running| running.resumed_from);
        self.resumed.push(resumed.map(count));
        Ok(())
    }
}

impl Columns for StepColumns<'_> {
    fn len(&self) -> usize {
        self.positions.len()
    }

    fn bind(self: Box<Self>, save: Save, _: DateTime<Utc>) -> Save {
        save.bind(self.keys.runs)
            .bind(self.keys.nodes)
            .bind(self.keys.items)
            .bind(self.positions)
            .bind(self.activities)
            .bind(self.status)
            .bind(self.inputs)
            .bind(self.outputs)
            .bind(self.errors)
            .bind(self.reasons)
            .bind(self.fences)
            .bind(self.attempts)
            .bind(self.charged)
            .bind(self.losses)
            .bind(self.checkpoint_failures)
            .bind(self.sessions)
            .bind(self.due)
            .bind(self.deadlines)
            .bind(self.progress)
            .bind(self.warnings)
            .bind(self.rounds)
            .bind(self.started)
            .bind(self.ended)
            .bind(self.outages)
            .bind(self.claimed)
            .bind(self.resumed)
    }
}

/// Attempts as `end_attempts.sql` takes them.
#[derive(Default)]
pub(super) struct Ended<'a> {
    keys: StepKeys<'a>,
    numbers: Vec<i32>,
    rounds: Vec<i32>,
    sessions: Vec<&'a str>,
    claimed: Vec<DateTime<Utc>>,
    resumed: Vec<Option<i64>>,
    outcomes: Vec<&'static str>,
    seconds: Vec<f64>,
    bytes: Vec<i64>,
    processors: Vec<Option<i32>>,
    errors: Vec<Option<String>>,
}

impl<'a> Ended<'a> {
    pub(super) fn push(&mut self, run: &'a RunId, end: &'a AttemptEnd) -> Result<(), Error> {
        self.keys.push(run, &end.step);
        self.numbers.push(narrow_count(end.n));
        self.rounds.push(narrow_count(end.round));
        self.sessions.push(end.began.session.as_str());
        self.claimed.push(end.began.claimed_at);
        self.resumed.push(end.began.resumed_from.map(count));
        self.outcomes.push(end.outcome.as_str());
        self.seconds.push(end.usage.cpu_s);
        self.bytes.push(count(end.usage.max_rss_bytes));
        self.processors.push(end.usage.processors.map(narrow_count));
        self.errors.push(json(end.error.as_ref())?);
        Ok(())
    }
}

impl Columns for Ended<'_> {
    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn bind(self: Box<Self>, save: Save, now: DateTime<Utc>) -> Save {
        save.bind(self.keys.runs)
            .bind(self.keys.nodes)
            .bind(self.keys.items)
            .bind(self.numbers)
            .bind(self.rounds)
            .bind(self.sessions)
            .bind(self.claimed)
            .bind(self.resumed)
            .bind(self.outcomes)
            .bind(self.seconds)
            .bind(self.bytes)
            .bind(self.processors)
            .bind(self.errors)
            .bind(now)
    }
}

/// Events as `save_events.sql` and `save_feed.sql` take them.
#[derive(Default)]
pub(super) struct Events<'a> {
    runs: Vec<&'a str>,
    numbers: Vec<i64>,
    kinds: Vec<&'a str>,
    steps: Vec<Option<String>>,
    data: Vec<String>,
    earlier: Vec<Option<String>>,
    /// What the feed is told: runs, each with the keys of the first and the last row.
    told: Vec<&'a str>,
    first: Vec<i64>,
    last: Vec<i64>,
}

impl<'a> Events<'a> {
    /// Events of a run, of which the first has that number.
    pub(super) fn push(
        &mut self,
        run: &'a RunId,
        (first, events): (u64, &'a [Event]),
    ) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let (first_row, last) = EventRow::ends(first, events.len());
        self.told.push(run.as_str());
        self.first.push(count(first_row));
        self.last.push(count(last));
        for row in EventRow::of(first, events) {
            self.runs.push(run.as_str());
            self.numbers.push(count(row.seq));
            self.kinds.push(row.last.kind.as_str());
            self.steps
                .push(row.last.step.as_ref().map(ToString::to_string));
            self.data.push(serde_json::to_string(&row.last.data)?);
            let earlier = Some(row.earlier).filter(|earlier| !earlier.is_empty());
            self.earlier.push(json(earlier.as_ref())?);
        }
        Ok(())
    }
}

impl Columns for Events<'_> {
    fn len(&self) -> usize {
        self.runs.len()
    }

    fn bind(self: Box<Self>, save: Save, now: DateTime<Utc>) -> Save {
        save.bind(self.runs)
            .bind(self.numbers)
            .bind(self.kinds)
            .bind(self.steps)
            .bind(self.data)
            .bind(self.earlier)
            .bind(now)
            .bind(self.told)
            .bind(self.first)
            .bind(self.last)
    }
}

/// Objects as `save_artifacts.sql` takes them.
#[derive(Default)]
pub(super) struct Objects<'a> {
    keys: StepKeys<'a>,
    names: Vec<Cow<'a, str>>,
    sizes: Vec<i64>,
    digests: Vec<&'a str>,
    types: Vec<&'a str>,
    etags: Vec<Option<&'a str>>,
}

impl<'a> Objects<'a> {
    /// What steps left, each named once.
    pub(super) fn push(
        &mut self,
        run: &'a RunId,
        (step, artifacts): (&'a StepId, &'a [StoredArtifact]),
    ) {
        // One statement cannot write a row twice: of objects named twice, the last counts.
        let mut named = HashSet::new();
        let mut distinct: Vec<&StoredArtifact> = artifacts
            .iter()
            .rev()
            .filter(|artifact| named.insert(artifact.key.as_str()))
            .collect();
        distinct.reverse();
        for artifact in distinct {
            self.keys.push(run, step);
            self.names.push(clean(&artifact.key));
            self.sizes.push(count(artifact.size));
            self.digests.push(&artifact.sha256);
            self.types.push(&artifact.media_type);
            self.etags.push(artifact.etag.as_deref());
        }
    }
}

impl Columns for Objects<'_> {
    fn len(&self) -> usize {
        self.names.len()
    }

    fn bind(self: Box<Self>, save: Save, _: DateTime<Utc>) -> Save {
        save.bind(self.keys.runs)
            .bind(self.keys.nodes)
            .bind(self.keys.items)
            .bind(self.names)
            .bind(self.sizes)
            .bind(self.digests)
            .bind(self.types)
            .bind(self.etags)
    }
}

/// What reuse keys are made of, as `save_made.sql` takes it.
#[derive(Default)]
pub(super) struct KeyParts<'a> {
    keys: StepKeys<'a>,
    values: Vec<String>,
}

impl<'a> KeyParts<'a> {
    pub(super) fn push(
        &mut self,
        run: &'a RunId,
        (step, made): (&'a StepId, &Made),
    ) -> Result<(), Error> {
        self.keys.push(run, step);
        self.values.push(serde_json::to_string(made)?);
        Ok(())
    }
}

impl Columns for KeyParts<'_> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn bind(self: Box<Self>, save: Save, _: DateTime<Utc>) -> Save {
        save.bind(self.keys.runs)
            .bind(self.keys.nodes)
            .bind(self.keys.items)
            .bind(self.values)
    }
}
