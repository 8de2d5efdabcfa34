//! What becomes of an encode whose worker shuts down.

use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use telecine_engine::activity::ActivityError;

use crate::children::all_gone;
use crate::clips::Clips;
use crate::pipeline::{Run, go_on, short_clip};

/// Longer than anything takes here that ends at all.
const PATIENCE: Duration = Duration::from_secs(30);

fn is_given_back<T: std::fmt::Debug>(ended: Result<T, ActivityError>) {
    assert_eq!(&*ended.unwrap_err().code, "cancelled");
}

/// The process of the tool that works in a scratch directory.
fn tool_in(scratch: &Path) -> Pid {
    let mark = format!("TMPDIR={}", scratch.display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut tools = pids.filter(|pid: &i32| {
        let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark.as_bytes())
    });
    Pid::from_raw(tools.next().expect("a tool at work")).unwrap()
}

/// Names of all segments that are stored.
fn stored_segments(run: &Run) -> Vec<String> {
    let renditions = std::fs::read_dir(run.published("g1/video")).unwrap();
    let files = renditions.flat_map(|rendition| std::fs::read_dir(rendition.unwrap().path()));
    let names = files.flatten().map(|file| file.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with("seg_")).collect()
}

#[tokio::test]
async fn a_segment_in_work_that_does_not_end_is_not_waited_for() {
    let clips = Clips::new();
    let run = Run::new(&short_clip(&clips));
    let prepared = run.prepare().await;
    let attempt = run.bench.attempt(None);
    let (scratch, draining) = (attempt.ctx.scratch().to_owned(), attempt.draining.clone());
    let (stopped, tool) = std::sync::mpsc::channel();
    run.bench.at_checkpoint(move || {
        let tool = tool_in(&scratch);
        kill_process(tool, Signal::STOP).unwrap();
        draining.cancel();
        stopped.send(tool).unwrap();
    });
    let encode = run.attempt(&attempt, "video.encode", prepared.encode(0));
    let ended = tokio::time::timeout(PATIENCE, encode).await;
    is_given_back(ended.expect("it does not wait for the encoder"));
    all_gone(&[tool.recv().unwrap()]).await;

    let mut written = run.bench.take_written();
    let (checkpoint, _) = written.checkpoints.pop().unwrap();
    let text = checkpoint.to_string();
    for name in stored_segments(&run) {
        assert!(text.contains(&name), "{name} is stored and not made again");
    }
    go_on(&run, &prepared, (checkpoint, &written.artifacts)).await;
}

#[tokio::test]
async fn a_segment_that_is_done_soon_is_kept_and_is_the_last() {
    let clips = Clips::new();
    let source = clips.h264(26, "25", "-g 50 -s 96x54", "clip.mp4");
    let run = Run::new(&source);
    let prepared = run.prepare().await;
    // A machine may stand still for half a second, after which no segment is done or two are, but not each time.
    let mut kept = Vec::new();
    for _ in 0..5 {
        let attempt = run.bench.attempt(None);
        let draining = attempt.draining.clone();
        run.bench.at_checkpoint(move || draining.cancel());
        let encode = run.attempt(&attempt, "video.encode", prepared.encode(0));
        is_given_back(encode.await);
        kept.push(run.bench.take_written().checkpoints.len());
        if kept.ends_with(&[2]) {
            return;
        }
    }
    panic!("checkpoints, of which the second should be the last: {kept:?}");
}

#[tokio::test]
async fn an_encode_that_is_told_to_stop_at_its_beginning_makes_nothing() {
    let clips = Clips::new();
    let run = Run::new(&short_clip(&clips));
    let prepared = run.prepare().await;
    let attempt = run.bench.attempt(None);
    attempt.draining.cancel();
    let encode = run.attempt(&attempt, "video.encode", prepared.encode(0));
    is_given_back(encode.await);
    assert!(run.bench.take_written().checkpoints.is_empty());
}
