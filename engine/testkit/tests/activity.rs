//! The test activity does what its input says.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use serde_json::{Value, json};
use telecine_engine::activity::{
    ActivityError, AttemptPort, Checkpoint, Context, ContextParts, DynActivity as _, ErrorClass,
    MediaSpan, ProgressCell, PublicationMove,
};
use telecine_engine::objects::StoredArtifact;
use telecine_object_stores::FsStore;
use telecine_testkit::activity::TestActivity;
use tokio_util::sync::CancellationToken;

/// Keeps the checkpoints of one step over its attempts.
#[derive(Debug, Default)]
struct Checkpoints(Mutex<Vec<Checkpoint>>);

#[async_trait]
impl AttemptPort for Checkpoints {
    async fn save_checkpoint(
        &self,
        value: Value,
        covers: Option<MediaSpan>,
        _artifacts: Vec<StoredArtifact>,
    ) -> Result<(), ActivityError> {
        let mut all = self.0.lock().expect("no panic");
        let seq = all.len() as u64 + 1;
        all.push(Checkpoint {
            seq,
            value,
            covers,
            compat: String::new(),
        });
        Ok(())
    }

    async fn allocate_generation(
        &self,
        _name: &str,
        _above: u32,
        _keys: Option<&str>,
    ) -> Result<u64, ActivityError> {
        unreachable!("the test activity publishes nothing")
    }

    async fn publish(&self, _: &str, _: u64) -> Result<PublicationMove, ActivityError> {
        unreachable!("the test activity publishes nothing")
    }

    async fn publication(&self, _: &str) -> Result<Option<u64>, ActivityError> {
        unreachable!("the test activity publishes nothing")
    }
}

/// A step: what its attempts share.
struct Step {
    home: tempfile::TempDir,
    checkpoints: Arc<Checkpoints>,
    cancelled: CancellationToken,
    draining: CancellationToken,
    progress: Arc<ProgressCell>,
}

impl Step {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a directory"),
            checkpoints: Arc::default(),
            cancelled: CancellationToken::new(),
            draining: CancellationToken::new(),
            progress: Arc::default(),
        }
    }

    fn context(&self, attempt: u32) -> Context {
        let objects = Arc::new(FsStore::new(self.home.path().join("media")));
        Context::new(ContextParts {
            run: "job_1".to_owned(),
            step: "only".to_owned(),
            attempt,
            attempt_tag: format!("{attempt:08x}"),
            scratch: self.home.path().to_owned(),
            source: objects.clone(),
            media: objects,
            checkpoint: self.checkpoints.0.lock().expect("no panic").last().cloned(),
            damaged: Vec::new(),
            cancelled: self.cancelled.clone(),
            draining: self.draining.clone(),
            progress: self.progress.clone(),
            port: self.checkpoints.clone(),
        })
    }

    async fn attempt(&self, attempt: u32, input: Value) -> Result<Value, ActivityError> {
        TestActivity.run(&self.context(attempt), input).await
    }
}

#[tokio::test]
async fn it_succeeds_with_output_objects_and_warnings() {
    let step = Step::new();
    let context = step.context(1);
    let input =
        json!({"behaviour": "succeed", "output": [1], "objects": ["a/b"], "warnings": ["w"]});
    assert_eq!(TestActivity.run(&context, input).await.unwrap(), json!([1]));
    let (artifacts, warnings, _) = context.take_outcome();
    assert_eq!((artifacts[0].key.as_str(), artifacts[0].size), ("a/b", 3));
    assert_eq!(warnings, ["w"]);
}

#[tokio::test]
async fn it_fails_as_often_as_it_was_told() {
    let step = Step::new();
    let input = json!({"behaviour": "fail", "class": "resource", "code": "no_room", "times": 2});
    for attempt in 1..=2 {
        let error = step.attempt(attempt, input.clone()).await.unwrap_err();
        assert_eq!(
            (error.class, error.code.as_ref()),
            (ErrorClass::Resource, "no_room")
        );
    }
    assert_eq!(step.attempt(3, input).await.unwrap(), json!({"attempt": 3}));
}

#[tokio::test]
async fn it_continues_after_the_last_durable_segment() {
    let step = Step::new();
    let input = json!({"behaviour": "segments", "segments": 5, "prefix": "v/", "fail_after": 3});
    assert_eq!(
        step.attempt(1, input.clone()).await.unwrap_err().class,
        ErrorClass::Transient
    );
    assert_eq!(step.checkpoints.0.lock().unwrap().len(), 3);
    let output = step.attempt(2, input).await.unwrap();
    assert_eq!(output["made"], 2);
    assert_eq!(output["keys"][2], "v/seg_00002_00000001");
    assert_eq!(output["keys"][3], "v/seg_00003_00000002");
    assert_eq!(step.progress.get().counter, 5);
}

#[tokio::test]
async fn it_stops_when_it_is_cancelled_or_drained() {
    for behaviour in [
        json!({"behaviour": "hang"}),
        json!({"behaviour": "stall", "counters": [7]}),
    ] {
        let step = Step::new();
        step.cancelled.cancel();
        assert_eq!(
            step.attempt(1, behaviour).await.unwrap_err().class,
            ErrorClass::Cancelled
        );
    }
    let step = Step::new();
    step.draining.cancel();
    let error = step
        .attempt(1, json!({"behaviour": "drain"}))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Cancelled);
    assert_eq!(step.checkpoints.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_misspelt_behaviour_is_refused() {
    for input in [
        json!({"behaviour": "sucseed"}),
        json!({"behaviour": "panic", "time": 1}),
    ] {
        let error = Step::new().attempt(1, input).await.unwrap_err();
        assert_eq!(error.code, "bad_activity_input");
    }
}
