//! What must hold of plans.

use std::collections::{BTreeMap, BTreeSet};

use telecine_engine::definition::{Definition, Scope};
use telecine_engine::id::{PlanId, StepId};
use telecine_engine::retry::edits::Edit;
use telecine_engine::retry::plan::{Action, Given, PlannedStep, Reason, RetryPlan, compute};
use telecine_engine::retry::world::{Source, Verdict, World};
use telecine_engine::run::{AttemptOutcome, RunStatus, Snapshot, Step, StepRecord, StepStatus};

use super::Publication;
use crate::sim::Model;

/// Of a plan as it is shown.
pub(super) fn plan(plan: &RetryPlan, given: Given<'_>) {
    let Given {
        snapshot, world, ..
    } = given;
    let definition = given.onto.unwrap_or(given.definition);
    nothing_is_kept_behind_what_changes(plan, definition);
    every_step_has_one_entry(plan, (snapshot, definition));
    nothing_is_kept_that_would_be_made_from_something_else(plan, given);
    nothing_is_kept_whose_proof_fails(plan, (snapshot, world));
    every_cause_moves(plan, snapshot);
    what_somebody_left_out_stays_out(plan, snapshot);
    let blocked = plan.steps.iter().any(|step| step.action == Action::Blocked);
    assert!(
        !(plan.executable && blocked),
        "a blocked plan can be executed: {plan:#?}"
    );
    looking_changes_nothing(plan, given);
}

/// Whether a plan says that it cannot be executed because it would change what is published.
pub(super) fn changes_what_is_published(plan: &RetryPlan) -> bool {
    let mut warnings = plan.warnings.iter();
    warnings.any(|warning| warning.contains("has published what"))
}

fn every_step_has_one_entry(plan: &RetryPlan, (snapshot, definition): (&Snapshot, &Definition)) {
    let mut entries: BTreeMap<&StepId, u32> = BTreeMap::new();
    for step in &plan.steps {
        *entries.entry(&step.id).or_default() += 1;
    }
    assert!(entries.values().all(|count| *count == 1), "{plan:#?}");
    for name in definition.steps.keys() {
        let group = entries.contains_key(&StepId::single(name));
        let items = plan.steps.iter().filter(|step| step.id.node == *name);
        let items = items.count();
        assert!(
            items > 0 && (!group || items == 1),
            "{name} {items} times: {plan:#?}"
        );
    }
    let unknown = entries
        .keys()
        .find(|id| !definition.steps.contains_key(&id.node));
    assert_eq!(unknown, None, "{plan:#?}");
    for record in &snapshot.steps {
        let id = &record.step.id;
        if !definition.steps.contains_key(&id.node) {
            continue;
        }
        let of_node = StepId::single(&id.node);
        let told = entries.contains_key(id) || entries.contains_key(&of_node);
        assert!(told, "{id} has no entry: {plan:#?}");
    }
}

fn nothing_is_kept_whose_proof_fails(plan: &RetryPlan, (snapshot, world): (&Snapshot, &World)) {
    let records: BTreeMap<&StepId, &StepRecord> =
        snapshot.steps.iter().map(|it| (&it.step.id, it)).collect();
    for step in &plan.steps {
        let Some(record) = records.get(&step.id) else {
            continue;
        };
        let is_bad = |key: &str| {
            world
                .verdicts
                .get(key)
                .is_some_and(|it| *it != Verdict::Present)
        };
        let bad: BTreeSet<&str> = record
            .artifacts
            .iter()
            .map(|artifact| artifact.key.as_str())
            .filter(|key| is_bad(key))
            .collect();
        match (step.action, step.reason) {
            (Action::Reuse, Reason::Succeeded) => {
                assert!(bad.is_empty(), "{} stands on {bad:?}", step.id);
                assert_eq!(record.step.status, StepStatus::Succeeded, "{}", step.id);
                let reads = record
                    .step
                    .input
                    .as_ref()
                    .is_some_and(|it| it.get("source").is_some());
                let replaced = matches!(world.source, Source::Replaced(_));
                assert!(!(reads && replaced), "{} is of another source", step.id);
            }
            (Action::Reuse, reason) => assert_eq!(reason, Reason::SuppliedByOperator),
            (Action::Resume, _) => {
                let again: BTreeSet<&str> = step.damaged.iter().map(String::as_str).collect();
                assert!(again.is_superset(&bad), "{} leaves {bad:?}", step.id);
            }
            _ => {}
        }
    }
}

/// What is kept under another definition was made by the activity and from the input that this one gives.
fn nothing_is_kept_that_would_be_made_from_something_else(plan: &RetryPlan, given: Given<'_>) {
    let Given { snapshot, onto, .. } = given;
    let Some(onto) = onto else { return };
    let records: BTreeMap<&StepId, &StepRecord> =
        snapshot.steps.iter().map(|it| (&it.step.id, it)).collect();
    let kept = |step: &&PlannedStep| {
        step.action == Action::Resume
            || (step.action, step.reason) == (Action::Reuse, Reason::Succeeded)
    };
    for planned in plan.steps.iter().filter(kept) {
        let Some(record) = records.get(&planned.id) else {
            continue;
        };
        let definition = &onto.steps[&planned.id.node];
        assert_eq!(record.step.activity, definition.activity.to_string());
        // One that somebody supplied since was given nothing, and made nothing: all that succeed here do.
        let last = record.attempts.last().and_then(|attempt| attempt.outcome);
        let made = last == Some(AttemptOutcome::Succeeded) && !record.artifacts.is_empty();
        let supplied = planned.action == Action::Reuse && !made;
        let Some(before) = record.step.input.as_ref().filter(|_| !supplied) else {
            continue;
        };
        let scope = Scope::new().input(&snapshot.run.input);
        let mut now = definition
            .with
            .render(&scope)
            .expect("it reads the input only");
        let set = snapshot.amendments.apply(&planned.id, &mut now);
        set.expect("it could be set before");
        assert_eq!(*before, now, "{} is kept: {plan:#?}", planned.id);
    }
}

/// What a step names as its cause has another output then, or none. One that stays out may do so because of
/// another one that does.
fn every_cause_moves(plan: &RetryPlan, snapshot: &Snapshot) {
    let outs = [Reason::SkippedByOperator, Reason::ConditionFalse];
    let moves = |step: &PlannedStep| match step.action {
        Action::Skip => outs.contains(&step.reason) && !was_out(&step.id, snapshot),
        Action::Reuse => step.reason == Reason::SuppliedByOperator,
        Action::Resume | Action::Rerun | Action::Blocked => true,
    };
    for step in &plan.steps {
        let is_cause = |it: &PlannedStep| {
            moves(it) || (it.action, step.action) == (Action::Skip, Action::Skip)
        };
        for cause in &step.because {
            let mut of_cause = plan.steps.iter().filter(|it| it.id.node == cause.node);
            assert!(
                of_cause.any(is_cause),
                "{} because of {cause}: {plan:#?}",
                step.id
            );
        }
    }
}

fn was_out(id: &StepId, snapshot: &Snapshot) -> bool {
    let status = match id.item {
        None => {
            let mut nodes = snapshot.nodes.iter();
            nodes.find(|it| it.name == id.node).map(|it| it.status)
        }
        Some(_) => {
            let mut records = snapshot.steps.iter();
            records
                .find(|it| it.step.id == *id)
                .map(|it| it.step.status)
        }
    };
    status == Some(StepStatus::Skipped)
}

/// Unless somebody wants it back, or the whole list is another one.
fn what_somebody_left_out_stays_out(plan: &RetryPlan, snapshot: &Snapshot) {
    for id in &snapshot.amendments.out {
        assert!(was_out(id, snapshot), "{id} is not out: {snapshot:#?}");
        let edits = plan
            .edits
            .iter()
            .filter_map(|it| Some((it.edit.step()?, &it.edit)));
        let mut edits = edits.filter(|(of, _)| **of == *id || **of == StepId::single(&id.node));
        if edits.any(|(_, edit)| !matches!(edit, Edit::Skip { .. } | Edit::Budget { .. })) {
            continue;
        }
        let entry = plan.steps.iter().find(|step| step.id == *id);
        let stays = entry.is_none_or(|step| {
            (step.action, step.reason) == (Action::Skip, Reason::SkippedByOperator)
                && step.why.is_some()
        });
        assert!(stays, "{id} was left out: {plan:#?}");
    }
}

/// Nothing is kept behind a step that has another output then.
fn nothing_is_kept_behind_what_changes(plan: &RetryPlan, definition: &Definition) {
    let runs: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter(|step| step.runs())
        .map(|step| step.id.node.as_str())
        .collect();
    for step in plan
        .steps
        .iter()
        .filter(|step| (step.action, step.reason) == (Action::Reuse, Reason::Succeeded))
    {
        let needs = &definition.steps[&step.id.node].needs;
        let cause = needs.iter().find(|need| runs.contains(need.step.as_str()));
        assert!(
            cause.is_none(),
            "{} is kept behind {cause:?}: {plan:#?}",
            step.id
        );
    }
}

/// Of a step that is about to run: the plan names it, and says with what.
pub(super) fn claim(plan: &RetryPlan, id: &StepId, model: &Model) {
    let group = StepId::single(&id.node);
    let named = plan.steps.iter().find(|step| step.id == *id);
    let named = named.or_else(|| plan.steps.iter().find(|step| step.id == group));
    let named = named.filter(|step| step.runs());
    let named = named.unwrap_or_else(|| panic!("{id} runs and is not planned: {plan:#?}"));
    if named.action == Action::Resume {
        assert_eq!(model.damaged(id), named.damaged, "{id}");
    }
    let step = &model.steps[id];
    let definition = &model.definition().steps[&id.node];
    assert_eq!(step.activity, definition.activity.to_string(), "{id}");
}

/// Of a step that runs after another one has published: it did not lead to that, unless it makes again what is
/// gone, or something above it does.
pub(super) fn claim_leaves_what_is_published(
    (by, publication): (&StepId, &Publication),
    id: &StepId,
    (definition, again): (&Definition, &BTreeSet<String>),
) {
    if !publication.definition.steps.contains_key(&id.node) {
        let leads = above(definition, &by.node).contains(id.node.as_str());
        assert!(!leads, "{id} is new, and leads to what {by} has published");
    }
    let mut nodes = above(&publication.definition, &id.node);
    nodes.insert(&id.node);
    let led = publication.led.contains(&id.node);
    let mends = nodes.iter().any(|node| again.contains(*node));
    assert!(
        !led || mends,
        "{id} runs again, and {by} has published what it made"
    );
}

/// The nodes that a node needs, by itself or through others.
pub(super) fn above<'d>(definition: &'d Definition, node: &str) -> BTreeSet<&'d str> {
    let mut above = BTreeSet::new();
    if let Some(step) = definition.steps.get(node) {
        for need in &step.needs {
            above.insert(need.step.as_str());
            above.extend(self::above(definition, &need.step));
        }
    }
    above
}

/// Of a run that was reopened: what is kept, or stays out, is as it was.
pub(super) fn reopened(plan: &RetryPlan, (before, after): (&Model, &Model)) {
    let (snapshot, amendments) = (before.snapshot(), after.amendments());
    let left_out = |id: &StepId| {
        let mut edits = plan.edits.iter().map(|it| &it.edit);
        edits.any(|edit| matches!(edit, Edit::Skip { step, .. } if step == id))
    };
    for step in &plan.steps {
        let stays_out =
            step.action == Action::Skip && was_out(&step.id, &snapshot) && !left_out(&step.id);
        assert!(
            !left_out(&step.id) || amendments.out.contains(&step.id),
            "{} is left out, and nobody will know: {plan:#?}",
            step.id
        );
        let rows = (before.steps.get(&step.id), after.steps.get(&step.id));
        // The row of a step that stays out says which activity it would be.
        let settled = |row: Option<&Step>| row.map(|row| (row.status, row.reason.clone()));
        if stays_out {
            let rows = (settled(rows.0), settled(rows.1));
            assert_eq!(rows.0, rows.1, "{} stays out", step.id);
        }
        if (step.action, step.reason) == (Action::Reuse, Reason::Succeeded) {
            assert_eq!(rows.0, rows.1, "{} is kept", step.id);
        }
    }
}

/// Of a round that has ended: what was planned was executed, or the run says that something is in the way.
pub(super) fn round(plan: &RetryPlan, (model, ran): (&Model, &BTreeSet<StepId>)) {
    for id in ran {
        claim_is_named(plan, id);
    }
    what_was_known_of_the_output_was_told(plan, model);
    if model.run.status != RunStatus::Succeeded {
        return;
    }
    for step in plan.steps.iter().filter(|step| step.runs()) {
        let of_step = |row: &&StepId| {
            **row == step.id || (step.id.item.is_none() && row.node == step.id.node)
        };
        let did = ran.iter().any(|id| of_step(&id));
        // Its list was empty, or its expressions could not be evaluated.
        let moot = match model.status_of(&step.id.node) {
            Some(StepStatus::Skipped) => was_shut(&step.id.node, plan, model),
            Some(StepStatus::Succeeded | StepStatus::Failed) => true,
            _ => false,
        } && step.id.item.is_none();
        assert!(
            did || moot,
            "{} was planned and did not run: {plan:#?}",
            step.id
        );
    }
    let succeeded = model.having(StepStatus::Succeeded);
    let mut left = succeeded.iter().filter(|id| !model.damaged(id).is_empty());
    assert_eq!(
        left.next(),
        None,
        "it succeeded with objects to be made again"
    );
}

/// Whether nobody could know that a step would be skipped: by its condition, or by that of one that it needs.
fn was_shut(name: &str, plan: &RetryPlan, model: &Model) -> bool {
    let definition = &model.definition().steps[name];
    let mut needs = definition.needs.iter().filter(|need| !need.any);
    definition.when.is_some()
        || needs.any(|need| {
            let was_to_run = runs(plan, &need.step);
            was_to_run && model.status_of(&need.step) == Some(StepStatus::Skipped)
        })
}

fn runs(plan: &RetryPlan, name: &str) -> bool {
    let mut entries = plan.steps.iter().filter(|step| step.id.node == name);
    entries.any(PlannedStep::runs)
}

/// A run whose output could not be made in the end: the step that it reads there ran in this round, so that nobody
/// knew what it would give.
fn what_was_known_of_the_output_was_told(plan: &RetryPlan, model: &Model) {
    let error = model.run.error.as_ref();
    let error = error.filter(|it| it.step.is_none() && it.code == "bad_expression");
    let Some(error) = error else { return };
    let mut names = model.definition().steps.keys();
    let member = names.find(|name| error.message.ends_with(&format!("at /{name})")));
    let member = member.unwrap_or_else(|| panic!("of which member: {error:?}"));
    assert!(
        runs(plan, member),
        "{member} could be known: {error:?}, {plan:#?}"
    );
}

fn claim_is_named(plan: &RetryPlan, id: &StepId) {
    let named = plan
        .steps
        .iter()
        .any(|step| step.runs() && (step.id == *id || step.id == StepId::single(&id.node)));
    assert!(named, "{id} ran and was not planned");
}

/// The same plan whether or not objects that are as recorded were looked at.
fn looking_changes_nothing(plan: &RetryPlan, given: Given<'_>) {
    let bad = given
        .world
        .verdicts
        .iter()
        .filter(|(_, verdict)| **verdict != Verdict::Present);
    let unseen = World {
        verdicts: bad.map(|(key, verdict)| (key.clone(), *verdict)).collect(),
        verified: None,
        ..given.world.clone()
    };
    let world = &unseen;
    let other = compute(PlanId::from("plan_2".to_owned()), Given { world, ..given });
    assert_eq!(plan.digest, other.digest, "{plan:#?}");
}
