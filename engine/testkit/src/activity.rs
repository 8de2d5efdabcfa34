//! One activity whose fate is chosen by its input: how tests of workers, retries and crashes make
//! a step do what they are about.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use telecine_engine::activity::{
    Activity, ActivityError, Context, ErrorClass, MediaSpan, Progress,
};
use telecine_engine::objects::Artifact;

/// `test.step@1`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TestActivity;

/// What an attempt does; the input of the step.
///
/// ```
/// use serde_json::json;
/// use telecine_testkit::activity::Behaviour;
///
/// let flaky = json!({"behaviour": "fail", "class": "transient", "times": 2});
/// assert!(serde_json::from_value::<Behaviour>(flaky).is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(tag = "behaviour", rename_all = "snake_case", deny_unknown_fields)]
pub enum Behaviour {
    /// Stores an object under each key, warns, and returns `output`.
    Succeed {
        /// What the step yields.
        #[serde(default)]
        output: Value,
        /// Keys of objects to store; each holds its own key.
        #[serde(default)]
        objects: Vec<String>,
        /// What the user should know.
        #[serde(default)]
        warnings: Vec<String>,
    },
    /// Fails in the first `times` attempts, always if absent; then returns which attempt succeeded.
    Fail {
        /// Whose move it is.
        class: ErrorClass,
        /// Stable code.
        #[serde(default = "test_failure")]
        code: String,
        /// How many attempts fail.
        times: Option<u32>,
    },
    /// Panics in the first `times` attempts, always if absent.
    Panic {
        /// How many attempts panic.
        times: Option<u32>,
    },
    /// Does nothing until it is cancelled, then stops.
    Hang,
    /// Does nothing, also when it is cancelled.
    Ignore,
    /// Reports each counter as progress, then hangs: it stalls.
    Stall {
        /// The counters.
        counters: Vec<u64>,
    },
    /// Waits until its worker shuts down, saves a checkpoint that says so, and stops.
    Drain,
    /// Makes `segments` objects below `prefix`, each a checkpoint, continuing where the attempt
    /// before it left off. Returns the keys of all and how many were `made` by this attempt.
    Segments {
        /// How many there are to be.
        segments: u32,
        /// What their keys begin with.
        #[serde(default)]
        prefix: String,
        /// The first attempt fails when so many are durable.
        fail_after: Option<u32>,
    },
}

fn test_failure() -> String {
    "test_failure".to_owned()
}

impl Activity for TestActivity {
    const NAME: &'static str = "test.step";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Does what its input says, for tests.";
    type Input = Behaviour;
    type Output = Value;

    async fn run(&self, ctx: &Context, input: Behaviour) -> Result<Value, ActivityError> {
        match input {
            Behaviour::Succeed {
                output,
                objects,
                warnings,
            } => succeed(ctx, output, (objects, warnings)).await,
            Behaviour::Fail { class, code, times } => fail(ctx, (class, code), times),
            Behaviour::Panic { times } => {
                assert!(
                    !is_among_first(ctx, times),
                    "the test activity was told to panic"
                );
                Ok(attempt(ctx))
            }
            Behaviour::Hang => hang(ctx).await,
            Behaviour::Ignore => std::future::pending().await,
            Behaviour::Stall { counters } => {
                for counter in counters {
                    ctx.progress(Progress {
                        counter,
                        ..Progress::default()
                    });
                }
                hang(ctx).await
            }
            Behaviour::Drain => drain(ctx).await,
            Behaviour::Segments {
                segments,
                prefix,
                fail_after,
            } => make_segments(ctx, (segments, &prefix), fail_after).await,
        }
    }
}

async fn succeed(
    ctx: &Context,
    output: Value,
    (objects, warnings): (Vec<String>, Vec<String>),
) -> Result<Value, ActivityError> {
    for key in objects {
        ctx.put_bytes(&key, key.clone(), "text/plain").await?;
    }
    for warning in warnings {
        ctx.warn(warning);
    }
    Ok(output)
}

fn fail(
    ctx: &Context,
    (class, code): (ErrorClass, String),
    times: Option<u32>,
) -> Result<Value, ActivityError> {
    if is_among_first(ctx, times) {
        return Err(ActivityError::new(
            class,
            code,
            "the test activity was told to fail",
        ));
    }
    Ok(attempt(ctx))
}

fn is_among_first(ctx: &Context, times: Option<u32>) -> bool {
    times.is_none_or(|times| ctx.attempt() <= times)
}

fn attempt(ctx: &Context) -> Value {
    json!({"attempt": ctx.attempt()})
}

async fn hang(ctx: &Context) -> Result<Value, ActivityError> {
    ctx.cancelled().await;
    Err(ActivityError::cancelled())
}

async fn drain(ctx: &Context) -> Result<Value, ActivityError> {
    tokio::select! {
        () = ctx.draining() => {}
        () = ctx.cancelled() => return Err(ActivityError::cancelled()),
    }
    ctx.save_checkpoint(&json!({"drained": true}), None, Vec::new())
        .await?;
    Err(ActivityError::cancelled())
}

/// What is durable of a `segments` step; its checkpoint.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Durable {
    keys: Vec<String>,
}

async fn make_segments(
    ctx: &Context,
    (segments, prefix): (u32, &str),
    fail_after: Option<u32>,
) -> Result<Value, ActivityError> {
    let mut durable: Durable = ctx.checkpoint()?.unwrap_or_default();
    let before = durable.keys.len();
    for n in u32::try_from(before).unwrap_or(u32::MAX)..segments {
        if ctx.attempt() == 1 && fail_after == Some(n) {
            let message = format!("the test activity was told to fail after segment {n}");
            return Err(ActivityError::transient("test_failure", message));
        }
        if ctx.is_cancelled() || ctx.is_draining() {
            return Err(ActivityError::cancelled());
        }
        let artifact =
            make_segment(ctx, &format!("{prefix}seg_{n:05}_{}", ctx.attempt_tag())).await?;
        durable.keys.push(artifact.key.clone());
        let covers = MediaSpan {
            from_s: 0.0,
            to_s: f64::from(n + 1),
        };
        ctx.save_checkpoint(&durable, Some(covers), vec![artifact])
            .await?;
        ctx.progress(Progress {
            counter: u64::from(n) + 1,
            ..Progress::default()
        });
    }
    Ok(json!({"made": durable.keys.len() - before, "keys": durable.keys}))
}

/// Stores an object that holds its own key, without listing it: the checkpoint does.
async fn make_segment(ctx: &Context, key: &str) -> Result<Artifact, ActivityError> {
    let file = ctx.scratch().join("segment");
    tokio::fs::write(&file, key)
        .await
        .map_err(|error| ActivityError::io("write a test segment", error))?;
    ctx.store_file(key, &file, "video/mp4").await
}
