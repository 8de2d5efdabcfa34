//! Retry plans that somebody changes, proves and executes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod published;
pub(crate) mod rounds;

use std::sync::Arc;

use serde_json::json;
use telecine_engine::coordinator::PlanError;
use telecine_engine::definition::Definition;
use telecine_engine::id::{PlanId, RunId};
use telecine_engine::limits;
use telecine_engine::retry::adoption::Change;
use telecine_engine::retry::edits::{Edits, Skip};
use telecine_engine::retry::plan::{Action, Reason, RetryPlan};
use telecine_engine::retry::world::Verification;
use telecine_engine::run::RunStatus;

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    a_step_gets_the_parameters_that_an_edit_sets_and_keeps_them
    a_step_that_is_left_out_and_one_that_is_supplied_let_the_rest_go_on
    edits_that_cannot_work_are_refused_together_and_change_nothing
    a_step_that_never_ran_is_held_to_its_schema
    of_two_who_execute_the_same_plan_one_does
    an_object_that_was_written_since_is_read
    an_object_whose_bytes_changed_is_found_by_reading_it
    an_object_of_a_checkpoint_whose_bytes_changed_is_not_forgotten
    what_was_found_corrupt_is_so_when_a_held_job_is_cancelled
    a_supplied_list_has_no_more_items_than_a_run_may_have_steps
    a_plan_is_proved_soon_after_its_run_stopped
    a_plan_that_nobody_proved_is_proved_by_whoever_starts
    a_job_goes_on_with_another_definition_and_keeps_what_is_the_same
    a_definition_that_a_job_cannot_go_on_with_is_refused
    a_default_that_was_corrected_is_told_where_it_has_no_effect
}

const FAILS: &str = "activity: test.act@1, retry: {max_attempts: 1}";

/// A run that failed in `b`, which `c` needs, and the stage that it is on.
async fn failed(home: Home) -> (Stage, RunId) {
    failed_after(home, "store").await
}

/// The same, of which `a` does that with `a.json`.
async fn failed_after(home: Home, a: &str) -> (Stage, RunId) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let steps = format!(
        "  a: {{activity: test.act@1, with: {{what: {a}, value: a.json}}}}\n\
         \x20 b: {{{FAILS}, needs: [a], with: {{what: fail, times: 9, value: 1}}}}\n\
         \x20 c: {{activity: test.act@1, with: {{what: succeed, value: \"${{{{ steps.b.output }}}}\"}}}}"
    );
    let run = stage.submit(&steps).await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Failed);
    worker.stop().await;
    (stage, run)
}

async fn plan(stage: &Stage, run: &RunId, edits: &Edits) -> Result<RetryPlan, PlanError> {
    let by = (edits, "anna");
    stage.coordinator.plan(run, by, Verification::Heads).await
}

/// Where and why edits are refused.
async fn refused(stage: &Stage, run: &RunId, edits: &Edits) -> Vec<(String, &'static str)> {
    let Err(PlanError::Edits(errors)) = plan(stage, run, edits).await else {
        panic!("they cannot work");
    };
    let errors = errors.into_iter();
    errors.map(|error| (error.pointer, error.code)).collect()
}

/// Executes a plan and answers how the run ended, with the output of its last step.
async fn finish(stage: &Stage, plan: &RetryPlan) -> (RunStatus, serde_json::Value) {
    let worker = stage.work().await;
    stage.execute(plan).await.expect("executed");
    let snapshot = stage.stopped(&plan.job).await;
    worker.stop().await;
    let last = snapshot.steps.last().unwrap();
    let output = last.step.output.clone().unwrap_or_default();
    (snapshot.run.status, output)
}

fn does(plan: &RetryPlan) -> Vec<(Action, Reason)> {
    let steps = plan.steps.iter();
    steps.map(|step| (step.action, step.reason)).collect()
}

async fn a_step_gets_the_parameters_that_an_edit_sets_and_keeps_them(home: Home) {
    let (stage, run) = failed(home).await;
    let values = [
        ("/what".to_owned(), json!("succeed")),
        ("/value".to_owned(), json!(7)),
    ];
    let edits = Edits {
        set: [("b".to_owned(), values.into())].into(),
        ..Edits::default()
    };
    let changed = plan(&stage, &run, &edits).await.unwrap();
    let again = plan(&stage, &run, &edits).await.unwrap();
    assert_eq!((&again.id, &again.digest), (&changed.id, &changed.digest));
    assert_eq!(does(&changed)[1], (Action::Rerun, Reason::ParamsChanged));
    assert_eq!(
        finish(&stage, &changed).await,
        (RunStatus::Succeeded, json!(7))
    );
    let events = stage
        .coordinator
        .store
        .events(&run, 0, 1_000)
        .await
        .unwrap();
    let edited: Vec<_> = events
        .iter()
        .filter(|it| it.event.kind == "plan.edited")
        .map(|it| (it.event.data["path"].clone(), it.event.data["by"].clone()))
        .collect();
    assert_eq!(
        edited,
        [
            (json!("/value"), json!("anna")),
            (json!("/what"), json!("anna"))
        ]
    );
}

async fn a_step_that_is_left_out_and_one_that_is_supplied_let_the_rest_go_on(home: Home) {
    let (stage, run) = failed(home).await;
    let skip = Edits {
        skip: vec![Skip {
            step: "b".to_owned(),
            why: "nobody needs it".to_owned(),
        }],
        ..Edits::default()
    };
    let without = plan(&stage, &run, &skip).await.unwrap();
    let out = (Action::Skip, Reason::SkippedByOperator);
    assert_eq!(does(&without)[1], out);
    let supply = Edits {
        supply: [("b".to_owned(), json!({"by": "hand"}))].into(),
        ..Edits::default()
    };
    let supplied = plan(&stage, &run, &supply).await.unwrap();
    assert_eq!(
        does(&supplied)[1],
        (Action::Reuse, Reason::SuppliedByOperator)
    );
    let superseded = stage.execute(&without).await;
    assert!(matches!(superseded, Err(PlanError::Superseded(now)) if now.id == supplied.id));
    let ended = finish(&stage, &supplied).await;
    assert_eq!(ended, (RunStatus::Succeeded, json!({"by": "hand"})));
}

async fn edits_that_cannot_work_are_refused_together_and_change_nothing(home: Home) {
    let (stage, run) = failed(home).await;
    let before = stage.coordinator.verify_plan(&run).await.unwrap();
    let values = |path: &str| [(path.to_owned(), json!([]))].into();
    let edits = Edits {
        force: vec!["nobody".to_owned(), "b[3]".to_owned()],
        skip: vec![Skip {
            step: "a".to_owned(),
            why: " ".to_owned(),
        }],
        set: [
            ("b".to_owned(), values("/times")),
            ("c".to_owned(), values("/unknown/x")),
        ]
        .into(),
        queue: Some("slow".to_owned()),
        ..Edits::default()
    };
    let told = refused(&stage, &run, &edits).await;
    let expected = [
        ("/force/0", "unknown_step"),
        ("/force/1", "unknown_step"),
        ("/skip/0/why", "why_missing"),
        ("/set/b/~1times", "bad_value"),
        ("/set/c/~1unknown~1x", "unknown_path"),
        ("/queue", "unknown_queue"),
    ];
    let expected = expected.map(|(pointer, code)| (pointer.to_owned(), code));
    assert_eq!(told, expected);
    let after = stage.coordinator.store.load_plan(&run).await.unwrap();
    assert_eq!(after.map(|plan| plan.id), before.map(|plan| plan.id));
}

async fn a_step_that_never_ran_is_held_to_its_schema(home: Home) {
    let (stage, run) = failed(home).await;
    let set = |path: &str, value| Edits {
        set: [("c".to_owned(), [(path.to_owned(), value)].into())].into(),
        ..Edits::default()
    };
    for (path, value, code) in [
        ("/times", json!([]), "bad_value"),
        ("/what/more", json!(1), "unknown_path"),
        ("/wat", json!("succeed"), "unknown_path"),
    ] {
        let place = format!("/set/c/{}", path.replace('/', "~1"));
        let told = refused(&stage, &run, &set(path, value)).await;
        assert_eq!(told, [(place, code)]);
    }
    let open = set("/value", json!({"any": "thing"}));
    plan(&stage, &run, &open).await.expect("it may be anything");
}

async fn of_two_who_execute_the_same_plan_one_does(home: Home) {
    let (stage, run) = failed(home).await;
    let plan = stage.coordinator.verify_plan(&run).await.unwrap().unwrap();
    let (one, other) = tokio::join!(stage.execute(&plan), stage.execute(&plan));
    let refused = match (one, other) {
        (Ok(_), Err(refused)) | (Err(refused), Ok(_)) => refused,
        both => panic!("one of them: {both:?}"),
    };
    assert!(matches!(refused, PlanError::Executed(_)), "{refused:?}");
    let unknown = stage.coordinator.load_plan(&run, &PlanId::generate()).await;
    assert!(matches!(unknown, Err(PlanError::NoPlan { .. })));
    let running = stage.coordinator.verify(&run, Verification::Heads).await;
    assert!(matches!(running, Err(PlanError::NotStopped { .. })));
}

/// Its size is right, and its etag is not: only then is it read, and its bytes count.
async fn an_object_that_was_written_since_is_read(home: Home) {
    let (stage, run) = failed(home).await;
    let file = stage.directory().join("a.json");
    let bytes = std::fs::read(&file).unwrap();
    let verify = async || stage.coordinator.verify(&run, Verification::Heads).await;
    let first = verify().await.unwrap();
    assert_eq!(does(&first)[0], (Action::Reuse, Reason::Succeeded));
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(verify().await.unwrap().digest, first.digest, "as it was");
    std::fs::write(&file, "next").unwrap();
    let found = verify().await.unwrap();
    let corrupt = (Action::Rerun, Reason::ArtifactCorrupt);
    assert_eq!(does(&found)[0], corrupt);
    let proof = found.steps[0].proof.as_ref().expect("what it lacks");
    let lacks = &proof.artifacts[0];
    assert_eq!(
        (&*lacks.artifact.key, lacks.verified),
        ("a.json", Some(false))
    );
}

/// What its store called it when it was made is not known.
async fn an_object_whose_bytes_changed_is_found_by_reading_it(home: Home) {
    let (stage, run) = failed_after(home, "leave").await;
    let heads = stage
        .coordinator
        .verify(&run, Verification::Heads)
        .await
        .unwrap();
    let file = stage.directory().join("a.json");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let again = stage
        .coordinator
        .verify(&run, Verification::Heads)
        .await
        .unwrap();
    assert_eq!(again.digest, heads.digest, "its size is right");
    let full = stage
        .coordinator
        .verify(&run, Verification::Full)
        .await
        .unwrap();
    let corrupt = (Action::Rerun, Reason::ArtifactCorrupt);
    assert_eq!(does(&full)[0], corrupt);
    // What reading found counts at the execution, which reads nothing else.
    stage.execute(&full).await.expect("it is the same plan");
}

async fn an_object_of_a_checkpoint_whose_bytes_changed_is_not_forgotten(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let step = format!("  b: {{{FAILS}, with: {{what: leave, value: b.json, times: 1}}}}");
    let run = stage.submit(&step).await;
    stage.stopped(&run).await;
    worker.stop().await;
    std::fs::write(stage.directory().join("b.json"), "next").unwrap();
    let verify = async |how| stage.coordinator.verify(&run, how).await.unwrap();
    let resume = (Action::Resume, Reason::FailedRetryable);
    assert_eq!(
        does(&verify(Verification::Heads).await),
        [resume],
        "its size is right"
    );
    let full = verify(Verification::Full).await;
    assert_eq!(does(&full), [(Action::Rerun, Reason::FailedRetryable)]);
    // Why the step runs again is not that its object is wrong: that has to be known all the same.
    assert_eq!(verify(Verification::Heads).await.digest, full.digest);
    let (status, _) = finish(&stage, &full).await;
    assert_eq!(status, RunStatus::Succeeded);
    let text = std::fs::read_to_string(stage.directory().join("b.json"));
    assert_eq!(text.unwrap(), "text", "it was made again");
}

/// Whoever stops the job looks at nothing.
async fn what_was_found_corrupt_is_so_when_a_held_job_is_cancelled(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let steps = format!(
        "  a: {{activity: test.act@1, with: {{what: store, value: a.json}}}}\n\
         \x20 b: {{{FAILS}, on_failure: hold, needs: [a], with: {{what: fail, times: 1, value: 1}}}}"
    );
    let run = stage.submit(&steps).await;
    assert_eq!(stage.stopped(&run).await.run.status, RunStatus::Held);
    worker.stop().await;
    std::fs::write(stage.directory().join("a.json"), "next").unwrap();
    let full = stage.coordinator.verify(&run, Verification::Full).await;
    let corrupt = (Action::Rerun, Reason::ArtifactCorrupt);
    assert_eq!(does(&full.unwrap())[0], corrupt);

    stage.coordinator.cancel(&run, "anna", None).await.unwrap();
    let plan = stage.coordinator.store.load_plan(&run).await.unwrap();
    let plan = plan.unwrap();
    assert_eq!(
        (does(&plan)[0], &plan.corrupt[..]),
        (corrupt, &["a.json".to_owned()][..])
    );
    let (status, _) = finish(&stage, &plan).await;
    assert_eq!(status, RunStatus::Succeeded);
    let text = std::fs::read_to_string(stage.directory().join("a.json"));
    assert_eq!(text.unwrap(), "text", "it was made again");
}

async fn a_supplied_list_has_no_more_items_than_a_run_may_have_steps(home: Home) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let step = format!("  l: {{{FAILS}, for_each: \"[1, 2]\", with: {{what: fail, times: 9}}}}");
    let run = stage.submit(&step).await;
    stage.stopped(&run).await;
    worker.stop().await;
    let long = json!(vec![0; limits::STEPS_PER_RUN + 1]);
    let edits = Edits {
        supply: [("l".to_owned(), long)].into(),
        ..Edits::default()
    };
    let told = refused(&stage, &run, &edits).await;
    assert_eq!(told, [("/supply/l".to_owned(), "output_too_large")]);
}

async fn a_plan_is_proved_soon_after_its_run_stopped(home: Home) {
    let stage = Stage::on(home).await;
    let mut worker = stage.work().await;
    worker.prove_plans(&stage);
    let steps = format!("  b: {{{FAILS}, with: {{what: fail, times: 9}}}}");
    let run = stage.submit(&steps).await;
    stage.stopped(&run).await;
    proved(&stage, &run).await;
    worker.stop().await;
}

/// The process that stopped the run is gone.
async fn a_plan_that_nobody_proved_is_proved_by_whoever_starts(home: Home) {
    let (stage, run) = failed(home).await;
    let plan = stage.coordinator.store.load_plan(&run).await.unwrap();
    assert_eq!(plan.and_then(|plan| plan.verified), None);
    let mut next = stage.idle().await;
    next.prove_plans(&stage);
    proved(&stage, &run).await;
    next.stop().await;
}

/// Waits until the objects of the plan of a run were looked at.
async fn proved(stage: &Stage, run: &RunId) {
    let proved = async {
        loop {
            let plan = stage.coordinator.store.load_plan(run).await.unwrap();
            if plan.is_some_and(|plan| plan.verified.is_some()) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let proved = tokio::time::timeout(std::time::Duration::from_secs(20), proved).await;
    proved.expect("somebody looks");
}

/// A version of the workflow of [`failed`], installed on a stage.
fn install(stage: &mut Stage, version: u32, steps: &str) -> Arc<Definition> {
    let definition = Arc::new(stage.define(version, steps));
    stage.coordinator.workflows = [definition.clone()].into();
    definition
}

fn onto(name: &str) -> Edits {
    Edits {
        definition: Some(name.to_owned()),
        ..Edits::default()
    }
}

async fn a_job_goes_on_with_another_definition_and_keeps_what_is_the_same(home: Home) {
    let (mut stage, run) = failed(home).await;
    // `a` in other words, `b` that succeeds, no `c`, and a new step.
    let steps = "  d: {activity: test.act@1, with: {what: succeed, value: \"${{ steps.b.output }}\"}}\n\
                 \x20 b: {activity: test.act@1, needs: [a], with: {what: succeed, value: 2}}\n\
                 \x20 a: {activity: test.act@1, with: {what: store, value: \"${{ 'a' + '.json' }}\"}}";
    let second = install(&mut stage, 2, steps);
    let before = stage
        .coordinator
        .store
        .load_run(&run)
        .await
        .unwrap()
        .unwrap();
    let shown = plan(&stage, &run, &onto("test:act@2")).await.unwrap();
    let again = plan(&stage, &run, &onto(&second.digest())).await.unwrap();
    assert_eq!((&again.id, &again.digest), (&shown.id, &shown.digest));
    let expected = [
        (Action::Reuse, Reason::Succeeded),
        (Action::Rerun, Reason::ParamsChanged),
        (Action::Rerun, Reason::NeverRan),
    ];
    assert_eq!(does(&shown), expected);
    let differs = shown.steps[1].differs.clone().unwrap();
    assert_eq!(differs.path, "/input/times");
    let changes = shown.changes.clone().unwrap();
    let told: Vec<_> = changes
        .steps
        .iter()
        .map(|it| (it.step.as_str(), it.change))
        .collect();
    let expected = [
        ("a", Change::Changed),
        ("b", Change::Changed),
        ("d", Change::Added),
        ("c", Change::Removed),
    ];
    assert_eq!(told, expected);

    goes_on(&stage, &shown).await;
    history_tells(&stage, (&run, &before.definition), &second.digest()).await;
}

/// Two execute the plan, and the job ends with what it says.
async fn goes_on(stage: &Stage, shown: &RetryPlan) {
    let second = &shown.changes.as_ref().unwrap().digest;
    let run = &shown.job;
    let (one, other) = tokio::join!(stage.execute(shown), stage.execute(shown));
    assert!(
        one.is_ok() != other.is_ok(),
        "one of them: {one:?} {other:?}"
    );
    let worker = stage.work().await;
    let ended = stage.stopped(run).await;
    worker.stop().await;
    assert_eq!(ended.run.status, RunStatus::Succeeded, "{ended:#?}");
    assert_eq!((ended.run.version, &ended.run.definition), (2, second));
    let rows: Vec<_> = ended
        .steps
        .iter()
        .map(|it| {
            (
                it.step.id.to_string(),
                it.step.attempts,
                it.step.output.clone(),
            )
        })
        .collect();
    let expected = [
        ("a".to_owned(), 1, Some(json!("a.json"))),
        ("b".to_owned(), 2, Some(json!(2))),
        ("d".to_owned(), 1, Some(json!(2))),
    ];
    assert_eq!(rows, expected);
}

/// Who made the edit, and from which definition to which it moved the job.
async fn history_tells(stage: &Stage, (run, from): (&RunId, &str), to: &str) {
    let events = stage.coordinator.store.events(run, 0, 1_000).await.unwrap();
    let of = |kind: &str| {
        events
            .iter()
            .find(|it| it.event.kind == kind)
            .map(|it| it.event.data.clone())
    };
    assert_eq!(
        of("plan.edited").unwrap()["definition"],
        json!("test:act@2")
    );
    let reopened = of("run.reopened").unwrap();
    assert_eq!(reopened["definition"], json!({"from": from, "to": to}));
}

async fn a_default_that_was_corrected_is_told_where_it_has_no_effect(home: Home) {
    let mut stage = Stage::on(home).await;
    let of_version = |stage: &Stage, version: u32, crf: u32| {
        let steps = format!("  b: {{{FAILS}, with: {{what: fail, times: 1}}}}");
        let mut definition = stage.define(version, &steps);
        let crf = json!({"type": "integer", "default": crf});
        let input = json!({"type": "object", "properties": {"crf": crf, "same": {"default": 1}}});
        definition.input = input.into();
        Arc::new(definition)
    };
    let (first, second) = (of_version(&stage, 1, 23), of_version(&stage, 2, 28));
    stage.coordinator.workflows = [second].into();
    let worker = stage.work().await;
    let run = stage.submit_definition((*first).clone(), json!({})).await;
    stage.stopped(&run).await;
    worker.stop().await;
    let shown = plan(&stage, &run, &onto("test:act@2")).await.unwrap();
    let told = "the job keeps crf as its input was filled in, although the default of test:act@2 is another one: \
                set it in the steps that read it, or submit a new job";
    assert!(
        shown.warnings.iter().any(|it| it == told),
        "{:?}",
        shown.warnings
    );
}

async fn a_definition_that_a_job_cannot_go_on_with_is_refused(home: Home) {
    let (mut stage, run) = failed(home).await;
    let code = async |stage: &Stage, name: &str| match plan(stage, &run, &onto(name)).await {
        Err(PlanError::Edits(errors)) => {
            assert!(
                errors.iter().all(|error| error.pointer == "/definition"),
                "{errors:?}"
            );
            errors[0].code
        }
        other => panic!("{name} cannot be: {other:?}"),
    };
    let list = "  a: {activity: test.act@1, for_each: \"[1]\", with: {what: succeed}}";
    install(&mut stage, 2, list);
    assert_eq!(code(&stage, "test:act@2").await, "step_kind_changed");
    assert_eq!(code(&stage, "test:act@3").await, "unknown_definition");
    assert_eq!(code(&stage, "sha256:00").await, "unknown_definition");
    let current = stage
        .coordinator
        .store
        .load_run(&run)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(code(&stage, &current.definition).await, "same_definition");
    let mut other = stage.define(2, "  a: {activity: test.act@1, with: {what: succeed}}");
    other.input = json!({"type": "object", "required": ["size"]}).into();
    stage.coordinator.workflows = [Arc::new(other.clone())].into();
    assert_eq!(code(&stage, "test:act@2").await, "input_refused");
    other.name = "test:other".to_owned();
    stage.coordinator.workflows = [Arc::new(other)].into();
    assert_eq!(code(&stage, "test:other").await, "other_workflow");
    let plan = stage
        .coordinator
        .store
        .load_plan(&run)
        .await
        .unwrap()
        .unwrap();
    assert!(plan.edits.is_empty(), "nothing has changed");
}
