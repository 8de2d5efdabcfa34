#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use telecine_engine::activity::ErrorClass;
use telecine_engine::id::RunId;
use telecine_engine::limits;
use telecine_engine::retry::plan::{Action, Reason};
use telecine_engine::run::{AttemptOutcome, RunStatus, Snapshot, StepStatus};

use crate::stage::{Home, Stage, classes, on_every_store};

on_every_store! {
    a_service_that_is_away_costs_a_step_no_attempt
    a_service_that_stays_away_is_given_up
    a_fan_out_feeds_its_outputs_in_order_to_the_next_step
    failures_and_panics_cost_an_attempt_each_and_are_retried
    bad_media_is_never_retried_and_its_plan_is_not_executable
    an_executed_plan_runs_what_failed_and_keeps_the_rest
    a_stopped_worker_gives_its_step_back_at_a_checkpoint
    an_attempt_without_progress_is_ended_as_stalled
    a_cancelled_run_stops_its_attempts_and_can_be_retried
    the_same_request_again_is_the_same_run
    two_workers_share_a_fan_out_and_run_each_item_once
    an_attempt_that_refuses_its_checkpoint_is_not_said_to_have_resumed
    looking_at_a_stopped_run_again_changes_nothing
    a_full_disk_costs_one_attempt_and_the_plan_says_to_make_room
    a_missing_permission_costs_one_attempt_and_can_be_given
    a_rule_that_names_a_full_disk_is_followed
    a_report_that_the_database_refuses_ends_the_attempt_with_a_reason
    an_attempt_that_an_earlier_release_began_ends_in_its_row
}

async fn a_fan_out_feeds_its_outputs_in_order_to_the_next_step(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit(
            "  list: {activity: test.act@1, with: {what: succeed, value: [3, 1, 2]}}\n\
             \x20 each: {activity: test.act@1, for_each: steps.list.output, with: {what: succeed, value: \"${{ each * 10 }}\"}}\n\
             \x20 join: {activity: test.act@1, with: {what: succeed, value: \"${{ steps.each.output }}\"}}",
        )
        .await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(
        snapshot.run.status,
        RunStatus::Succeeded,
        "{:?}",
        snapshot.run.error
    );
    let join = snapshot
        .steps
        .iter()
        .find(|record| record.step.id.node == "join");
    assert_eq!(
        join.and_then(|record| record.step.output.clone()),
        Some(json!([30, 10, 20]))
    );
    worker.stop().await;
}

async fn failures_and_panics_cost_an_attempt_each_and_are_retried(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let retry = "retry: {backoff: {initial: 10ms, max: 10ms}}";
    let run = stage
        .submit(&format!(
            "  a: {{activity: test.act@1, {retry}, with: {{what: fail, times: 2}}}}\n\
             \x20 b: {{activity: test.act@1, {retry}, with: {{what: panic, times: 1}}}}"
        ))
        .await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Succeeded);
    assert_eq!(
        classes(&snapshot, "a"),
        [ErrorClass::Transient, ErrorClass::Transient]
    );
    assert_eq!(classes(&snapshot, "b"), [ErrorClass::Bug]);
    worker.stop().await;
}

async fn bad_media_is_never_retried_and_its_plan_is_not_executable(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit(
            "  a: {activity: test.act@1, with: {what: succeed}}\n\
             \x20 b: {activity: test.act@1, needs: [a], with: {what: refuse}}\n\
             \x20 c: {activity: test.act@1, needs: [b], with: {what: succeed}}",
        )
        .await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Failed);
    assert_eq!(classes(&snapshot, "b"), [ErrorClass::Input]);
    let plan = stage
        .coordinator
        .store
        .load_plan(&run)
        .await
        .unwrap()
        .expect("a plan");
    let actions: Vec<_> = plan
        .steps
        .iter()
        .map(|step| (step.action, step.reason))
        .collect();
    assert_eq!(
        actions,
        [
            (Action::Reuse, Reason::Succeeded),
            (Action::Blocked, Reason::FailedPermanent),
            (Action::Blocked, Reason::UpstreamBlocked),
        ]
    );
    assert!(
        !plan.executable && plan.warnings.len() == 1,
        "{:?}",
        plan.warnings
    );
    assert!(stage.execute(&plan).await.is_err());
    worker.stop().await;
}

async fn an_executed_plan_runs_what_failed_and_keeps_the_rest(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit(
            "  a: {activity: test.act@1, with: {what: succeed, value: 7}}\n\
             \x20 b: {activity: test.act@1, needs: [a], retry: {max_attempts: 1}, with: {what: fail, times: 1}}",
        )
        .await;
    assert_eq!(stage.stopped(&run).await.run.status, RunStatus::Failed);
    let plan = stage
        .coordinator
        .verify_plan(&run)
        .await
        .unwrap()
        .expect("a plan");
    stage.execute(&plan).await.expect("executed");
    assert!(
        stage.execute(&plan).await.is_err(),
        "a plan is executed once"
    );
    let snapshot = stage.stopped(&run).await;
    assert_eq!(
        (snapshot.run.status, snapshot.run.round),
        (RunStatus::Succeeded, 2)
    );
    let attempts: Vec<_> = snapshot
        .steps
        .iter()
        .map(|record| record.attempts.len())
        .collect();
    assert_eq!(attempts, [1, 2]);
    worker.stop().await;
}

/// A run whose step has a third checkpoint and whose worker was stopped there.
async fn stopped_at_three(home: Home) -> (Stage, RunId) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit("  a: {activity: test.act@1, with: {what: count}}")
        .await;
    stage
        .until(&run, |snapshot| {
            snapshot.steps[0]
                .step
                .checkpoint
                .as_ref()
                .is_some_and(|checkpoint| checkpoint.seq == 3)
        })
        .await;
    worker.stop().await;
    (stage, run)
}

async fn a_stopped_worker_gives_its_step_back_at_a_checkpoint(home: Home) {
    let (stage, run) = stopped_at_three(home).await;
    let released = stage
        .until(&run, |s| s.steps[0].step.status == StepStatus::Ready)
        .await;
    assert_eq!(
        released.steps[0].attempts[0].outcome,
        Some(AttemptOutcome::Released)
    );
    assert_eq!(released.steps[0].step.charged, 0, "nobody is charged");
    let worker = stage.work().await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.steps[0].step.output, Some(json!({"from": 3})));
    assert_eq!(snapshot.steps[0].attempts[1].resumed_from, Some(3));
    worker.stop().await;
}

async fn an_attempt_without_progress_is_ended_as_stalled(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit(
            "  a: {activity: test.act@1, timeout: {stall: 1s}, retry: {backoff: {initial: 10ms}}, with: {what: hang, times: 1}}",
        )
        .await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Succeeded);
    assert_eq!(classes(&snapshot, "a"), [ErrorClass::Stalled]);
    worker.stop().await;
}

async fn a_cancelled_run_stops_its_attempts_and_can_be_retried(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit("  a: {activity: test.act@1, with: {what: hang, times: 1}}")
        .await;
    stage
        .until(&run, |snapshot| {
            snapshot.steps[0].step.status == StepStatus::Running
        })
        .await;
    stage
        .coordinator
        .cancel(&run, "a test", Some("it wants to see"))
        .await
        .expect("cancelled");
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Cancelled);
    let error = snapshot.run.error.expect("a reason");
    assert_eq!(error.message, "cancelled by a test: it wants to see");
    let plan = stage
        .coordinator
        .verify_plan(&run)
        .await
        .unwrap()
        .expect("a plan");
    stage.execute(&plan).await.expect("executed");
    assert_eq!(stage.stopped(&run).await.run.status, RunStatus::Succeeded);
    worker.stop().await;
}

async fn the_same_request_again_is_the_same_run(home: Home) {
    let stage = Stage::on(home).await;
    let steps = "  a: {activity: test.act@1, with: {what: succeed}}";
    assert_eq!(stage.submit(steps).await, stage.submit(steps).await);
    let elsewhere = Stage::on(stage.home.clone()).await;
    assert_eq!(stage.submit(steps).await, elsewhere.submit(steps).await);
}

async fn two_workers_share_a_fan_out_and_run_each_item_once(home: Home) {
    let stage = Stage::on(home).await;
    let other = Stage::on(stage.home.clone()).await;
    let (one, two) = (stage.work().await, other.work().await);
    let run = stage
        .submit(
            "  a: {activity: test.act@1, for_each: \"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]\", with: {what: succeed}}",
        )
        .await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Succeeded);
    assert!(
        snapshot
            .steps
            .iter()
            .all(|record| record.attempts.len() == 1)
    );
    one.stop().await;
    two.stop().await;
}

async fn an_attempt_that_refuses_its_checkpoint_is_not_said_to_have_resumed(home: Home) {
    let (stage, run) = stopped_at_three(home).await;

    let other = Stage::with_tool(stage.home.clone(), "tool 2").await;
    let worker = other.work().await;
    let begun = other
        .until(&run, |snapshot| {
            let step = &snapshot.steps[0].step;
            step.checkpoint
                .as_ref()
                .is_some_and(|checkpoint| checkpoint.attempt == 2 && checkpoint.seq == 6)
        })
        .await;
    assert_eq!(begun.steps[0].attempts[1].resumed_from, None);
    let store = &other.coordinator.store;
    let events = store.events(&run, 0, 1000).await.unwrap();
    let dropped: Vec<_> = events
        .iter()
        .filter(|event| event.event.kind == "step.checkpoint_dropped")
        .map(|event| &event.event.data)
        .collect();
    assert_eq!(dropped.len(), 1, "{events:?}");
    assert_eq!(
        (&dropped[0]["attempt"], &dropped[0]["seq"]),
        (&json!(2), &json!(3))
    );
    worker.stop().await;
}

async fn looking_at_a_stopped_run_again_changes_nothing(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit(
            "  a: {activity: test.act@1, retry: {max_attempts: 1}, with: {what: fail, times: 1}}",
        )
        .await;
    stage.stopped(&run).await;
    worker.stop().await;
    let first = stage.coordinator.verify_plan(&run).await.unwrap();
    let second = stage.coordinator.verify_plan(&run).await.unwrap();
    assert_eq!(second, first, "the same plan has the same id");
}

async fn a_full_disk_costs_one_attempt_and_the_plan_says_to_make_room(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let retry = "retry: {max_attempts: 4, backoff: {initial: 10ms, max: 10ms}}";
    let run = stage
        .submit(&format!(
            "  a: {{activity: test.act@1, {retry}, with: {{what: fill, times: 1}}}}"
        ))
        .await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Failed);
    assert_eq!(classes(&snapshot, "a"), [ErrorClass::Resource]);
    let error = snapshot.run.error.expect("a reason");
    let scratch = stage.parts.scratch.display().to_string();
    assert!(error.message.contains(&scratch), "{}", error.message);
    let plan = stage.coordinator.verify_plan(&run).await.unwrap().unwrap();
    assert!(plan.executable);
    assert!(
        plan.warnings[0].starts_with("make room first: "),
        "{plan:?}"
    );
    stage.execute(&plan).await.expect("executed");
    assert_eq!(stage.stopped(&run).await.run.status, RunStatus::Succeeded);
    worker.stop().await;
}

async fn a_missing_permission_costs_one_attempt_and_can_be_given(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit("  a: {activity: test.act@1, with: {what: forbid, times: 1}}")
        .await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(classes(&snapshot, "a"), [ErrorClass::Config]);
    let plan = stage.coordinator.verify_plan(&run).await.unwrap().unwrap();
    assert!(plan.executable, "{plan:?}");
    assert!(
        plan.warnings[0].starts_with("give permission first: "),
        "{plan:?}"
    );
    stage.execute(&plan).await.expect("executed");
    assert_eq!(stage.stopped(&run).await.run.status, RunStatus::Succeeded);
    worker.stop().await;
}

async fn a_rule_that_names_a_full_disk_is_followed(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let steps = |rule: &str| {
        format!(
            "  a: {{activity: test.act@1, retry: {{backoff: {{initial: 10ms}}, rules: [{rule}]}}, with: {{what: fill, times: 1}}}}"
        )
    };
    let run = stage.submit(&steps("{code: disk_full}")).await;
    assert_eq!(stage.stopped(&run).await.run.status, RunStatus::Succeeded);
    let run = stage.submit(&steps("{class: resource}")).await;
    assert_eq!(stage.stopped(&run).await.run.status, RunStatus::Failed);
    worker.stop().await;
}

/// The database takes one artifact of a type, and no second.
async fn a_report_that_the_database_refuses_ends_the_attempt_with_a_reason(home: Home) {
    let stage = Stage::on(home).await;
    let refuse = "create unique index refuse on artifact (media_type)";
    stage.home.execute(refuse).await;
    let worker = stage.work().await;
    let run = stage
        .submit(
            "  a: {activity: test.act@1, with: {what: store, value: first.txt}}\n\
             \x20 b: {activity: test.act@1, needs: [a], retry: {max_attempts: 1}, with: {what: store, value: second.txt}}",
        )
        .await;
    let failed = stage.stopped(&run).await;
    assert_eq!(failed.run.status, RunStatus::Failed);
    let error = failed.run.error.clone().unwrap();
    assert_eq!(
        (error.class, error.code.as_str()),
        (ErrorClass::Bug, "report_refused")
    );
    let outcomes: Vec<_> = failed
        .steps
        .iter()
        .map(|it| it.attempts[0].outcome)
        .collect();
    let (done, refused) = (AttemptOutcome::Succeeded, AttemptOutcome::Failed);
    assert_eq!(outcomes, [Some(done), Some(refused)]);

    stage.home.execute("drop index refuse").await;
    let plan = stage.coordinator.verify_plan(&run).await.unwrap().unwrap();
    stage.execute(&plan).await.unwrap();
    assert_eq!(stage.stopped(&run).await.run.status, RunStatus::Succeeded);
    worker.stop().await;
}

/// Though each attempt is recorded.
async fn a_service_that_is_away_costs_a_step_no_attempt(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit(
            "  a: {activity: test.act@1, retry: {max_attempts: 2, backoff: {initial: 1ms}}, \
             with: {what: outage, times: 6}}",
        )
        .await;
    let ended = stage.stopped(&run).await;
    assert_eq!(ended.run.status, RunStatus::Succeeded, "{ended:#?}");
    let record = &ended.steps[0];
    assert_eq!((record.step.attempts, record.step.charged), (7, 1));
    let failed = record.attempts[..6].iter();
    assert!(
        failed
            .clone()
            .all(|it| it.outcome == Some(AttemptOutcome::Failed))
    );
    worker.stop().await;
}

/// What is charged after the last one that is not ends nothing.
async fn a_service_that_stays_away_is_given_up(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit(
            "  a: {activity: test.act@1, retry: {max_attempts: 2, backoff: {initial: 1ms, max: 1ms}}, \
             with: {what: outage, times: 99}}",
        )
        .await;
    let ended = stage.stopped(&run).await;
    assert_eq!(ended.run.status, RunStatus::Failed, "{ended:#?}");
    assert_eq!(ended.steps[0].step.attempts, limits::OUTAGES + 2);
    worker.stop().await;
}

/// Those wrote the row when an attempt began, and said nothing of it in the step.
async fn an_attempt_that_an_earlier_release_began_ends_in_its_row(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage
        .submit("  a: {activity: test.act@1, with: {what: hang, times: 1}}")
        .await;
    stage
        .until(&run, |it| it.steps[0].step.status == StepStatus::Running)
        .await;
    stage
        .home
        .execute(
            "insert into attempt (run, node, item, n, round, worker, started_at, resumed_from) \
             select run, node, item, attempts, round, session, started_at, 7 from step; \
             update step set claimed_at = null, resumed_from = null",
        )
        .await;
    let of = |snapshot: &Snapshot| {
        let attempts = snapshot.steps[0].attempts.iter();
        let told = attempts.map(|it| (it.n, it.outcome, it.resumed_from));
        told.collect::<Vec<_>>()
    };
    let begun = stage.until(&run, |_| true).await;
    assert_eq!(of(&begun), [(1, None, Some(7))]);
    worker.kill(&stage).await;
    let lost = stage
        .until(&run, |it| it.steps[0].step.status == StepStatus::Ready)
        .await;
    assert_eq!(of(&lost), [(1, Some(AttemptOutcome::Lost), Some(7))]);
    let (before, after) = (&begun.steps[0].attempts[0], &lost.steps[0].attempts[0]);
    assert_eq!(before.started_at, after.started_at);
}
