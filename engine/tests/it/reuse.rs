//! A step takes what an equal step of another run has made, and nothing else.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use telecine_engine::activity::{Activity, ActivityError, Context};
use telecine_engine::objects::Artifact;
use telecine_engine::reuse::{Explanation, Lookup};
use telecine_engine::run::{RunStatus, Snapshot, StepRecord};

use crate::stage::{Home, Stage, on_every_store};

on_every_store! {
    an_equal_step_of_another_run_is_taken_with_its_objects
    what_differs_is_made_again
    objects_that_are_not_as_they_were_are_made_again
    what_read_more_than_its_key_says_is_not_shared
    a_step_that_only_reads_the_cache_leaves_nothing_there
    what_would_be_another_now_is_explained_with_both_values
}

/// Copies its source behind a title. What it is made with is its tool.
#[derive(Debug)]
pub(crate) struct Page(pub(crate) &'static str);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
    #[schemars(extend("x-telecine-place" = true))]
    prefix: String,
    title: String,
    /// Another source that the schema says nothing of.
    #[serde(default)]
    peek: Option<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    object: Artifact,
    title: String,
}

impl Activity for Page {
    const NAME: &'static str = "test.page";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Copies its source behind a title.";
    type Input = Input;
    type Output = Output;

    fn tool_fingerprint(&self) -> String {
        self.0.to_owned()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Output, ActivityError> {
        let read = async |source: &str| {
            let path = ctx.source_file(source).await?;
            Ok::<_, ActivityError>(std::fs::read_to_string(path).expect("a source"))
        };
        if let Some(peek) = &input.peek {
            read(peek).await?;
        }
        let text = format!("{}: {}", input.title, read(&input.source).await?);
        let key = format!("{}/page_{}", input.prefix, ctx.attempt_tag());
        ctx.warn("made with care");
        Ok(Output {
            object: ctx.put_bytes(&key, text, "text/plain").await?,
            title: input.title,
        })
    }
}

/// A step that makes a page below a prefix.
fn page(prefix: &str, more: &str, cache: &str) -> String {
    format!(
        "  page: {{activity: test.page@1, cache: {cache}, with: {{source: '${{{{ input.source }}}}', \
         prefix: {prefix}, {more}}}}}"
    )
}

/// Runs one step, on a source that says `one`, and answers what became of it.
async fn ran(stage: &Stage, step: &str) -> Snapshot {
    let source = stage.directory().join("a.txt");
    if !source.exists() {
        std::fs::write(&source, "one").unwrap();
    }
    let worker = stage.work().await;
    let run = stage.submit_with(step, json!({"source": "a.txt"})).await;
    let snapshot = stage.stopped(&run).await;
    worker.stop().await;
    let error = &snapshot.run.error;
    assert_eq!(snapshot.run.status, RunStatus::Succeeded, "{error:?}");
    snapshot
}

fn record(snapshot: &Snapshot) -> &StepRecord {
    &snapshot.steps[0]
}

fn key(snapshot: &Snapshot) -> &str {
    let output = record(snapshot).step.output.as_ref().unwrap();
    output["object"]["key"].as_str().unwrap()
}

/// Whether the activity ran.
fn was_made(snapshot: &Snapshot) -> bool {
    let made = record(snapshot).made.as_ref().unwrap();
    made.reused_from.is_none()
}

async fn an_equal_step_of_another_run_is_taken_with_its_objects(home: Home) {
    let stage = Stage::on(home).await;
    let first = ran(&stage, &page("a", "title: t", "readwrite")).await;
    let second = ran(&stage, &page("b", "title: t", "readwrite")).await;

    assert!(was_made(&first) && !was_made(&second));
    assert_eq!(key(&second), key(&first).replace("a/", "b/"));
    let taken = record(&second);
    let origin = taken.made.as_ref().unwrap().reused_from.clone().unwrap();
    assert_eq!(origin.job, first.run.id);
    assert_eq!(origin.step.to_string(), "page");
    assert_eq!(taken.step.warnings, ["made with care"]);
    assert_eq!(taken.artifacts[0].key, key(&second));
    assert_eq!(
        taken.artifacts[0].sha256,
        record(&first).artifacts[0].sha256
    );
    let bytes = std::fs::read_to_string(stage.directory().join(key(&second)));
    assert_eq!(bytes.unwrap(), "t: one");

    let events = stage.coordinator.store.events(&second.run.id, 0, 100);
    let events = events.await.unwrap();
    let mut told = events.iter().map(|event| &event.event);
    let told = told.find(|event| event.kind == "step.succeeded").unwrap();
    let expected: Value = json!({"job": first.run.id, "step": "page"});
    assert_eq!(told.data["reused_from"], expected);

    // What was taken is taken from who made it.
    let third = ran(&stage, &page("c", "title: t", "read")).await;
    let made = record(&third).made.as_ref().unwrap();
    assert_eq!(made.reused_from, Some(origin));
}

async fn what_differs_is_made_again(home: Home) {
    let stage = Stage::on(home.clone()).await;
    ran(&stage, &page("a", "title: t", "readwrite")).await;
    let title = ran(&stage, &page("b", "title: u", "readwrite")).await;
    assert!(was_made(&title));
    let off = ran(&stage, &page("c", "title: t", "\"off\"")).await;
    assert!(was_made(&off));
    let upgraded = Stage::with_tool(home, "tool 2").await;
    let tool = ran(&upgraded, &page("d", "title: t", "readwrite")).await;
    assert!(was_made(&tool));
    std::fs::write(stage.directory().join("a.txt"), "two").unwrap();
    let source = ran(&stage, &page("e", "title: t", "readwrite")).await;
    assert!(was_made(&source));
    let bytes = std::fs::read_to_string(stage.directory().join(key(&source)));
    assert_eq!(bytes.unwrap(), "t: two");
    let again = ran(&stage, &page("f", "title: t", "readwrite")).await;
    assert!(!was_made(&again));
}

async fn objects_that_are_not_as_they_were_are_made_again(home: Home) {
    let stage = Stage::on(home).await;
    let first = ran(&stage, &page("a", "title: t", "readwrite")).await;
    std::fs::write(stage.directory().join(key(&first)), "x: xxx").unwrap();
    let second = ran(&stage, &page("b", "title: t", "readwrite")).await;
    assert!(was_made(&second), "it had as many bytes, but others");
    std::fs::remove_file(stage.directory().join(key(&second))).unwrap();
    let third = ran(&stage, &page("c", "title: t", "readwrite")).await;
    assert!(was_made(&third));
    let fourth = ran(&stage, &page("d", "title: t", "readwrite")).await;
    assert!(!was_made(&fourth));
}

async fn what_read_more_than_its_key_says_is_not_shared(home: Home) {
    let stage = Stage::on(home).await;
    std::fs::write(stage.directory().join("b.txt"), "more").unwrap();
    let peeking = "title: t, peek: b.txt";
    ran(&stage, &page("a", peeking, "readwrite")).await;
    let second = ran(&stage, &page("b", peeking, "readwrite")).await;
    assert!(was_made(&second));
}

async fn a_step_that_only_reads_the_cache_leaves_nothing_there(home: Home) {
    let stage = Stage::on(home).await;
    ran(&stage, &page("a", "title: t", "read")).await;
    let second = ran(&stage, &page("b", "title: t", "readwrite")).await;
    assert!(was_made(&second));
}

async fn explain(stage: &Stage, of: &Snapshot) -> Explanation {
    let lookup = Lookup {
        store: stage.parts.store.clone(),
        objects: stage.parts.objects.clone(),
        registry: stage.parts.registry.clone(),
    };
    let step = &record(of).step.id;
    lookup.explain(&of.run.id, step).await.unwrap()
}

async fn what_would_be_another_now_is_explained_with_both_values(home: Home) {
    let stage = Stage::on(home.clone()).await;
    let first = ran(&stage, &page("a", "title: t", "readwrite")).await;
    let same = explain(&stage, &first).await;
    assert_eq!(same.before, same.now);
    assert_eq!((&same.difference, &same.taken_from), (&None, &None));
    let taken = ran(&stage, &page("b", "title: t", "readwrite")).await;
    let origin = explain(&stage, &taken).await.taken_from.unwrap();
    assert_eq!(origin.job, first.run.id);

    let other = ran(&stage, &page("c", "title: u", "readwrite")).await;
    let latest = explain(&stage, &other).await.latest.unwrap();
    assert_eq!(latest.job, taken.run.id);
    let difference = latest.difference.unwrap();
    assert_eq!(difference.path, "/input/title");
    let values = (difference.before, difference.after);
    assert_eq!(values, (Some(json!("t")), Some(json!("u"))));

    let upgraded = Stage::with_tool(home, "tool 2").await;
    let difference = explain(&upgraded, &first).await.difference.unwrap();
    assert_eq!(difference.path, "/tools");
    let values = (difference.before, difference.after);
    assert_eq!(values, (Some(json!("tool 1")), Some(json!("tool 2"))));

    std::fs::write(stage.directory().join("a.txt"), "another").unwrap();
    let difference = explain(&stage, &first).await.difference.unwrap();
    assert!(
        difference.path.starts_with("/input/source"),
        "{difference:?}"
    );
    assert_ne!(difference.before, difference.after);
    std::fs::remove_file(stage.directory().join("a.txt")).unwrap();
    let gone = explain(&stage, &first).await;
    assert!(gone.before.is_some() && gone.now.is_none());
}
