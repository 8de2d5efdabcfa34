use std::collections::BTreeMap;

use serde_json::json;

use super::beside::Lacking;
use super::warnings::obstacles;
use super::*;
use crate::activity::ErrorClass;
use crate::definition::Definition;
use crate::queue::Queue;
use crate::retry::policy::{
    DISK_FULL, OBJECT_ARCHIVED, OBJECT_MISSING, PART_OF_THE_JOB, PERMISSION_DENIED, SOURCE_CHANGED,
};
use crate::run::{
    Amendments, Node, Run, RunStatus, Snapshot, Step, StepRecord, StepStatus, StoreUrls,
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
        error: Some(error.clone()),
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
