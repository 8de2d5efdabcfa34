//! What a step has made of an object beside the job's source is gone on with, and kept, for as long as that
//! object is the same.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use telecine_engine::activity::{Activity, ActivityError, Context};
use telecine_engine::id::RunId;
use telecine_engine::retry::edits::Edits;
use telecine_engine::retry::plan::{Action, PlanState, PlannedStep, Reason, RetryPlan};
use telecine_engine::retry::world::Verification;
use telecine_engine::run::{RunStatus, Snapshot};

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    a_resumed_step_goes_on_while_what_it_reads_is_the_same
    an_attempt_begins_anew_when_what_it_reads_was_replaced
    what_was_made_of_an_object_that_was_replaced_is_made_again
    what_is_gone_is_named_and_wanted_back
    what_is_published_stays_as_it_is_whatever_it_was_made_of
    an_object_that_nobody_can_read_is_corrected_and_the_step_forced
    what_is_missing_and_not_known_to_be_read_is_named_by_the_step
    a_checkpoint_is_not_gone_on_with_by_an_upgraded_activity
}

/// Writes pages, a checkpoint after each, all of which bear a mark.
#[derive(Debug)]
pub(crate) struct Blend;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    #[schemars(extend("x-telecine-source" = true))]
    mark: String,
    /// Attempts that fail after the second page.
    #[serde(default)]
    fails: u32,
    /// What takes the place of the mark then, once.
    #[serde(default)]
    by: Option<String>,
}

const PAGES: u32 = 3;

impl Activity for Blend {
    const NAME: &'static str = "test.blend";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Writes pages with a mark.";
    type Input = Input;
    type Output = Value;

    fn tool_fingerprint(&self) -> String {
        "blender 1".to_owned()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Value, ActivityError> {
        let from = ctx.checkpoint::<u32>()?.unwrap_or(0);
        let file = ctx.source_file(&input.mark).await?;
        let mark = std::fs::read_to_string(&file).expect("a mark");
        if mark == "bad" {
            return Err(ActivityError::input("bad_mark", "nobody can read the mark"));
        }
        for page in from + 1..=PAGES {
            if let (PAGES, 1, Some(by)) = (page, ctx.attempt(), &input.by) {
                std::fs::rename(file.with_file_name(by), &file).expect("another mark");
            }
            if page == PAGES && ctx.attempt() <= input.fails {
                return Err(ActivityError::transient("wanted", "the test wants it"));
            }
            let key = format!("page{page}.txt");
            ctx.put_bytes(&key, mark.clone(), "text/plain").await?;
            ctx.save_checkpoint(&page, None, Vec::new()).await?;
        }
        Ok(json!({"from": from}))
    }
}

/// A run that has stopped short, with a mark that says `one`.
async fn stopped(home: Home, steps: &str) -> (Stage, RunId) {
    let stage = Stage::on(home).await;
    write(&stage, "mark.txt", "one");
    let snapshot = run(&stage, steps).await;
    let id = snapshot.run.id.clone();
    assert_eq!(snapshot.run.status, RunStatus::Failed, "{snapshot:#?}");
    (stage, id)
}

async fn run(stage: &Stage, steps: &str) -> Snapshot {
    let worker = stage.work().await;
    let run = stage.submit(steps).await;
    let snapshot = stage.stopped(&run).await;
    worker.stop().await;
    snapshot
}

fn write(stage: &Stage, name: &str, text: &str) {
    // A new file, as whoever replaces an object makes one.
    let file = stage.directory().join(name);
    let _ = std::fs::remove_file(&file);
    std::fs::write(file, text).unwrap();
}

fn pages(stage: &Stage) -> Vec<String> {
    let pages = (1..=PAGES).map(|page| stage.directory().join(format!("page{page}.txt")));
    pages
        .map(|it| std::fs::read_to_string(it).unwrap())
        .collect()
}

async fn plan(stage: &Stage, run: &RunId) -> RetryPlan {
    stage.coordinator.verify_plan(run).await.unwrap().unwrap()
}

async fn execute(stage: &Stage, plan: &RetryPlan) -> Snapshot {
    let worker = stage.work().await;
    stage.execute(plan).await.unwrap();
    let snapshot = stage.stopped(&plan.job).await;
    worker.stop().await;
    let error = &snapshot.run.error;
    assert_eq!(snapshot.run.status, RunStatus::Succeeded, "{error:?}");
    snapshot
}

fn step<'a>(plan: &'a RetryPlan, id: &str) -> &'a PlannedStep {
    let mut steps = plan.steps.iter();
    steps.find(|step| step.id.to_string() == id).unwrap()
}

fn does(plan: &RetryPlan, id: &str) -> (Action, Reason) {
    (step(plan, id).action, step(plan, id).reason)
}

const STOPS: &str =
    "  blend: {activity: test.blend@1, retry: {max_attempts: 1}, with: {mark: mark.txt, fails: 1}}";

async fn a_resumed_step_goes_on_while_what_it_reads_is_the_same(home: Home) {
    let (stage, run) = stopped(home, STOPS).await;
    let plan = plan(&stage, &run).await;
    assert_eq!(
        does(&plan, "blend"),
        (Action::Resume, Reason::FailedRetryable)
    );
    let snapshot = execute(&stage, &plan).await;
    assert_eq!(snapshot.steps[0].step.output, Some(json!({"from": 2})));
}

async fn an_attempt_begins_anew_when_what_it_reads_was_replaced(home: Home) {
    // In the middle of an attempt that fails, and of one that does not.
    for fails in [1, 0] {
        let stage = Stage::on(home.clone()).await;
        write(&stage, "mark.txt", "one");
        write(&stage, "other.txt", "two");
        let retry = "retry: {max_attempts: 2, backoff: {initial: 1ms}}";
        let with = format!("with: {{mark: mark.txt, fails: {fails}, by: other.txt}}");
        let steps = format!("  blend: {{activity: test.blend@1, {retry}, {with}}}");
        let snapshot = run(&stage, &steps).await;
        assert_eq!(snapshot.run.status, RunStatus::Succeeded, "{snapshot:#?}");
        let record = &snapshot.steps[0];
        let first = record.attempts[0].error.as_ref().unwrap();
        assert_eq!(first.code, "object_changed");
        assert_eq!(record.step.output, Some(json!({"from": 0})));
        assert_eq!(pages(&stage), ["two", "two", "two"]);
    }
}

async fn what_was_made_of_an_object_that_was_replaced_is_made_again(home: Home) {
    // One that had not come to its end.
    let (stage, run) = stopped(home.clone(), STOPS).await;
    write(&stage, "mark.txt", "another");
    let anew = plan(&stage, &run).await;
    assert_eq!(does(&anew, "blend"), (Action::Rerun, Reason::InputChanged));
    execute(&stage, &anew).await;
    assert_eq!(pages(&stage), ["another", "another", "another"]);

    // One that had, and one behind it.
    let steps = "  blend: {activity: test.blend@1, with: {mark: mark.txt}}\n\
                 \x20 next: {activity: test.act@1, needs: [blend], with: {what: succeed}}\n\
                 \x20 last: {activity: test.act@1, needs: [next], retry: {max_attempts: 1}, with: {what: fail, times: 1}}";
    let (stage, run) = stopped(home, steps).await;
    let kept = plan(&stage, &run).await;
    assert_eq!(does(&kept, "blend"), (Action::Reuse, Reason::Succeeded));
    write(&stage, "mark.txt", "a third");
    let anew = plan(&stage, &run).await;
    assert_eq!(does(&anew, "blend"), (Action::Rerun, Reason::InputChanged));
    let differs = step(&anew, "blend").differs.clone().unwrap();
    assert_eq!(differs.path, "/input/mark/etag", "{differs:?}");
    assert_eq!(
        does(&anew, "next"),
        (Action::Rerun, Reason::UpstreamChanged)
    );
    assert_ne!(kept.digest, anew.digest);
    execute(&stage, &anew).await;
    assert_eq!(pages(&stage), ["a third", "a third", "a third"]);
}

async fn what_is_gone_is_named_and_wanted_back(home: Home) {
    let (stage, run) = stopped(home, STOPS).await;
    std::fs::rename(
        stage.directory().join("mark.txt"),
        stage.directory().join("away.txt"),
    )
    .unwrap();
    let without = plan(&stage, &run).await;
    let warning = "put back first what is gone: mark.txt (blend reads it)";
    assert!(
        without.warnings.iter().any(|it| it == warning),
        "{without:#?}"
    );
    // It does not begin anew for that.
    assert_eq!(does(&without, "blend").0, Action::Resume);
    let worker = stage.work().await;
    stage.execute(&without).await.unwrap();
    let snapshot = stage.stopped(&run).await;
    worker.stop().await;
    assert_eq!(snapshot.run.error.unwrap().code, "object_missing");
    let kept = &snapshot.steps[0].step.checkpoint;
    assert!(kept.is_some(), "it may come back as it was");
    write(&stage, "mark.txt", "one");
    let with = plan(&stage, &run).await;
    assert_eq!(with.warnings, [""; 0], "nothing is gone");
    execute(&stage, &with).await;
}

async fn what_is_published_stays_as_it_is_whatever_it_was_made_of(home: Home) {
    let steps = "  blend: {activity: test.blend@1, with: {mark: mark.txt}}\n\
                 \x20 show: {activity: test.publish@1, with: {name: film, of: \"${{ steps.blend.output }}\"}}\n\
                 \x20 tell: {activity: test.act@1, needs: [show], retry: {max_attempts: 1}, with: {what: fail, times: 1}}";
    let (stage, run) = stopped(home, steps).await;
    write(&stage, "mark.txt", "another");
    let kept = plan(&stage, &run).await;
    assert_eq!(does(&kept, "blend"), (Action::Reuse, Reason::Succeeded));
    assert!(kept.executable, "{kept:#?}");
    // What is damaged can no longer be made as it was.
    std::fs::remove_file(stage.directory().join("page2.txt")).unwrap();
    let damaged = plan(&stage, &run).await;
    assert_eq!(
        does(&damaged, "blend"),
        (Action::Rerun, Reason::InputChanged)
    );
    assert!(!damaged.executable, "{damaged:#?}");
    assert!(
        damaged
            .warnings
            .iter()
            .any(|it| it.contains("blend would make otherwise")),
        "{:?}",
        damaged.warnings
    );

    // Nor without what it was made of.
    std::fs::remove_file(stage.directory().join("mark.txt")).unwrap();
    let without = plan(&stage, &run).await;
    assert_eq!(
        does(&without, "blend"),
        (Action::Blocked, Reason::InputChanged)
    );
    let needs = "blend needs mark.txt, which is gone: put it back as it was";
    assert!(
        without.warnings.iter().any(|it| it == needs),
        "{:?}",
        without.warnings
    );
}

async fn an_object_that_nobody_can_read_is_corrected_and_the_step_forced(home: Home) {
    let stage = Stage::on(home).await;
    write(&stage, "mark.txt", "bad");
    let id = run(&stage, STOPS).await.run.id;
    let blocked = plan(&stage, &id).await;
    assert_eq!(
        does(&blocked, "blend"),
        (Action::Blocked, Reason::FailedPermanent)
    );
    let wants = "put a corrected one in its place and force the step";
    assert!(
        blocked.warnings[0].ends_with(wants),
        "{:?}",
        blocked.warnings
    );
    write(&stage, "mark.txt", "good");
    let edits = Edits {
        force: vec!["blend".to_owned()],
        ..Edits::default()
    };
    let by = (&edits, "anna");
    let forced = stage.coordinator.plan(&id, by, Verification::Heads).await;
    execute(&stage, &forced.unwrap()).await;
    assert_eq!(pages(&stage), ["good", "good", "good"]);
}

async fn what_is_missing_and_not_known_to_be_read_is_named_by_the_step(home: Home) {
    let stage = Stage::on(home).await;
    write(&stage, "film.txt", "a film");
    let worker = stage.work().await;
    let read = "what: read, value: {source: nowhere.txt, of: '${{ input.source }}'}";
    let steps = format!("  a: {{activity: test.act@1, with: {{{read}}}}}");
    let id = stage
        .submit_with(&steps, json!({"source": "film.txt"}))
        .await;
    stage.stopped(&id).await;
    worker.stop().await;
    let shown = plan(&stage, &id).await;
    let told = "put it back first: there is no object nowhere.txt in the store";
    assert_eq!(shown.warnings, [told]);
}

async fn a_checkpoint_is_not_gone_on_with_by_an_upgraded_activity(home: Home) {
    let stage = Stage::on(home.clone()).await;
    let steps = "  a: {activity: test.act@1, retry: {max_attempts: 1}, with: {what: store, value: a.txt, times: 1}}";
    let run = run(&stage, steps).await.run.id;
    let former = plan(&stage, &run).await;
    assert_eq!(
        does(&former, "a"),
        (Action::Resume, Reason::FailedRetryable)
    );

    let upgraded = Stage::with_tool(home, "tool 2").await;
    let anew = plan(&upgraded, &run).await;
    assert_eq!(does(&anew, "a"), (Action::Rerun, Reason::ActivityChanged));
    assert_ne!(anew.digest, former.digest);
    let before = stage.coordinator.store.find_plan(&former.id).await;
    assert_eq!(before.unwrap().unwrap().state, PlanState::Superseded);
    assert!(upgraded.execute(&former).await.is_err());
    let snapshot = execute(&upgraded, &anew).await;
    let attempts = &snapshot.steps[0].attempts;
    let resumed: Vec<_> = attempts.iter().map(|it| it.resumed_from).collect();
    assert_eq!(resumed, [None, None]);
}
