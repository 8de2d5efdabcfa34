//! What edits come to in the end, and in the rounds that follow.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use telecine_engine::activity::{Activity, ActivityError, Context};
use telecine_engine::id::RunId;
use telecine_engine::retry::edits::{Budget, Edits, Skip};
use telecine_engine::retry::plan::{Action, PlannedStep, Reason, RetryPlan};
use telecine_engine::run::{RunStatus, Snapshot, StepStatus};

use super::{FAILS, does, install, onto, plan, refused};
use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    a_step_that_the_output_needs_is_not_left_out
    an_output_that_can_do_without_a_step_is_made_without_it
    what_was_left_out_stays_out_until_somebody_wants_it_back
    what_was_set_can_be_withdrawn
    what_was_set_of_an_item_is_not_set_of_another
    items_of_a_supplied_list_run_together_or_not_at_all
    what_was_supplied_stays_out_when_its_condition_is_false
    what_was_supplied_stays_under_another_definition
    edits_that_come_to_nothing_are_told
    a_place_is_found_by_the_job_and_by_nobody_else
}

/// Finds a place for the job.
#[derive(Debug)]
pub(crate) struct Place;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Name {
    name: String,
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(extend("x-telecine-place" = true))]
pub(crate) struct Placed {
    prefix: String,
}

impl Activity for Place {
    const NAME: &'static str = "test.place";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Finds a place for the job.";
    type Input = Name;
    type Output = Placed;

    async fn run(&self, ctx: &Context, input: Name) -> Result<Placed, ActivityError> {
        let keys = format!("{}/g{{n}}/*", input.name);
        let generation = ctx.allocate_generation(&input.name, 0, Some(&keys)).await?;
        let prefix = format!("{}/g{generation}", input.name);
        Ok(Placed { prefix })
    }
}

/// A run of such steps that has stopped short, and the stage that it is on.
pub(super) async fn stopped(home: Home, steps: &str, output: &str) -> (Stage, RunId) {
    let stage = Stage::on(home).await;
    let worker = stage.work().await;
    let run = stage.submit_giving(steps, output).await;
    let snapshot = stage.stopped(&run).await;
    assert_eq!(snapshot.run.status, RunStatus::Failed, "{snapshot:#?}");
    worker.stop().await;
    (stage, run)
}

/// Makes a plan with edits, executes it, and answers how the round ended.
pub(crate) async fn round(stage: &Stage, run: &RunId, edits: &Edits) -> (RetryPlan, Snapshot) {
    let plan = plan(stage, run, edits).await.unwrap();
    let worker = stage.work().await;
    stage.execute(&plan).await.unwrap();
    let snapshot = stage.stopped(run).await;
    worker.stop().await;
    (plan, snapshot)
}

pub(super) fn step<'a>(plan: &'a RetryPlan, id: &str) -> &'a PlannedStep {
    let mut steps = plan.steps.iter();
    let found = steps.find(|step| step.id.to_string() == id);
    found.unwrap_or_else(|| panic!("no {id}: {plan:#?}"))
}

fn output(snapshot: &Snapshot, id: &str) -> Option<Value> {
    let mut steps = snapshot.steps.iter();
    let found = steps.find(|record| record.step.id.to_string() == id);
    found.unwrap().step.output.clone()
}

pub(super) fn skip(step: &str) -> Edits {
    Edits {
        skip: vec![Skip {
            step: step.to_owned(),
            why: "nobody needs it".to_owned(),
        }],
        ..Edits::default()
    }
}

pub(crate) fn force(step: &str) -> Edits {
    Edits {
        force: vec![step.to_owned()],
        ..Edits::default()
    }
}

pub(super) fn set(step: &str, path: &str, value: Value) -> Edits {
    Edits {
        set: [(step.to_owned(), [(path.to_owned(), value)].into())].into(),
        ..Edits::default()
    }
}

fn unset(step: &str, path: &str) -> Edits {
    Edits {
        unset: [(step.to_owned(), vec![path.to_owned()])].into(),
        ..Edits::default()
    }
}

pub(super) fn told(places: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    let places = places.iter();
    places
        .map(|(place, code)| ((*place).to_owned(), *code))
        .collect()
}

/// `b` fails, and `c` needs it.
fn steps_that_need_each_other() -> String {
    format!(
        "  a: {{activity: test.act@1, with: {{what: succeed, value: {{size: 1}}}}}}\n\
         \x20 b: {{{FAILS}, needs: [a], with: {{what: fail, times: 9}}}}\n\
         \x20 c: {{activity: test.act@1, with: {{what: succeed, value: \"${{{{ steps.b.output }}}}\"}}}}"
    )
}

async fn a_step_that_the_output_needs_is_not_left_out(home: Home) {
    let text = "{text: \"c is ${{ steps.c.output }}\", sizes: [\"${{ steps.b.output.size }}\"], a: \"${{ steps.a.output }}\"}";
    let (stage, run) = stopped(home, &steps_that_need_each_other(), text).await;
    let impossible = |place| told(&[(place, "output_impossible")]);
    assert_eq!(
        refused(&stage, &run, &skip("b")).await,
        impossible("/skip/0")
    );
    // It goes out with its text, and nothing else needs it.
    assert_eq!(
        refused(&stage, &run, &skip("c")).await,
        impossible("/skip/0")
    );
    let supply = |output: Value| Edits {
        supply: [("b".to_owned(), output)].into(),
        ..Edits::default()
    };
    let empty = refused(&stage, &run, &supply(json!({}))).await;
    assert_eq!(empty, impossible("/supply/b"));
    // What `c` makes of it, nobody knows.
    let (plan, ended) = round(&stage, &run, &supply(json!({"size": 3}))).await;
    assert!(plan.executable && plan.warnings.is_empty(), "{plan:#?}");
    let error = ended.run.error.unwrap();
    assert!(
        error.message.contains("the output of the workflow"),
        "{error:?}"
    );
    let plan = stage.coordinator.verify_plan(&run).await.unwrap().unwrap();
    assert!(!plan.executable, "{plan:#?}");
    assert!(plan.warnings[0].contains("at /text"), "{plan:#?}");
}

async fn an_output_that_can_do_without_a_step_is_made_without_it(home: Home) {
    let text = "{whole: \"${{ steps.b.output }}\", size: \"${{ has(steps.b.output.size) ? steps.b.output.size : 0 }}\", \
                c: \"${{ steps.c.output == null ? 'none' : steps.c.output.text }}\", a: \"${{ steps.a.output.size }}\"}";
    let (stage, run) = stopped(home, &steps_that_need_each_other(), text).await;
    let (_, ended) = round(&stage, &run, &skip("b")).await;
    let output = json!({"whole": null, "size": 0, "c": "none", "a": 1});
    assert_eq!(
        (ended.run.status, ended.run.output),
        (RunStatus::Succeeded, Some(output))
    );
}

/// `b` fails once, and `d` three times.
fn steps_that_fail_again() -> String {
    let fails = |times: u32| format!("{FAILS}, with: {{what: fail, times: {times}, value: 1}}");
    let (b, d) = (fails(1), fails(3));
    format!(
        "  b: {{{b}}}\n\
         \x20 c: {{activity: test.act@1, with: {{what: succeed, value: \"${{{{ steps.b.output }}}}\"}}}}\n\
         \x20 d: {{{d}}}"
    )
}

async fn what_was_left_out_stays_out_until_somebody_wants_it_back(home: Home) {
    let (stage, run) = stopped(home, &steps_that_fail_again(), "{}").await;
    let none = Edits::default();
    round(&stage, &run, &skip("b")).await;
    let out = (Action::Skip, Reason::SkippedByOperator);
    let again = (Action::Rerun, Reason::FailedRetryable);
    let (shown, ended) = round(&stage, &run, &none).await;
    assert_eq!(does(&shown), [out, out, again]);
    let why = "left out by anna: nobody needs it";
    assert_eq!(step(&shown, "b").why.as_deref(), Some(why));
    assert_eq!(step(&shown, "c").because, [step(&shown, "b").id.clone()]);
    let told = &shown.warnings[0];
    assert!(
        told.starts_with("b stays out") && told.contains("force"),
        "{told}"
    );
    assert_eq!(ended.run.status, RunStatus::Failed);
    let skipped = async || {
        let events = stage
            .coordinator
            .store
            .events(&run, 0, 1_000)
            .await
            .unwrap();
        events
            .iter()
            .filter(|it| it.event.kind == "step.skipped")
            .count()
    };
    assert_eq!(skipped().await, 2, "b and c once each");
    let (shown, ended) = round(&stage, &run, &force("b")).await;
    let back = [
        (Action::Rerun, Reason::Forced),
        (Action::Rerun, Reason::NeverRan),
        again,
    ];
    assert_eq!(does(&shown), back);
    assert_eq!(ended.run.status, RunStatus::Succeeded);
    assert_eq!(output(&ended, "c"), Some(json!(1)));
    assert!(ended.amendments.out.is_empty(), "{:?}", ended.amendments);
}

/// A list of two, and a step that fails as often as it is told.
fn list_and_step_that_fails(times: u32) -> String {
    format!(
        "  a: {{activity: test.act@1, with: {{what: succeed, value: [1, 2]}}}}\n\
         \x20 l: {{activity: test.act@1, for_each: steps.a.output, with: {{what: succeed, value: \"${{{{ each }}}}\"}}}}\n\
         \x20 d: {{{FAILS}, with: {{what: fail, times: {times}, value: 1}}}}"
    )
}

async fn what_was_set_can_be_withdrawn(home: Home) {
    let (stage, run) = stopped(home, &list_and_step_that_fails(3), "{}").await;
    let mut edits = set("l[1]", "/value", json!(9));
    edits.set.extend(set("d", "/value", json!(7)).set);
    let (_, ended) = round(&stage, &run, &edits).await;
    let items = |ended: &Snapshot| [output(ended, "l[0]"), output(ended, "l[1]")];
    assert_eq!(items(&ended), [Some(json!(1)), Some(json!(9))]);

    let mut wrong = unset("l[1]", "/what");
    wrong.unset.extend(unset("a", "/value").unset);
    wrong.unset.extend(unset("d", "/value").unset);
    wrong.set.extend(set("d", "/value", json!(8)).set);
    let expected = [
        ("/unset/a/0", "not_set"),
        ("/unset/d/0", "conflicting_edits"),
        ("/unset/l[1]/0", "not_set"),
    ];
    assert_eq!(refused(&stage, &run, &wrong).await, told(&expected));

    let (shown, ended) = round(&stage, &run, &unset("l[1]", "/value")).await;
    let does = |id: &str| (step(&shown, id).action, step(&shown, id).reason);
    assert_eq!(does("l[0]"), (Action::Reuse, Reason::Succeeded));
    assert_eq!(does("l[1]"), (Action::Rerun, Reason::ParamsChanged));
    assert_eq!(items(&ended), [Some(json!(1)), Some(json!(2))]);
    let (_, ended) = round(&stage, &run, &unset("d", "/value")).await;
    assert_eq!(output(&ended, "d"), Some(json!(1)));
    assert!(ended.amendments.set.is_empty(), "{:?}", ended.amendments);
}

async fn what_was_set_of_an_item_is_not_set_of_another(home: Home) {
    let (stage, run) = stopped(home, &list_and_step_that_fails(9), "{}").await;
    let item = set("l[0]", "/value", json!(9));
    round(&stage, &run, &item).await;
    let anew = Edits {
        force: vec!["a".to_owned()],
        ..item.clone()
    };
    let place = [("/set/l[0]/~1value", "edit_impossible")];
    assert_eq!(refused(&stage, &run, &anew).await, told(&place));
    let (shown, ended) = round(&stage, &run, &force("a")).await;
    let said = shown
        .warnings
        .iter()
        .any(|it| it.starts_with("what was set of l[0]"));
    assert!(said, "{:?}", shown.warnings);
    assert_eq!(output(&ended, "l[0]"), Some(json!(1)));
    // The list itself is no other one: its items are told apart.
    let same = Edits {
        force: vec!["l".to_owned()],
        ..item
    };
    let (shown, ended) = round(&stage, &run, &same).await;
    assert_eq!(step(&shown, "l[1]").reason, Reason::Forced);
    assert_eq!(output(&ended, "l[0]"), Some(json!(9)));
}

/// Nobody knows what the items of a list would be made of that somebody supplied.
async fn items_of_a_supplied_list_run_together_or_not_at_all(home: Home) {
    let (stage, run) = stopped(home, &list_and_step_that_fails(9), "{}").await;
    round(&stage, &run, &set("l", "/value", json!(5))).await;
    let supply = Edits {
        supply: [("l".to_owned(), json!([7, 8, 9]))].into(),
        ..Edits::default()
    };
    let (_, ended) = round(&stage, &run, &supply).await;
    assert_eq!(output(&ended, "l[2]"), Some(json!(9)));

    let mut of_items = force("l[0]");
    of_items.set.extend(set("l[1]", "/value", json!(1)).set);
    let places = [
        ("/force/0", "edit_impossible"),
        ("/set/l[1]/~1value", "edit_impossible"),
    ];
    assert_eq!(refused(&stage, &run, &of_items).await, told(&places));
    let (shown, ended) = round(&stage, &run, &skip("l[1]")).await;
    assert_eq!(step(&shown, "l[0]").action, Action::Reuse);
    assert_eq!(output(&ended, "l[1]"), None);

    let (shown, ended) = round(&stage, &run, &unset("l", "/value")).await;
    let l = step(&shown, "l");
    assert_eq!((l.action, l.reason), (Action::Rerun, Reason::ParamsChanged));
    let items = ["l[0]", "l[1]"].map(|id| output(&ended, id));
    assert_eq!(items, [Some(json!(1)), Some(json!(2))]);
    let records = ended.steps.iter().map(|record| &record.step.id);
    assert_eq!(records.filter(|id| id.node == "l").count(), 2);
}

async fn what_was_supplied_stays_out_when_its_condition_is_false(home: Home) {
    let steps = format!(
        "  a: {{activity: test.act@1, with: {{what: succeed, value: 1}}}}\n\
         \x20 l: {{activity: test.act@1, needs: [a], when: steps.a.output == 2, for_each: \"[1, 2]\", with: {{what: succeed, value: 1}}}}\n\
         \x20 s: {{activity: test.act@1, needs: [a], when: steps.a.output == 2, with: {{what: succeed, value: 1}}}}\n\
         \x20 d: {{{FAILS}, with: {{what: fail, times: 9}}}}"
    );
    let (stage, run) = stopped(home, &steps, "{}").await;
    let supply = Edits {
        supply: [("l".to_owned(), json!([7])), ("s".to_owned(), json!(8))].into(),
        ..Edits::default()
    };
    let (_, ended) = round(&stage, &run, &supply).await;
    let outputs = ["l[0]", "s"].map(|id| output(&ended, id));
    assert_eq!(outputs, [Some(json!(7)), Some(json!(8))]);

    let mut edits = set("l", "/value", json!(3));
    edits.force.push("s".to_owned());
    let (shown, ended) = round(&stage, &run, &edits).await;
    for name in ["l", "s"] {
        let step = step(&shown, name);
        let does = (step.action, step.reason);
        assert_eq!(does, (Action::Skip, Reason::ConditionFalse), "{name}");
    }
    let nodes = ended.nodes.iter();
    let out = nodes.filter(|node| node.status == StepStatus::Skipped);
    assert_eq!(out.count(), 2, "{:?}", ended.nodes);
}

async fn what_was_supplied_stays_under_another_definition(home: Home) {
    let version = |value: u32, when: &str| {
        format!(
            "  s: {{{FAILS}, with: {{what: fail, times: {value}9}}}}\n\
             \x20 l: {{activity: test.act@1, for_each: \"[1, {value}]\", with: {{what: succeed, value: {value}}}}}\n\
             \x20 w: {{activity: test.act@1, when: \"{when}\", with: {{what: succeed, value: {value}}}}}\n\
             \x20 d: {{{FAILS}, with: {{what: fail, times: 9}}}}"
        )
    };
    let (mut stage, run) = stopped(home, &version(1, "1 == 2"), "{}").await;
    let (s, l, w) = (json!(5), json!([7, 8, 9]), json!(6));
    let supplied = [("s", s), ("l", l), ("w", w)].map(|(step, output)| (step.to_owned(), output));
    let supply = Edits {
        supply: supplied.into(),
        ..Edits::default()
    };
    let (_, ended) = round(&stage, &run, &supply).await;
    let outputs = |ended: &Snapshot| ["s", "l[0]", "l[2]", "w"].map(|id| output(ended, id));
    let given = outputs(&ended);
    assert_eq!(given, [5, 7, 9, 6].map(|value| Some(json!(value))));

    install(&mut stage, 2, &version(2, "1 == 2"));
    let (shown, ended) = round(&stage, &run, &onto("test:act@2")).await;
    for id in ["s", "l[0]", "l[2]", "w"] {
        assert_eq!(step(&shown, id).action, Action::Reuse, "{id}");
    }
    assert_eq!(outputs(&ended), given);

    // Another activity yields something else, and a condition that is written anew decides anew.
    let s = version(3, "2 == 3").replacen(FAILS, "activity: test.place@1", 1);
    let s = s.replacen("what: fail, times: 39", "name: x", 1);
    install(&mut stage, 3, &s);
    let shown = plan(&stage, &run, &onto("test:act@3")).await.unwrap();
    let does = |id: &str| (step(&shown, id).action, step(&shown, id).reason);
    assert_eq!(does("s"), (Action::Rerun, Reason::ActivityChanged));
    assert_eq!(does("w"), (Action::Skip, Reason::ConditionFalse));
    assert_eq!(does("l[1]").0, Action::Reuse);
}

async fn edits_that_come_to_nothing_are_told(home: Home) {
    let (stage, run) = stopped(home, &steps_that_need_each_other(), "{}").await;
    let warnings = async |edits: &Edits| plan(&stage, &run, edits).await.unwrap().warnings;
    let budget = |step: Option<&str>| Edits {
        budget: Some(Budget {
            attempts: 2,
            step: step.map(str::to_owned),
        }),
        ..Edits::default()
    };
    let nothing = |what: &str| format!("{what}: nothing comes of it in this round, as it ");
    let cases = [
        (
            Edits {
                force: vec!["c".to_owned()],
                ..skip("b")
            },
            nothing("force c") + "stays out",
        ),
        (budget(Some("a")), nothing("budget a") + "does not run"),
        (
            set("a", "/value", json!({"size": 1})),
            nothing("set a/value") + "is that already",
        ),
        (
            Edits {
                queue: Some("default".to_owned()),
                ..Edits::default()
            },
            nothing("queue default") + "is that already",
        ),
    ];
    for (edits, expected) in cases {
        assert_eq!(warnings(&edits).await, [expected], "{edits:?}");
    }
    let none: [String; 0] = [];
    assert_eq!(warnings(&force("b")).await, none, "it runs anyway");
    assert_eq!(warnings(&budget(None)).await, none);
    assert_eq!(
        does(
            &plan(&stage, &run, &set("a", "/value", json!({"size": 1})))
                .await
                .unwrap()
        )[0],
        (Action::Reuse, Reason::Succeeded)
    );
}

async fn a_place_is_found_by_the_job_and_by_nobody_else(home: Home) {
    let steps = format!(
        "  place: {{activity: test.place@1, with: {{name: film}}}}\n\
         \x20 page: {{activity: test.page@1, with: {{source: a.txt, title: x, prefix: \"${{{{ steps.place.output.prefix }}}}\"}}}}\n\
         \x20 d: {{{FAILS}, with: {{what: fail, times: 9}}}}"
    );
    let (stage, run) = stopped(home, &steps, "{}").await;
    let fixed = |place| told(&[(place, "place_fixed")]);
    let other = set("page", "/prefix", json!("other/g1"));
    assert_eq!(
        refused(&stage, &run, &other).await,
        fixed("/set/page/~1prefix")
    );
    let supply = |prefix: &str| Edits {
        supply: [("place".to_owned(), json!({"prefix": prefix}))].into(),
        ..Edits::default()
    };
    assert_eq!(
        refused(&stage, &run, &supply("other/g1")).await,
        fixed("/supply/place")
    );
    assert!(
        plan(&stage, &run, &supply("film/g1")).await.is_ok(),
        "it is its own"
    );
}
