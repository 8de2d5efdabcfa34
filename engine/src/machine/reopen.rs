use std::collections::BTreeMap;

use serde_json::json;

use super::{Facts, Rejected, View, settle};
use crate::retry::plan::{Action, PlannedStep, RetryPlan};
use crate::run::{Node, RunStatus, StepStatus};

/// Executes a plan: the same run, its next round. Steps that the plan reuses are not touched;
/// nothing runs that it does not name.
pub(super) fn reopen(view: &mut View, plan: &RetryPlan, _facts: &Facts) -> Result<(), Rejected> {
    check(view, plan)?;
    view.run.status = RunStatus::Running;
    view.run.round += 1;
    view.run.error = None;
    view.run.ended_at = None;
    let data = json!({"plan": plan.id, "digest": plan.digest, "round": view.run.round});
    view.event("run.reopened", None, data);
    for step in &plan.steps {
        if matches!(step.action, Action::Resume | Action::Rerun) {
            reset(view, step)?;
        }
    }
    for (node, counts) in counts(view) {
        recount(view, &node, &counts)?;
    }
    settle::advance_all(view)
}

fn check(view: &View, plan: &RetryPlan) -> Result<(), Rejected> {
    if !view.run.status.is_stopped() || view.run.status == RunStatus::Succeeded {
        return Err(Rejected::Conflict(format!(
            "the job is {}",
            view.run.status
        )));
    }
    if plan.basis.revision != view.run.revision {
        return Err(Rejected::Conflict(
            "the job has changed since the plan was made".to_owned(),
        ));
    }
    if !plan.executable {
        return Err(Rejected::Conflict(
            "the plan cannot be executed as it is".to_owned(),
        ));
    }
    Ok(())
}

/// Puts a step, or a whole node, back to where it can run.
fn reset(view: &mut View, planned: &PlannedStep) -> Result<(), Rejected> {
    let id = &planned.id;
    let fan_out = view.definition_of(&id.node)?.for_each.is_some();
    if fan_out && id.item.is_none() {
        view.collapse(&id.node);
        *view.node_mut(&id.node)? = Node::pending(&id.node, true);
        return Ok(());
    }
    let step = view.step_mut(id)?;
    // An item keeps its rendered input; a single step's is rendered anew.
    step.status = if fan_out {
        StepStatus::Ready
    } else {
        StepStatus::Pending
    };
    step.charged = 0;
    step.losses = 0;
    step.output = None;
    step.error = None;
    step.reason = None;
    // The step's total time counts from its first claim of the new round.
    step.started_at = None;
    step.ended_at = None;
    step.warnings.clear();
    step.progress = None;
    if planned.action == Action::Rerun {
        step.checkpoint = None;
        step.checkpoint_failures = 0;
        view.record().forgotten.push(id.clone());
    }
    view.record().cleared.push(id.clone());
    Ok(())
}

/// What the steps of a node say after the reset.
#[derive(Debug, Clone, Default)]
struct Counts {
    steps: u32,
    settled: u32,
    failed: u32,
    held: u32,
    /// Whether the node is a single step.
    single: bool,
}

/// Counts the steps of all nodes in one pass: a job may have 1,000 nodes and 100,000 steps.
fn counts(view: &View) -> BTreeMap<String, Counts> {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for step in view.steps() {
        let node = match counts.get_mut(&step.id.node) {
            Some(node) => node,
            None => counts.entry(step.id.node.clone()).or_default(),
        };
        node.steps += 1;
        node.settled += u32::from(step.status.is_settled());
        node.failed += u32::from(step.status == StepStatus::Failed);
        node.held += u32::from(step.status == StepStatus::Held);
        node.single = step.id.item.is_none();
    }
    counts
}

/// Sets the counters of a node some of whose steps will run again.
fn recount(view: &mut View, name: &str, counts: &Counts) -> Result<(), Rejected> {
    if counts.settled == counts.steps {
        return Ok(());
    }
    let node = view.node_mut(name)?;
    node.settled = counts.settled;
    node.failed = counts.failed;
    node.held = counts.held;
    node.status = if counts.single {
        StepStatus::Pending
    } else {
        StepStatus::Ready
    };
    node.reason = None;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::definition::Definition;
    use crate::id::{PlanId, RunId, StepId};
    use crate::queue::Queue;
    use crate::retry::plan::{self, Verdicts};
    use crate::run::{Run, Snapshot, Step, StepRecord, StoreUrls};
    use crate::store::ViewRows;

    const NODES: usize = 900;
    const ITEMS: u32 = 20_000;

    /// A run that failed in every item of a fan-out, beside many steps that were done.
    fn stopped() -> (Snapshot, Arc<Definition>) {
        let mut steps = json!({"each": {"activity": "t.a@1", "for_each": "[]"}});
        for node in 0..NODES {
            steps[format!("s{node}")] = json!({"activity": "t.a@1"});
        }
        let text = json!({"workflow": "t:x", "version": 1, "steps": steps}).to_string();
        let definition = Definition::from_canonical(&text).unwrap();
        let run = Run {
            id: RunId::generate(),
            workflow: definition.name.clone(),
            version: 1,
            definition: String::new(),
            status: RunStatus::Failed,
            round: 1,
            revision: 1,
            events: 0,
            input: json!({}),
            fingerprint: String::new(),
            stores: StoreUrls {
                source: String::new(),
                media: String::new(),
            },
            queue: Queue::Default,
            priority: 0,
            labels: BTreeMap::new(),
            output: None,
            error: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
            started_at: None,
            ended_at: None,
        };
        let done = |id: StepId, status| Step {
            status,
            attempts: 1,
            ..Step::pending(id, "t.a@1".to_owned(), 1)
        };
        let singles =
            (0..NODES).map(|node| done(StepId::single(&format!("s{node}")), StepStatus::Succeeded));
        let items = (0..ITEMS).map(|item| done(StepId::item("each", item), StepStatus::Failed));
        let record = |step| StepRecord {
            step,
            attempts: Vec::new(),
            artifacts: Vec::new(),
        };
        let nodes = definition.steps.keys().map(|name| {
            let fan_out = name == "each";
            let count = if fan_out { ITEMS } else { 1 };
            Node {
                status: if fan_out {
                    StepStatus::Failed
                } else {
                    StepStatus::Succeeded
                },
                total: Some(count),
                settled: count,
                failed: if fan_out { ITEMS } else { 0 },
                ..Node::pending(name, fan_out)
            }
        });
        let snapshot = Snapshot {
            run,
            nodes: nodes.collect(),
            steps: singles.chain(items).map(record).collect(),
            former: Vec::new(),
        };
        (snapshot, Arc::new(definition))
    }

    /// Measured in a debug build: 0.14 s; 7.2 s when the steps were counted for each node anew.
    #[test]
    fn reopening_takes_time_in_proportion_to_the_steps() {
        let (snapshot, definition) = stopped();
        let plan = plan::compute(PlanId::generate(), &snapshot, &definition, &Verdicts::new());
        let rows = ViewRows {
            run: snapshot.run,
            nodes: snapshot.nodes,
        };
        let mut view = View::new(rows, definition);
        view.add_steps(
            snapshot
                .steps
                .into_iter()
                .map(|record| record.step)
                .collect(),
        );

        let started = Instant::now();
        reopen(&mut view, &plan, &Facts::default()).unwrap();
        let took = started.elapsed();

        let node = &view.nodes["each"];
        assert_eq!(
            (node.status, node.settled, node.failed),
            (StepStatus::Ready, 0, 0)
        );
        assert_eq!(view.nodes["s1"].status, StepStatus::Succeeded);
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}
