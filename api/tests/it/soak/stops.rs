//! Jobs that stopped short and were tried again by hand, as whoever runs the service would do: whether what
//! fails here explains it, and whether their histories tell of it.

use std::collections::BTreeSet;

use telecine_engine::run::{Event, Failure, RecordedEvent, Snapshot, StepStatus};
use telecine_testkit::sim::States;

use super::site::Site;
use crate::history::check_nothing_twice;

/// Codes of what a step may give up for: its workers were killed too often, or its store or database failed too
/// often. Anything else is a fault of ours, and so is what a store has lost.
const EXPLAINED: [&str; 7] = [
    "worker_lost",
    "store_unreachable",
    "store_timeout",
    "store_busy",
    "store_failed",
    "store_broke_off",
    "database_unavailable",
];

/// A job at a moment when nothing moved it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stop {
    /// How many events it had.
    events: u64,
    states: States,
    /// Codes of what stopped it.
    pub(super) why: String,
}

impl Stop {
    /// One that may be tried again.
    ///
    /// # Errors
    /// What stopped it and is not explained by what fails here.
    pub(super) fn explained(snapshot: &Snapshot) -> Result<Self, String> {
        let steps = snapshot.steps.iter().map(|record| &record.step);
        let held = steps.filter(|step| step.status == StepStatus::Held);
        let errors = held.map(|step| step.error.as_deref());
        // The run names the first failure that matters, which need not be that of the step that is held.
        let of_run = snapshot.run.error.as_ref().map(Some);
        let errors: Vec<Option<&Failure>> = errors.chain(of_run).collect();
        match explain(&errors) {
            Ok(why) => Ok(Self::of(snapshot, why)),
            Err(why) => Err(format!(
                "{} is {}: {why}",
                snapshot.run.id, snapshot.run.status
            )),
        }
    }

    fn of(snapshot: &Snapshot, why: String) -> Self {
        let steps = snapshot.steps.iter().map(|record| &record.step);
        Self {
            events: snapshot.run.events,
            states: States::of(&snapshot.run, &snapshot.nodes, steps),
            why,
        }
    }
}

/// The codes of the errors, if all are explained; otherwise all that they say.
fn explain(errors: &[Option<&Failure>]) -> Result<String, String> {
    let is_explained = |error: &Option<&Failure>| {
        error.is_some_and(|error| EXPLAINED.contains(&error.code.as_str()))
    };
    if errors.is_empty() || !errors.iter().all(is_explained) {
        let say = |error: &Option<&Failure>| match error {
            Some(Failure { code, message, .. }) => format!("{code} ({message})"),
            None => "an error that is not told".to_owned(),
        };
        let said: Vec<String> = errors.iter().map(say).collect();
        return Err(format!(
            "what fails here does not explain [{}]",
            said.join(", ")
        ));
    }
    let codes = errors.iter().flatten().map(|error| error.code.as_str());
    let codes: BTreeSet<&str> = codes.collect();
    Ok(Vec::from_iter(codes).join(", "))
}

/// Every change of a job has its event. What it did after a stop began with a plan that was executed. What a
/// checkpoint has made durable is not made again.
pub(super) fn check_told(site: &Site, job: &str) {
    let (snapshot, events) = site.stored(job);
    let is_dropped = |event: &RecordedEvent| event.event.kind == "step.checkpoint_dropped";
    if site.stops(job).is_empty() && !events.iter().any(is_dropped) {
        check_nothing_twice(&events);
    }
    let end = Stop::of(&snapshot, String::new());
    let begin = States::default();
    let (mut before, mut rest) = (&begin, events.as_slice());
    for stop in site.stops(job).iter().chain([&end]) {
        let until = rest.partition_point(|event| event.seq <= stop.events);
        let (part, behind) = rest.split_at(until);
        let told: Vec<&Event> = part.iter().map(|event| &event.event).collect();
        let reopened = told.iter().find(|event| event.kind == "run.reopened");
        let plan = reopened.map(|event| site.plan(&event.data));
        let audited = before.audit(&told, (&stop.states, plan.as_ref()));
        audited.unwrap_or_else(|why| panic!("{job}: {why}"));
        (before, rest) = (&stop.states, behind);
    }
}

#[cfg(test)]
mod tests {
    use telecine_engine::activity::ErrorClass;

    use super::*;

    fn failure(class: ErrorClass, code: &str) -> Failure {
        Failure {
            class,
            code: code.to_owned(),
            message: "it failed".to_owned(),
            step: None,
        }
    }

    #[test]
    fn only_what_a_soak_does_explains_that_a_job_stopped() {
        let lost = failure(ErrorClass::Lost, "worker_lost");
        let busy = failure(ErrorClass::Dependency, "store_busy");
        let unfit = failure(ErrorClass::Resource, "no_worker_fits");
        let gone = failure(ErrorClass::Dependency, "object_lost");
        let both = explain(&[Some(&lost), Some(&busy), Some(&lost)]);
        assert_eq!(both, Ok("store_busy, worker_lost".to_owned()));
        for other in [&unfit, &gone] {
            let why = explain(&[Some(&lost), Some(other)]).expect_err("nothing explains it");
            assert!(why.contains(&other.code), "{why}");
        }
        assert!(explain(&[None]).is_err());
        assert!(explain(&[]).is_err());
    }
}
