//! What the events of a commit say, against what it changed: the one has to be exactly the other.

use std::collections::{BTreeMap, BTreeSet};

use telecine_engine::id::StepId;
use telecine_engine::retry::adoption::Change;
use telecine_engine::retry::edits::Edit;
use telecine_engine::retry::plan::{PlannedStep, Reason, RetryPlan};
use telecine_engine::run::{Event, Node, Run, RunStatus, Step, StepStatus};

/// The state of a run and of its steps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct States {
    /// With its round; `None` before it was submitted.
    run: Option<(RunStatus, u32)>,
    steps: BTreeMap<StepId, StepStatus>,
    /// Fan-outs without steps: their list is not known yet, or empty.
    groups: BTreeMap<String, StepStatus>,
}

impl States {
    /// Those of a run as it is stored.
    pub fn of<'a>(run: &Run, nodes: &[Node], steps: impl Iterator<Item = &'a Step>) -> Self {
        let steps: BTreeMap<_, _> = steps.map(|step| (step.id.clone(), step.status)).collect();
        let with_steps: BTreeSet<&str> = steps.keys().map(|id| id.node.as_str()).collect();
        let groups = nodes
            .iter()
            .filter(|node| !with_steps.contains(node.name.as_str()));
        let groups = groups
            .map(|node| (node.name.clone(), node.status))
            .collect();
        Self {
            run: Some((run.status, run.round)),
            steps,
            groups,
        }
    }

    /// Whether these states and `events` come to `after`; `plan` is what a run that was reopened
    /// executes.
    ///
    /// # Errors
    /// The first event that tells of no possible change, or a change that no event tells of.
    pub fn audit(
        &self,
        events: &[&Event],
        (after, plan): (&Self, Option<&RetryPlan>),
    ) -> Result<(), String> {
        let mut told = match self.run {
            Some(_) => self.clone(),
            None => after.beginning(),
        };
        for event in events {
            let followed = told.follow(event, (after, plan));
            followed.map_err(|why| format!("{why}, in {}", kinds(events)))?;
        }
        match told == *after {
            true => Ok(()),
            false => Err(format!("{}, after {}", told.differs(after), kinds(events))),
        }
    }

    /// What a run begins with that came to be like this: what its definition names, all pending.
    fn beginning(&self) -> Self {
        let pending = |id: &StepId| (id.clone(), StepStatus::Pending);
        let single = self.steps.keys().filter(|id| id.item.is_none());
        let opened = self.steps.keys().filter(|id| id.item.is_some());
        let groups = opened.map(|id| &id.node).chain(self.groups.keys());
        Self {
            run: None,
            steps: single.map(pending).collect(),
            groups: groups
                .map(|node| (node.clone(), StepStatus::Pending))
                .collect(),
        }
    }

    /// The first thing that is not as it was told.
    fn differs(&self, is: &Self) -> String {
        let (run, steps, groups) = (self.run, &self.steps, &self.groups);
        let step = |(id, status): (&StepId, &StepStatus)| {
            let told = steps.get(id);
            (told != Some(status)).then(|| format!("{id} is {status}, and is told to be {told:?}"))
        };
        if run != is.run {
            return format!("the run is {:?}, and is told to be {run:?}", is.run);
        }
        let found = is.steps.iter().find_map(step);
        found.unwrap_or_else(|| format!("{:?} is told to be {steps:?} {groups:?}", is))
    }

    /// Makes the change that an event tells of.
    fn follow(&mut self, event: &Event, plan: (&Self, Option<&RetryPlan>)) -> Result<(), String> {
        match (event.kind.split_once('.'), &event.step) {
            (Some(("run", what)), None) => self.follow_run(what, plan),
            (Some(("group", "opened")), Some(group)) => self.open(group, event),
            (Some(("step", "supplied")), Some(list)) if self.groups.contains_key(&list.node) => {
                self.supply(list, event)
            }
            (Some(("step", what)), Some(step)) => self.follow_step(what, step),
            (Some(("plan", "edited")), _) => Ok(()),
            (Some(("publication", "moved")), Some(_)) => Ok(()),
            _ => Err(format!("nobody knows what {} means", event.kind)),
        }
    }

    fn follow_run(
        &mut self,
        what: &str,
        (after, plan): (&Self, Option<&RetryPlan>),
    ) -> Result<(), String> {
        use RunStatus::{Cancelled, Failed, Held, Queued, Running, Succeeded};
        let round = self.run.map_or(1, |(_, round)| round);
        let was = self.run.map(|(status, _)| status);
        let next = match (was, what) {
            (None, "submitted") => (Queued, 1),
            (Some(Queued), "started") => (Running, round),
            (Some(Held | Failed | Cancelled), "reopened") => (Running, round + 1),
            (Some(Queued | Running), "succeeded") => (Succeeded, round),
            (Some(Queued | Running), "failed") => (Failed, round),
            (Some(Queued | Running), "held") => (Held, round),
            (Some(Queued | Running | Held), "cancelled") => (Cancelled, round),
            (Some(status), "cancel_requested") => (status, round),
            _ => return Err(format!("run.{what} of a run that is {was:?}")),
        };
        self.run = Some(next);
        match what {
            "reopened" => {
                let plan = plan.ok_or("a run was reopened without a plan")?;
                self.adopt(plan, after);
                self.reset(plan);
            }
            "cancelled" => self.cancel_groups(),
            _ => {}
        }
        Ok(())
    }

    /// The steps of another definition, those that are new as they begin: whether one is a list, only what
    /// it came to tells.
    fn adopt(&mut self, plan: &RetryPlan, after: &Self) {
        for change in plan.changes.iter().flat_map(|changes| &changes.steps) {
            let (name, single) = (&change.step, StepId::single(&change.step));
            match change.change {
                Change::Changed => {}
                Change::Removed => {
                    self.steps.retain(|id, _| id.node != *name);
                    self.groups.remove(name);
                }
                Change::Added if after.steps.contains_key(&single) => {
                    self.steps.insert(single, StepStatus::Pending);
                }
                Change::Added => {
                    self.groups.insert(name.clone(), StepStatus::Pending);
                }
            }
        }
    }

    /// Whether a plan makes another step of it: one that stays out as it was is none.
    fn is_another(&self, step: &PlannedStep, plan: &RetryPlan) -> bool {
        let was = self.steps.get(&step.id);
        let was = was.or_else(|| self.groups.get(&step.id.node));
        match step.reason {
            Reason::SuppliedByOperator => true,
            Reason::SkippedByOperator | Reason::ConditionFalse => {
                let again = plan.edits.iter().any(|it| match &it.edit {
                    Edit::Skip { step: out, .. } => *out == step.id,
                    _ => false,
                });
                again || was != Some(&StepStatus::Skipped)
            }
            _ => step.runs(),
        }
    }

    /// What a plan says of the steps that run again is not told once more for each of them.
    fn reset(&mut self, plan: &RetryPlan) {
        let again = plan.steps.iter();
        let again = again.filter(|step| self.is_another(step, plan));
        let again: Vec<&StepId> = again.map(|step| &step.id).collect();
        for id in again {
            if id.item.is_some() {
                self.steps.insert(id.clone(), StepStatus::Ready);
            } else if self.steps.contains_key(id) {
                self.steps.insert(id.clone(), StepStatus::Pending);
            } else {
                // Its list is read anew.
                self.steps.retain(|known, _| known.node != id.node);
                self.groups.insert(id.node.clone(), StepStatus::Pending);
            }
        }
    }

    /// A list that was never read has no steps that could be told of.
    fn cancel_groups(&mut self) {
        let open = self.groups.values_mut();
        open.filter(|status| !status.is_settled())
            .for_each(|status| *status = StepStatus::Cancelled);
    }

    fn open(&mut self, group: &StepId, event: &Event) -> Result<(), String> {
        if self.groups.remove(&group.node) != Some(StepStatus::Pending) {
            return Err(format!("{group} was opened and was not pending"));
        }
        let items = event.data["items"].as_u64().unwrap_or_default();
        let items = u32::try_from(items).unwrap_or_default();
        if items == 0 {
            self.groups.insert(group.node.clone(), StepStatus::Ready);
        }
        let ready = |item| (StepId::item(&group.node, item), StepStatus::Ready);
        self.steps.extend((0..items).map(ready));
        Ok(())
    }

    /// Somebody gave all items of a list their outputs.
    fn supply(&mut self, list: &StepId, event: &Event) -> Result<(), String> {
        if self.groups.remove(&list.node) != Some(StepStatus::Pending) {
            return Err(format!("{list} was supplied and was not pending"));
        }
        let items = event.data["items"].as_u64().unwrap_or_default();
        let items = u32::try_from(items).unwrap_or_default();
        if items == 0 {
            self.groups.insert(list.node.clone(), StepStatus::Succeeded);
        }
        let done = |item| (StepId::item(&list.node, item), StepStatus::Succeeded);
        self.steps.extend((0..items).map(done));
        Ok(())
    }

    fn follow_step(&mut self, what: &str, id: &StepId) -> Result<(), String> {
        let group = self.groups.get_mut(&id.node).filter(|_| id.item.is_none());
        let (becomes, is) = match (self.steps.get_mut(id), group) {
            (Some(step), _) => (next(*step, what), step),
            (None, Some(group)) => (next_of_group(*group, what), group),
            (None, None) => return Err(format!("step.{what} of {id}, which is not there")),
        };
        *is = becomes.ok_or_else(|| format!("step.{what} of {id}, which is {is}"))?;
        Ok(())
    }
}

/// The state of a step after an event, if it can happen to a step in that state.
fn next(was: StepStatus, what: &str) -> Option<StepStatus> {
    use StepStatus::{
        Backoff, Blocked, Cancelled, Failed, Held, Pending, Ready, Running, Skipped, Succeeded,
    };
    Some(match (was, what) {
        (Pending | Backoff, "ready") => Ready,
        (Ready, "claimed") => Running,
        (Running, "lost" | "released") => Ready,
        (Running, "backoff") => Backoff,
        (Running, "succeeded") => Succeeded,
        // One whose expressions cannot be evaluated fails without having run.
        (Running | Pending, "failed") => Failed,
        // One that nobody can run, or that was lost too often, is held without running.
        (Running | Ready, "held") => Held,
        (Pending, "skipped") => Skipped,
        // An item of a list that somebody left out.
        (Ready, "skipped") => Skipped,
        (Pending | Ready, "supplied") => Succeeded,
        (Pending, "blocked") => Blocked,
        (Pending | Ready | Running | Backoff, "cancelled") => Cancelled,
        (Running, "checkpoint" | "checkpoint_dropped") => Running,
        _ => return None,
    })
}

/// The same for a fan-out without steps.
fn next_of_group(was: StepStatus, what: &str) -> Option<StepStatus> {
    use StepStatus::{Blocked, Failed, Pending, Ready, Skipped, Succeeded};
    Some(match (was, what) {
        (Pending, "failed") => Failed,
        (Pending, "skipped") => Skipped,
        (Pending, "blocked") => Blocked,
        // Its list is empty.
        (Ready, "succeeded") => Succeeded,
        _ => return None,
    })
}

fn kinds(events: &[&Event]) -> String {
    let kinds = events.iter().map(|event| match &event.step {
        Some(step) => format!("{} {step}", event.kind),
        None => event.kind.clone(),
    });
    kinds.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn states(status: StepStatus) -> States {
        States {
            run: Some((RunStatus::Running, 1)),
            steps: BTreeMap::from([(StepId::single("a"), status)]),
            groups: BTreeMap::new(),
        }
    }

    fn event(kind: &str) -> Event {
        Event {
            kind: kind.to_owned(),
            step: Some(StepId::single("a")),
            data: Value::Null,
        }
    }

    fn audit(was: StepStatus, kinds: &[&str], is: StepStatus) -> Result<(), String> {
        let events: Vec<Event> = kinds.iter().map(|kind| event(kind)).collect();
        let events: Vec<&Event> = events.iter().collect();
        states(was).audit(&events, (&states(is), None))
    }

    #[test]
    fn a_change_that_no_event_tells_of_is_found() {
        use StepStatus::{Backoff, Ready};
        let silent = audit(Backoff, &[], Ready).unwrap_err();
        assert!(
            silent.starts_with("a is ready, and is told to be"),
            "{silent}"
        );
        assert_eq!(audit(Backoff, &["step.ready"], Ready), Ok(()));
    }

    #[test]
    fn an_event_that_nothing_happened_with_is_found() {
        use StepStatus::{Ready, Running, Succeeded};
        assert!(audit(Ready, &["step.claimed"], Ready).is_err());
        let twice = ["step.succeeded", "step.succeeded"];
        let twice = audit(Running, &twice, Succeeded).unwrap_err();
        assert!(
            twice.starts_with("step.succeeded of a, which is succeeded"),
            "{twice}"
        );
        assert_eq!(
            audit(Ready, &["step.claimed", "step.succeeded"], Succeeded),
            Ok(())
        );
    }
}
