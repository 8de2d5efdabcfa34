//! No child outlives its parent: each of the three ways is shown alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};

use telecine_activities::child::{Limits, TOOL_ARGUMENT};

use crate::misbehaving::How;

/// Starts a child that hangs, as the host does, and returns it once it is at work.
fn hanging_child(parent: u32) -> Child {
    let mut child = Command::new(env!("CARGO_BIN_EXE_telecine-tool-host"))
        .args([TOOL_ARGUMENT, "misbehaving"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let order = serde_json::json!({
        "parent": parent,
        "limits": Limits::SMALL,
        "spec": How::Hang,
    });
    let stdin = child.stdin.as_mut().unwrap();
    writeln!(stdin, "{order}").unwrap();
    child
}

fn wait_until_at_work(child: &mut Child) {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("event"), "{line:?}");
}

fn died_of_a_signal(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status).is_some()
}

#[test]
fn a_child_ends_when_its_stdin_does() {
    let mut child = hanging_child(std::process::id());
    wait_until_at_work(&mut child);
    drop(child.stdin.take());
    assert!(died_of_a_signal(child.wait().unwrap()));
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_ends_when_the_thread_that_started_it_does() {
    let (mut child, _stdin) = std::thread::spawn(|| {
        let mut child = hanging_child(std::process::id());
        wait_until_at_work(&mut child);
        // `wait` closes stdin; this test is about the signal.
        let stdin = child.stdin.take();
        (child, stdin)
    })
    .join()
    .unwrap();
    assert!(died_of_a_signal(child.wait().unwrap()));
}

#[test]
fn a_child_that_finds_another_parent_does_nothing() {
    let mut child = hanging_child(1);
    let stdin = child.stdin.take();
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut said).unwrap();
    assert_eq!(said, "");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    drop(stdin);
}
