use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::reading::{self, Known, Reading};
use super::settle::{
    Prospect, Settled, blame, prospect, settle_node, settle_step, settle_untouched,
};
use super::{Facts, Rejected, View};
use crate::activity::ErrorClass;
use crate::definition::{Reference, StepDef};
use crate::id::StepId;
use crate::limits;
use crate::run::{Failure, Step, StepStatus};

/// Names of the nodes whose outputs a node's expressions read.
pub(super) fn references(view: &View, node: &str) -> Vec<String> {
    let Some(step) = view.definition.steps.get(node) else {
        return Vec::new();
    };
    let conditions = step.when.iter().chain(&step.for_each);
    steps_named(
        conditions
            .flat_map(|condition| condition.references())
            .chain(step.with.references()),
    )
}

/// The steps that references name, each once.
pub(super) fn steps_named<'a>(references: impl Iterator<Item = &'a Reference>) -> Vec<String> {
    let names: BTreeSet<&str> = references.filter_map(Reference::step).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// What expressions of the run can see.
pub(super) fn known<'a>(view: &'a View, facts: &'a Facts) -> Known<'a> {
    Known {
        input: &view.run.input,
        outputs: &facts.outputs,
        amendments: &view.amendments,
    }
}

/// Everything that a node needs is settled: skips it, or makes its steps ready.
pub(super) fn ready(view: &mut View, name: &str, facts: &Facts) -> Result<(), Rejected> {
    if view
        .nodes
        .get(name)
        .is_none_or(|node| node.status != StepStatus::Pending)
    {
        return Ok(());
    }
    if !matches!(prospect(view, name)?, Prospect::Ready) {
        return Err(Rejected::Conflict(format!("step {name} waits for others")));
    }
    let definition = view.definition.clone();
    let Some(step) = definition.steps.get(name) else {
        return Err(Rejected::Conflict(format!(
            "the definition has no step {name}"
        )));
    };
    let check_size = |items| check_size(view, items);
    match reading::read((name, step), known(view, facts), check_size) {
        Ok(Reading::Skip) => {
            let reason = Some("its condition was false".to_owned());
            settle_untouched(
                view,
                name,
                Settled {
                    status: StepStatus::Skipped,
                    reason,
                },
            )
        }
        Ok(Reading::Single(input)) => open_single(view, name, input),
        Ok(Reading::Group(inputs)) => open_group(view, name, step, inputs),
        Err(error) => cannot_open(view, name, &error, facts),
    }
}

fn check_size(view: &View, items: usize) -> Result<(), Failure> {
    let there: u32 = view.nodes.values().filter_map(|node| node.total).sum();
    if items + there as usize <= limits::STEPS_PER_RUN {
        return Ok(());
    }
    Err(Failure {
        class: ErrorClass::Config,
        code: "limit_exceeded".to_owned(),
        message: format!(
            "the list of for_each has {items} items; the limit STEPS_PER_RUN is {}",
            limits::STEPS_PER_RUN
        ),
        step: None,
    })
}

fn open_single(view: &mut View, name: &str, input: Value) -> Result<(), Rejected> {
    let id = StepId::single(name);
    let step = view.step_mut(&id)?;
    step.status = StepStatus::Ready;
    step.input = Some(input);
    let node = view.node_mut(name)?;
    node.status = StepStatus::Ready;
    node.settled = 0;
    node.failed = 0;
    node.held = 0;
    view.event("step.ready", Some(id), Value::Null);
    Ok(())
}

fn open_group(
    view: &mut View,
    name: &str,
    definition: &StepDef,
    inputs: Vec<Value>,
) -> Result<(), Rejected> {
    let total = u32::try_from(inputs.len()).unwrap_or(u32::MAX);
    let node = view.node_mut(name)?;
    node.total = Some(total);
    node.status = StepStatus::Ready;
    view.event(
        "group.opened",
        Some(StepId::single(name)),
        json!({"items": total}),
    );
    for (item, input) in (0..total).zip(inputs) {
        let mut step = Step::pending(
            StepId::item(name, item),
            definition.activity.to_string(),
            view.run.round,
        );
        step.status = StepStatus::Ready;
        step.input = Some(input);
        view.insert_step(step);
    }
    if total == 0 {
        view.event(
            "step.succeeded",
            Some(StepId::single(name)),
            json!({"items": 0}),
        );
        return settle_node(view, name, StepStatus::Succeeded);
    }
    Ok(())
}

/// The expressions of a node could not be evaluated: it fails without an attempt.
fn cannot_open(
    view: &mut View,
    name: &str,
    error: &Failure,
    facts: &Facts,
) -> Result<(), Rejected> {
    let id = StepId::single(name);
    blame(view, &id, error);
    view.event("step.failed", Some(id.clone()), json!({"error": error}));
    if view.step(&id).is_none() {
        view.node_mut(name)?.reason = Some(error.message.clone());
        return settle_node(view, name, StepStatus::Failed);
    }
    view.step_mut(&id)?.error = Some(Box::new(error.clone()));
    settle_step(
        view,
        &id,
        Settled {
            status: StepStatus::Failed,
            reason: None,
        },
        facts,
    )
}
