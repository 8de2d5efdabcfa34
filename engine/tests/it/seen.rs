//! A plan as somebody saw it: what it tells besides its steps, and that nothing else is executed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use telecine_engine::coordinator::PlanError;
use telecine_engine::id::RunId;
use telecine_engine::retry::edits::Edits;
use telecine_engine::retry::plan::{Action, Reason, RetryPlan};
use telecine_engine::retry::world::Verification;
use telecine_engine::run::{RunStatus, Snapshot, StepStatus};

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    a_plan_is_not_executed_when_an_object_is_gone_since_it_was_seen
    an_estimate_is_made_of_runs_that_nobody_cancelled
    what_other_versions_of_the_tools_made_is_kept_and_told
}

/// Stores an object, and then fails once.
const STEPS: &str = "  a: {activity: test.act@1, with: {what: store, value: a.txt}}\n\
     \x20 b: {activity: test.act@1, needs: [a], retry: {max_attempts: 1}, \
     with: {what: fail, times: 1, value: 1}}";

/// Runs the steps on a source of their own until they fail.
async fn failed(stage: &Stage, source: &str) -> RunId {
    std::fs::write(stage.directory().join(source), "film").unwrap();
    let worker = stage.work().await;
    let run = stage.submit_with(STEPS, json!({"source": source})).await;
    let snapshot = stage.stopped(&run).await;
    worker.stop().await;
    assert_eq!(snapshot.run.status, RunStatus::Failed);
    run
}

async fn shown(stage: &Stage, run: &RunId) -> RetryPlan {
    stage.coordinator.verify_plan(run).await.unwrap().unwrap()
}

/// Executes a plan with a worker until the run stops again.
async fn succeed(stage: &Stage, plan: &RetryPlan) -> Snapshot {
    let worker = stage.work().await;
    stage.execute(plan).await.unwrap();
    let snapshot = stage.stopped(&plan.job).await;
    worker.stop().await;
    assert_eq!(snapshot.run.status, RunStatus::Succeeded);
    snapshot
}

fn does(plan: &RetryPlan) -> Vec<(Action, Reason)> {
    let steps = plan.steps.iter();
    steps.map(|step| (step.action, step.reason)).collect()
}

async fn a_plan_is_not_executed_when_an_object_is_gone_since_it_was_seen(home: Home) {
    let stage = Stage::on(home).await;
    let run = failed(&stage, "one.txt").await;
    let seen = shown(&stage, &run).await;
    let kept = (Action::Reuse, Reason::Succeeded);
    let failed = (Action::Rerun, Reason::FailedRetryable);
    assert_eq!(does(&seen), [kept, failed]);

    std::fs::remove_file(stage.directory().join("a.txt")).unwrap();
    let Err(PlanError::Stale(now)) = stage.execute(&seen).await else {
        panic!("it would run `a` as well, which nobody has seen");
    };
    assert_ne!(now.digest, seen.digest);
    let again = (Action::Rerun, Reason::ArtifactMissing);
    assert_eq!(does(&now)[0], again);
    match stage.execute(&seen).await {
        Err(PlanError::Stale(still) | PlanError::Superseded(still)) => {
            assert_eq!((&still.id, &still.digest), (&now.id, &now.digest));
        }
        other => panic!("the plan that was seen is another one still: {other:?}"),
    }
    let snapshot = stage.coordinator.store.snapshot(&run).await.unwrap();
    assert_eq!(snapshot.run.status, RunStatus::Failed, "nothing was done");

    let snapshot = succeed(&stage, &now).await;
    let attempts: Vec<_> = snapshot.steps.iter().map(|it| it.attempts.len()).collect();
    assert_eq!(attempts, [2, 2]);
    assert!(stage.directory().join("a.txt").exists());
}

async fn an_estimate_is_made_of_runs_that_nobody_cancelled(home: Home) {
    let stage = Stage::on(home).await;
    let run = failed(&stage, "one.txt").await;
    let first = shown(&stage, &run).await.summary.estimate.unwrap();
    assert_eq!(first.basis.runs, 0, "there is no other run");
    assert_eq!(
        (first.basis.attempts, first.basis.same_parameters),
        (1, 0),
        "of `a`, which is another step"
    );
    let finished = succeed(&stage, &shown(&stage, &run).await).await;
    cancelled(&stage).await;

    let run = failed(&stage, "two.txt").await;
    let estimate = shown(&stage, &run).await.summary.estimate.unwrap();
    let basis = estimate.basis;
    assert_eq!(basis.runs, 1, "a run that was cancelled says nothing");
    assert_eq!(
        (basis.attempts, basis.same_parameters, basis.same_machine),
        (1, 1, 1)
    );
    assert_eq!(basis.unknown, 0);
    let attempt = finished.steps[1].attempts.last().unwrap();
    let wall_s = (attempt.ended_at.unwrap() - attempt.started_at).as_seconds_f64();
    assert_eq!((estimate.wall_s.p50, estimate.wall_s.p90), (wall_s, wall_s));
}

/// A run whose first step succeeded and whose second one was cancelled.
async fn cancelled(stage: &Stage) {
    let steps = STEPS.replace("fail, times: 1", "hang, times: 9");
    let worker = stage.work().await;
    let run = stage.submit(&steps).await;
    let hangs = |snapshot: &Snapshot| {
        let hanging = snapshot.steps.last();
        hanging.is_some_and(|it| it.step.status == StepStatus::Running)
    };
    stage.until(&run, hangs).await;
    stage.coordinator.cancel(&run, "anna", None).await.unwrap();
    let snapshot = stage.stopped(&run).await;
    worker.stop().await;
    assert_eq!(snapshot.run.status, RunStatus::Cancelled);
    assert_eq!(snapshot.steps[0].step.status, StepStatus::Succeeded);
}

async fn what_other_versions_of_the_tools_made_is_kept_and_told(home: Home) {
    let stage = Stage::on(home.clone()).await;
    let run = failed(&stage, "one.txt").await;
    assert!(shown(&stage, &run).await.warnings.is_empty());

    let upgraded = Stage::with_tool(home, "tool 2").await;
    let plan = shown(&upgraded, &run).await;
    assert_eq!(does(&plan)[0], (Action::Reuse, Reason::Succeeded));
    let told = "a is kept as other versions of the tools made it: force it to have it made again";
    assert_eq!(plan.warnings, [told]);

    let edits = Edits {
        force: vec!["a".to_owned()],
        ..Edits::default()
    };
    let forced = upgraded
        .coordinator
        .plan(&run, (&edits, "anna"), Verification::Heads);
    let forced = forced.await.unwrap();
    assert_eq!(does(&forced)[0], (Action::Rerun, Reason::Forced));
    assert!(forced.warnings.is_empty(), "{:?}", forced.warnings);
    succeed(&upgraded, &forced).await;
}
