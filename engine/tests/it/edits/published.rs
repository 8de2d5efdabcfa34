//! What a job has published stays as readers have seen it, whatever somebody wants to be otherwise.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use telecine_engine::activity::{Activity, ActivityError, Context};
use telecine_engine::id::RunId;
use telecine_engine::retry::edits::Edits;
use telecine_engine::retry::plan::{Action, Reason};
use telecine_engine::run::RunStatus;

use super::rounds::{force, round, set, skip, step, stopped, told};
use super::{FAILS, install, onto, plan, refused};
use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    nothing_that_led_to_a_publication_is_made_otherwise
    what_is_published_is_mended_and_what_comes_after_it_changes
    what_it_was_published_without_stays_out_of_it
    what_somebody_supplied_is_not_made_by_itself_later
    another_definition_does_not_change_what_is_published
    another_source_does_not_change_what_is_published
    before_it_is_published_everything_can_change
}

/// Publishes the job's generation of a name.
#[derive(Debug)]
pub(crate) struct Publish;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Show {
    name: String,
    /// What is shown.
    #[serde(rename = "of")]
    _of: Value,
    /// Whether it fails before that.
    #[serde(default)]
    fails: bool,
}

impl Activity for Publish {
    const NAME: &'static str = "test.publish";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Publishes the job's generation of a name.";
    type Input = Show;
    type Output = Value;

    async fn run(&self, ctx: &Context, input: Show) -> Result<Value, ActivityError> {
        if input.fails {
            return Err(ActivityError::transient("wanted", "the test wants it"));
        }
        let keys = format!("{}/g{{n}}/*", input.name);
        let generation = ctx.allocate_generation(&input.name, 0, Some(&keys)).await?;
        ctx.publish(&input.name, generation).await?;
        Ok(json!(generation))
    }
}

/// `make` reads the source, `cut` fails and nobody minds, `show` publishes both, and `tell` fails after that.
fn steps(make: &str, show: &str) -> String {
    let read = "read, value: {source: \"${{ input.source }}\"}";
    format!(
        "  place: {{activity: test.place@1, with: {{name: film}}}}\n\
         \x20 read: {{activity: test.act@1, with: {{what: {read}}}}}\n\
         \x20 make: {{activity: test.act@1, needs: [read, place], with: {{what: store, value: {make}}}}}\n\
         \x20 cut: {{{FAILS}, on_failure: continue, with: {{what: fail, times: 1, value: 1}}}}\n\
         \x20 show: {{activity: test.publish@1, retry: {{max_attempts: 1}}, needs: {{cut: any}}, \
         with: {{name: film, of: \"${{{{ steps.make.output }}}}\"{show}}}}}\n\
         \x20 tell: {{{FAILS}, needs: [show], with: {{what: fail, times: 1, value: 1}}}}"
    )
}

/// A job that failed after it had published.
async fn published(home: Home) -> (Stage, RunId) {
    let stage = Stage::on(home).await;
    std::fs::write(stage.directory().join("film.txt"), "a film").unwrap();
    let worker = stage.work().await;
    let input = json!({"source": "film.txt"});
    let run = stage.submit_with(&steps("made.txt", ""), input).await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Failed, "{snapshot:#?}");
    assert_eq!(
        stage.coordinator.store.publication("film").await.unwrap(),
        Some(1)
    );
    worker.stop().await;
    (stage, run)
}

async fn nothing_that_led_to_a_publication_is_made_otherwise(home: Home) {
    let (stage, run) = published(home).await;
    let supply = Edits {
        supply: [("make".to_owned(), json!("other.txt"))].into(),
        ..Edits::default()
    };
    let cases = [
        (
            set("make", "/value", json!("other.txt")),
            "/set/make/~1value",
        ),
        (set("place", "/name", json!("other")), "/set/place/~1name"),
        (force("make"), "/force/0"),
        (force("read"), "/force/0"),
        (skip("make"), "/skip/0"),
        (supply, "/supply/make"),
        (set("show", "/of", json!("other.txt")), "/set/show/~1of"),
        // It was published without it.
        (set("cut", "/value", json!(3)), "/set/cut/~1value"),
        (force("cut"), "/force/0"),
    ];
    for (edits, place) in cases {
        let expected = told(&[(place, "already_published")]);
        assert_eq!(refused(&stage, &run, &edits).await, expected, "{edits:?}");
    }
}

async fn what_is_published_is_mended_and_what_comes_after_it_changes(home: Home) {
    let (stage, run) = published(home).await;
    std::fs::remove_file(stage.directory().join("made.txt")).unwrap();
    let mut edits = set("tell", "/value", json!(2));
    edits.force = vec!["show".to_owned()];
    let (plan, ended) = round(&stage, &run, &edits).await;
    let does = |id: &str| (step(&plan, id).action, step(&plan, id).reason);
    assert_eq!(does("make"), (Action::Rerun, Reason::ArtifactMissing));
    assert_eq!(does("cut"), (Action::Skip, Reason::FailedPermanent));
    assert_eq!(does("show"), (Action::Rerun, Reason::Forced));
    assert_eq!(ended.run.status, RunStatus::Succeeded, "{ended:#?}");
    assert!(stage.directory().join("made.txt").exists());
}

/// What failed, and what was made without it and published.
const WITHOUT: &str = "  cut: {activity: test.act@1, retry: {max_attempts: 1}, on_failure: continue, with: {what: fail, times: 1, value: 1}}\n\
     \x20 made: {activity: test.act@1, needs: {cut: any}, with: {what: succeed, value: \"${{ steps.cut.output }}\"}}\n\
     \x20 show: {activity: test.publish@1, with: {name: film, of: \"${{ steps.made.output }}\"}}\n\
     \x20 tell: {activity: test.act@1, needs: [show], retry: {max_attempts: 1}, with: {what: fail, times: 1}}";

async fn what_it_was_published_without_stays_out_of_it(home: Home) {
    let (stage, run) = stopped(home, WITHOUT, "{}").await;
    let expected = [
        (Action::Skip, Reason::FailedPermanent),
        (Action::Reuse, Reason::Succeeded),
        (Action::Reuse, Reason::Succeeded),
        (Action::Rerun, Reason::FailedRetryable),
    ];
    let shown = plan(&stage, &run, &Edits::default()).await.unwrap();
    assert_eq!(super::does(&shown), expected);
    let left_out = plan(&stage, &run, &skip("cut")).await.unwrap();
    let out = (Action::Skip, Reason::SkippedByOperator);
    assert_eq!(super::does(&left_out), [&[out], &expected[1..]].concat());
    let refused = refused(&stage, &run, &force("cut")).await;
    assert_eq!(refused, told(&[("/force/0", "already_published")]));
    let (_, ended) = round(&stage, &run, &Edits::default()).await;
    assert_eq!(ended.run.status, RunStatus::Succeeded, "{ended:#?}");
}

async fn what_somebody_supplied_is_not_made_by_itself_later(home: Home) {
    let steps = "  list: {activity: test.act@1, with: {what: store, value: list.txt}}\n\
                 \x20 made: {activity: test.act@1, needs: [list], retry: {max_attempts: 1}, with: {what: fail, times: 9, value: 1}}\n\
                 \x20 show: {activity: test.publish@1, with: {name: film, of: \"${{ steps.made.output }}\"}}\n\
                 \x20 tell: {activity: test.act@1, needs: [show], retry: {max_attempts: 1}, with: {what: fail, times: 1}}";
    let (stage, run) = stopped(home, steps, "{}").await;
    let supply = |output| Edits {
        supply: [("made".to_owned(), output)].into(),
        ..Edits::default()
    };
    round(&stage, &run, &supply(json!(7))).await;
    std::fs::remove_file(stage.directory().join("list.txt")).unwrap();
    let by_itself = plan(&stage, &run, &Edits::default()).await.unwrap();
    assert!(!by_itself.executable, "{by_itself:#?}");
    let expected = told(&[("/supply/made", "already_published")]);
    assert_eq!(refused(&stage, &run, &supply(json!(8))).await, expected);
    let (_, ended) = round(&stage, &run, &supply(json!(7))).await;
    assert_eq!(ended.run.status, RunStatus::Succeeded, "{ended:#?}");
}

async fn another_definition_does_not_change_what_is_published(home: Home) {
    let (mut stage, run) = published(home).await;
    install(&mut stage, 2, &steps("other.txt", ""));
    let expected = told(&[("/definition", "already_published")]);
    assert_eq!(refused(&stage, &run, &onto("test:act@2")).await, expected);
    let same = || steps("made.txt", "");
    let more = "\x20 more: {activity: test.act@1, with: {what: store, value: more.txt}}";
    let others = [
        // One that would not know later what led to it, or who has published it.
        same().replace("${{ steps.make.output }}", "made.txt"),
        same().replace("show", "shown"),
        // One that makes more of what is published.
        same().replace("{cut: any}", "{cut: any, more: succeeded}") + "\n" + more,
    ];
    for other in others {
        install(&mut stage, 2, &other);
        assert_eq!(
            refused(&stage, &run, &onto("test:act@2")).await,
            expected,
            "{other}"
        );
    }
    let tell = "with: {what: fail, times: 1, value: 1}}";
    let later = same().trim_end_matches(tell).to_owned() + "with: {what: succeed, value: 7}}";
    install(&mut stage, 2, &later);
    let (_, ended) = round(&stage, &run, &onto("test:act@2")).await;
    assert_eq!(ended.run.status, RunStatus::Succeeded, "{ended:#?}");
}

async fn another_source_does_not_change_what_is_published(home: Home) {
    let (stage, run) = published(home).await;
    std::fs::write(stage.directory().join("film.txt"), "another film").unwrap();
    let plan = plan(&stage, &run, &Edits::default()).await.unwrap();
    assert_eq!(step(&plan, "read").reason, Reason::InputChanged);
    assert!(!plan.executable, "{plan:#?}");
    let why = "show has published what read would make otherwise";
    assert!(plan.warnings[0].starts_with(why), "{:?}", plan.warnings);
}

async fn before_it_is_published_everything_can_change(home: Home) {
    // There is no source to read.
    let steps = steps("made.txt", ", fails: true").replace("what: read", "what: succeed");
    let steps = steps.replace("${{ input.source }}", "");
    let (stage, run) = stopped(home, &steps, "{}").await;
    let mut edits = set("make", "/value", json!("other.txt"));
    edits.set.extend(set("show", "/fails", json!(false)).set);
    let (plan, _) = round(&stage, &run, &edits).await;
    assert_eq!(step(&plan, "make").reason, Reason::ParamsChanged);
    let shown = stage.coordinator.store.publication("film").await.unwrap();
    assert_eq!(shown, Some(1));
    // From now on it stays.
    let expected = told(&[("/force/0", "already_published")]);
    assert_eq!(refused(&stage, &run, &force("make")).await, expected);
}
