use std::collections::BTreeMap;

use serde_json::json;

use super::beside::Lacking;
use super::warnings::{obstacles, to_do_first};
use super::*;
use crate::activity::{ErrorClass, Progress};
use crate::definition::Definition;
use crate::id::SessionId;
use crate::queue::Queue;
use crate::retry::history::History;
use crate::retry::policy::{
    DISK_FULL, OBJECT_ARCHIVED, OBJECT_MISSING, PART_OF_THE_JOB, PERMISSION_DENIED, SOURCE_CHANGED,
};
use crate::retry::world::World;
use crate::run::{
    Amendments, Attempt, AttemptOutcome, CheckpointHead, Node, Run, RunStatus, Snapshot, Step,
    StepRecord, StepStatus, StoreUrls,
};

/// The plan of a run whose one step failed.
fn after(class: ErrorClass, code: &str) -> RetryPlan {
    let steps = json!({"a": {"activity": "t.a@1"}});
    let text = json!({"workflow": "t:x", "version": 1, "steps": steps}).to_string();
    let definition = Definition::from_canonical(&text).unwrap();
    let error = Failure {
        class,
        code: code.to_owned(),
        message: "this is why".to_owned(),
        step: None,
    };
    let step = Step {
        status: StepStatus::Failed,
        attempts: 1,
        error: Some(Box::new(error.clone())),
        ..Step::pending(StepId::single("a"), "t.a@1".to_owned(), 1)
    };
    let snapshot = Snapshot {
        run: failed(error),
        nodes: vec![Node {
            status: StepStatus::Failed,
            ..Node::pending("a", false)
        }],
        steps: vec![StepRecord {
            step,
            attempts: Vec::new(),
            artifacts: Vec::new(),
            made: None,
            compat: None,
        }],
        former: Vec::new(),
        amendments: Amendments::default(),
    };
    compute(PlanId::generate(), Given::of(&snapshot, &definition))
}

fn failed(error: Failure) -> Run {
    Run {
        id: RunId::generate(),
        workflow: "t:x".to_owned(),
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
        error: Some(error),
        created_at: chrono::DateTime::UNIX_EPOCH,
        started_at: None,
        ended_at: None,
    }
}

#[test]
fn what_the_operator_can_mend_runs_again_and_the_plan_says_what_to_do_first() {
    let config = [
        "plugin_missing",
        "gstreamer_missing",
        "vips_missing",
        "unknown_activity",
        "unknown_tool",
        "bad_store",
        "bucket_missing",
        "store_credentials_refused",
        "code_of_a_plugin",
    ];
    let config = config.map(|code| (ErrorClass::Config, code, "set this right first"));
    let others = [
        (
            ErrorClass::Config,
            PERMISSION_DENIED,
            "give permission first",
        ),
        (ErrorClass::Resource, DISK_FULL, "make room first"),
        (ErrorClass::Input, OBJECT_MISSING, "put it back first"),
        (ErrorClass::Input, OBJECT_ARCHIVED, "restore it first"),
    ];
    for (class, code, need) in config.into_iter().chain(others) {
        let plan = after(class, code);
        let step = &plan.steps[0];
        let does = (plan.executable, step.action, step.reason);
        let runs = (true, Action::Rerun, Reason::FailedRetryable);
        assert_eq!(does, runs, "{code}");
        assert_eq!(plan.warnings, [format!("{need}: this is why")], "{code}");
    }
}

#[test]
fn what_somebody_has_set_right_is_nothing_to_do_first() {
    let told = |code, reason| {
        let step = after(ErrorClass::Config, code).steps[0].clone();
        let steps = [PlannedStep { reason, ..step }];
        to_do_first(&steps, &Lacking::default()).len()
    };
    assert_eq!(told("code_of_a_plugin", Reason::FailedRetryable), 1);
    assert_eq!(told("code_of_a_plugin", Reason::ParamsChanged), 0);
    assert_eq!(told(PERMISSION_DENIED, Reason::ParamsChanged), 1);
}

#[test]
fn what_is_part_of_the_job_stays_blocked() {
    let config = PART_OF_THE_JOB.map(|code| (ErrorClass::Config, code));
    let input = ["not_media", "source_truncated", SOURCE_CHANGED];
    let input = input.map(|code| (ErrorClass::Input, code));
    for (class, code) in config.into_iter().chain(input) {
        let plan = after(class, code);
        let step = &plan.steps[0];
        let does = (plan.executable, step.action, step.reason);
        let stays = (false, Action::Blocked, Reason::FailedPermanent);
        assert_eq!(does, stays, "{code}");
        assert_eq!(plan.warnings.len(), 1, "{code}: {:?}", plan.warnings);
    }
}

#[test]
fn of_many_steps_that_cannot_run_the_first_say_why() {
    let items: Vec<StepId> = (0..1_000).map(|item| StepId::item("a", item)).collect();
    let blocked = |id: &StepId| PlannedStep {
        id: id.clone(),
        action: Action::Blocked,
        reason: Reason::FailedPermanent,
        ..after(ErrorClass::Input, "not_media").steps[0].clone()
    };
    let steps: Vec<PlannedStep> = items.iter().map(blocked).collect();
    let told = obstacles(&steps, &Lacking::default());
    assert_eq!(told.len(), 21);
    assert!(told[19].starts_with("a[19] cannot succeed"), "{}", told[19]);
    assert_eq!(told[20], "980 more steps cannot succeed either");
}

/// A step of the graph of [`graph`], with an attempt that took so many seconds if it succeeded.
fn record(node: &str, status: StepStatus, wall_s: i64) -> StepRecord {
    let from = chrono::DateTime::UNIX_EPOCH;
    let succeeded = status == StepStatus::Succeeded;
    let attempt = Attempt {
        n: 1,
        round: 1,
        outcome: Some(AttemptOutcome::Succeeded),
        worker: SessionId::generate(),
        started_at: from,
        ended_at: Some(from + chrono::TimeDelta::seconds(wall_s)),
        usage: None,
        resumed_from: None,
        error: None,
    };
    StepRecord {
        step: Step {
            status,
            attempts: 1,
            output: succeeded.then(|| json!(1)),
            ..Step::pending(StepId::single(node), format!("t.{node}@1"), 1)
        },
        attempts: succeeded.then_some(attempt).into_iter().collect(),
        artifacts: Vec::new(),
        made: None,
        compat: None,
    }
}

/// A run of `a`, then `b` and `c` one after the other, and `d` and `e` beside them.
fn graph(steps: Vec<StepRecord>) -> (Snapshot, Definition) {
    let needs = [("a", ""), ("b", "a"), ("c", "b"), ("d", "a"), ("e", "a")];
    let written = needs.map(|(name, need)| {
        let needs: Vec<&str> = Some(need)
            .filter(|need| !need.is_empty())
            .into_iter()
            .collect();
        let step = json!({"activity": format!("t.{name}@1"), "needs": needs});
        (name.to_owned(), step)
    });
    let written: serde_json::Map<_, _> = written.into_iter().collect();
    let text = json!({"workflow": "t:x", "version": 1, "steps": written}).to_string();
    let error = Failure {
        class: ErrorClass::Transient,
        code: "wanted".to_owned(),
        message: "the test wants it".to_owned(),
        step: None,
    };
    let node = |record: &StepRecord| Node {
        status: record.step.status,
        ..Node::pending(&record.step.id.node, false)
    };
    let snapshot = Snapshot {
        run: failed(error),
        nodes: steps.iter().map(node).collect(),
        steps,
        former: Vec::new(),
        amendments: Amendments::default(),
    };
    (snapshot, Definition::from_canonical(&text).unwrap())
}

#[test]
fn an_estimate_is_of_the_longest_way_with_what_is_left_behind_a_checkpoint() {
    use StepStatus::{Blocked, Failed, Succeeded};
    let earlier = [("a", 5), ("b", 100), ("c", 10), ("d", 50)];
    let earlier = earlier.map(|(name, wall_s)| record(name, Succeeded, wall_s));
    let (earlier, _) = graph(earlier.into());
    let own = |percent: Option<f64>| {
        let mut b = record("b", Failed, 0);
        b.step.checkpoint = Some(Box::new(CheckpointHead {
            seq: 1,
            covers_s: None,
            attempt: 1,
        }));
        b.step.progress = Some(Box::new(Progress {
            percent,
            ..Progress::default()
        }));
        let rest = ["c", "d", "e"].map(|name| record(name, Blocked, 0));
        graph(
            [record("a", Succeeded, 5), b]
                .into_iter()
                .chain(rest)
                .collect(),
        )
    };
    // What is known of how far `b` had come makes `d` the longest way, or not.
    for (percent, wall_s) in [(Some(75.0), 50.0), (Some(10.0), 100.0), (None, 110.0)] {
        let (own, definition) = own(percent);
        let world = World {
            history: History::of(std::slice::from_ref(&earlier), &own),
            ..World::UNKNOWN.clone()
        };
        let given = Given {
            world: &world,
            ..Given::of(&own, &definition)
        };
        let plan = compute(PlanId::generate(), given);
        assert_eq!(plan.steps[1].action, Action::Resume, "{plan:#?}");
        let estimate = plan.summary.estimate.unwrap();
        assert_eq!(estimate.wall_s.p50, wall_s, "{percent:?}");
        let basis = estimate.basis;
        // Nobody has ever made `e`.
        let told = (basis.runs, basis.attempts, basis.unknown);
        assert_eq!(told, (1, 3, 1), "{basis:?}");
    }
    let (own, definition) = own(None);
    let plan = compute(PlanId::generate(), Given::of(&own, &definition));
    assert_eq!(plan.summary.estimate, None);
}
