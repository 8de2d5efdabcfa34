//! Every way in which a child process can end.

use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};
use telecine_activities::child::{Heard, Limits, Running};
use telecine_engine::activity::{ActivityError, ErrorClass};

use crate::attempt::{Attempt, Bench};
use crate::misbehaving::{How, Misbehaving, Told};

/// Limits that a test reaches quickly.
const TIGHT: Limits = Limits {
    cpu_s: 1,
    file_bytes: 1 << 20,
};

async fn end_of(how: How) -> ActivityError {
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    bench
        .host
        .run::<Misbehaving>(&attempt.ctx, how, TIGHT)
        .await
        .unwrap_err()
}

async fn code_of(how: How) -> (ErrorClass, String) {
    let error = end_of(how).await;
    (error.class, error.code.into_owned())
}

#[tokio::test]
async fn events_progress_and_warnings_arrive_before_the_output() {
    let bench = Bench::new();
    let Attempt { ctx, .. } = &bench.attempt(None);
    let spec = How::Add(vec![1, 2, 39]);
    let mut running = bench
        .host
        .start::<Misbehaving>(ctx, spec, TIGHT)
        .await
        .unwrap();
    let mut told = Vec::new();
    let sum = loop {
        match running.next().await.unwrap() {
            Heard::Event(event) => told.push(event),
            Heard::Done(sum) => break sum,
        }
    };
    assert_eq!(sum, 42);
    assert_eq!(told, [1, 2, 39].map(Told::Number));
    let (_, warnings, usage) = ctx.take_outcome();
    assert_eq!(warnings, ["numbers are added"]);
    assert!(usage.max_rss_bytes > 100_000, "{usage:?}");
}

#[tokio::test]
async fn what_a_library_prints_does_not_disturb_the_messages() {
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    let print = How::Print("{\"done\":7}\nnoise".to_owned());
    let output = bench
        .host
        .run::<Misbehaving>(&attempt.ctx, print, TIGHT)
        .await;
    assert_eq!(output.unwrap(), 0);
}

#[tokio::test]
async fn the_error_of_a_tool_arrives_as_it_is() {
    let error = end_of(How::Refuse).await;
    assert_eq!((error.class, &*error.code), (ErrorClass::Input, "refused"));
    assert_eq!(error.message, "this is refused");
}

#[tokio::test]
async fn a_segfault_is_a_bug_of_the_tool() {
    let expected = (ErrorClass::Bug, "tool_crashed".to_owned());
    assert_eq!(code_of(How::Signal(11)).await, expected);
}

#[tokio::test]
async fn a_panic_is_quoted() {
    let error = end_of(How::Panic).await;
    assert_eq!(&*error.code, "tool_crashed");
    assert!(error.message.contains("on purpose"), "{}", error.message);
}

#[tokio::test]
async fn a_child_that_leaves_without_a_word_is_a_bug() {
    let expected = (ErrorClass::Bug, "tool_crashed".to_owned());
    assert_eq!(code_of(How::Vanish).await, expected);
}

#[tokio::test]
async fn a_kill_from_outside_is_for_want_of_a_resource() {
    let expected = (ErrorClass::Resource, "tool_killed".to_owned());
    assert_eq!(code_of(How::Signal(9)).await, expected);
}

#[tokio::test]
async fn a_runaway_is_ended_by_its_cpu_limit_and_pays() {
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    let spin = bench
        .host
        .run::<Misbehaving>(&attempt.ctx, How::Spin, TIGHT);
    let error = spin.await.unwrap_err();
    assert_eq!(
        (error.class, &*error.code),
        (ErrorClass::Timeout, "cpu_limit")
    );
    let (_, _, usage) = attempt.ctx.take_outcome();
    assert!((0.5..3.0).contains(&usage.cpu_s), "{usage:?}");
}

#[tokio::test]
async fn memory_without_end_is_refused() {
    let expected = (ErrorClass::Resource, "out_of_memory".to_owned());
    assert_eq!(code_of(How::Allocate).await, expected);
}

/// To GStreamer, a decoder that cannot be loaded is not installed.
#[tokio::test]
async fn what_a_library_says_for_want_of_memory_is_no_fault_of_the_source() {
    let error = end_of(How::Crave).await;
    assert_eq!(
        (error.class, &*error.code),
        (ErrorClass::Resource, "out_of_memory")
    );
    assert!(error.message.contains("there is no decoder"), "{error}");
}

#[tokio::test]
async fn a_file_without_end_is_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let expected = (ErrorClass::Resource, "file_too_large".to_owned());
    let fill = How::Fill(directory.path().join("file"));
    assert_eq!(code_of(fill).await, expected);
}

#[tokio::test]
async fn a_line_without_end_is_refused() {
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    // Writing so much takes a second of processors where they are slow.
    let limits = Limits { cpu_s: 60, ..TIGHT };
    let line = How::LongLine(20 << 20);
    let running = bench.host.run::<Misbehaving>(&attempt.ctx, line, limits);
    let error = running.await.unwrap_err();
    let expected = (ErrorClass::Bug, "bad_tool_output");
    assert_eq!((error.class, &*error.code), expected);
}

#[tokio::test]
async fn an_unknown_tool_says_so() {
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    let host = telecine_activities::child::ToolHost::with_program("/bin/false").unwrap();
    let run = host.run::<Misbehaving>(&attempt.ctx, How::Vanish, TIGHT);
    assert_eq!(&*run.await.unwrap_err().code, "tool_crashed");
}

#[tokio::test]
async fn secrets_of_the_worker_are_not_in_the_environment() {
    // Cargo sets this one for every test; it stands for any variable that is not on the list.
    let variable = "CARGO_MANIFEST_DIR";
    assert!(std::env::var(variable).is_ok());
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    let spec = How::TellVariable(variable.to_owned());
    let running = bench.host.start::<Misbehaving>(&attempt.ctx, spec, TIGHT);
    let heard = running.await.unwrap().next().await.unwrap();
    assert!(matches!(heard, Heard::Event(Told::Text(None))), "{heard:?}");
}

#[tokio::test]
async fn cpu_time_of_a_finished_child_is_counted() {
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    let spin = How::SpinFor(0.3);
    bench
        .host
        .run::<Misbehaving>(&attempt.ctx, spin, TIGHT)
        .await
        .unwrap();
    let (_, _, usage) = attempt.ctx.take_outcome();
    assert!((0.1..2.0).contains(&usage.cpu_s), "{usage:?}");
}

/// Linux begins `ru_maxrss` of a child at the peak of its parent.
#[tokio::test]
async fn the_memory_of_a_child_is_its_own_and_not_that_of_its_parent() {
    const PARENT_BYTES: usize = 300 << 20;
    drop(std::hint::black_box(vec![1_u8; PARENT_BYTES]));
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    let sum = bench
        .host
        .run::<Misbehaving>(&attempt.ctx, How::Add(vec![1]), TIGHT);
    sum.await.unwrap();
    let (_, _, usage) = attempt.ctx.take_outcome();
    assert!(usage.max_rss_bytes < PARENT_BYTES as u64 / 2, "{usage:?}");
}

#[tokio::test]
async fn cancelling_kills_the_child_and_what_it_started() {
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    let (mut running, pids) = hanging(&bench, &attempt).await;
    attempt.cancelled.cancel();
    let error = running.next().await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Cancelled);
    all_gone(&pids).await;
}

#[tokio::test]
async fn dropping_kills_the_child_and_what_it_started() {
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    let (running, pids) = hanging(&bench, &attempt).await;
    drop(running);
    all_gone(&pids).await;
}

#[tokio::test]
async fn a_dropped_wait_loses_no_message() {
    let bench = Bench::new();
    let attempt = bench.attempt(None);
    let numbers: Vec<u64> = (0..200).collect();
    let spec = How::Add(numbers.clone());
    let mut running = bench
        .host
        .start::<Misbehaving>(&attempt.ctx, spec, TIGHT)
        .await
        .unwrap();
    let mut told = Vec::new();
    loop {
        let waited = tokio::time::timeout(Duration::from_micros(50), running.next()).await;
        match waited {
            Err(_) => {}
            Ok(Ok(Heard::Event(event))) => told.push(event),
            Ok(Ok(Heard::Done(_))) => break,
            Ok(Err(e)) => panic!("{e}"),
        }
    }
    assert_eq!(
        told,
        numbers.into_iter().map(Told::Number).collect::<Vec<_>>()
    );
}

/// A child that hangs, with the pids of itself and of its grandchild.
async fn hanging<'a>(bench: &Bench, attempt: &'a Attempt) -> (Running<'a, Misbehaving>, Vec<Pid>) {
    let spec = How::HangWithGrandchild;
    let mut running = bench
        .host
        .start::<Misbehaving>(&attempt.ctx, spec, TIGHT)
        .await
        .unwrap();
    let mut pids = Vec::new();
    while pids.len() < 2 {
        if let Heard::Event(Told::Number(pid)) = running.next().await.unwrap() {
            pids.push(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap());
        }
    }
    (running, pids)
}

/// Waits until no process of the list runs; a zombie that its own parent has to reap is gone.
pub(crate) async fn all_gone(pids: &[Pid]) {
    let started = Instant::now();
    while pids.iter().any(|pid| runs(*pid)) {
        assert!(started.elapsed() < Duration::from_secs(10), "{pids:?} live");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn runs(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    match stat {
        Ok(stat) => !stat.contains(") Z "),
        Err(_) => !cfg!(target_os = "linux") && test_kill_process(pid).is_ok(),
    }
}
