//! Programs that tests run: ffmpeg, a browser, the product itself. Each has a time limit, so that one
//! that hangs fails the test that started it, by name, and does not outlive it.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take whose work is looking at or making a clip. Six minutes of 1080p are
/// decoded in 20 s on two quiet cores; on busy ones it takes some times as long.
const LONGEST: Duration = Duration::from_secs(600);

/// How long what a killed program has said is waited for: a child of its own may hold the pipe.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often is looked whether a program has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Runs a program to its end, without input, and answers how it ended and what it printed.
///
/// # Panics
/// If it cannot be started, and if it has not ended after ten minutes: then it is killed, and the
/// panic names it and what it said last.
pub fn output(command: &mut Command) -> Output {
    output_within(command, LONGEST)
}

/// [`output`] with another limit.
///
/// # Panics
/// As [`output`].
pub fn output_within(command: &mut Command, limit: Duration) -> Output {
    let piped = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = piped.spawn();
    let child = child.unwrap_or_else(|error| {
        let program = command.get_program().display();
        panic!("{program} cannot be started ({error}); is it installed? ./x doctor says")
    });
    finish(child, &format!("{command:?}"), limit)
}

/// Waits for a program, called `what`, and answers how it ended and what it printed into its pipes.
///
/// # Panics
/// As [`output`].
pub fn finish(mut child: Child, what: &str, limit: Duration) -> Output {
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let Some(status) = wait(&mut child, limit) else {
        let said = stderr.recv_timeout(LAST_WORDS).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        panic!("{what} has not ended within {limit:?} and was killed; it said: {said}");
    };
    Output {
        status,
        stdout: stdout.recv().unwrap_or_default(),
        stderr: stderr.recv().unwrap_or_default(),
    }
}

/// Waits for a program for so long. `None` if it had to be killed; nothing is left of it.
///
/// # Panics
/// If it is no child of this process.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    loop {
        let ended = child.try_wait().expect("a child to wait for");
        if ended.is_some() {
            return ended;
        }
        if began.elapsed() > limit {
            child.kill().expect("a child can be killed");
            child.wait().expect("a killed child ends");
            return None;
        }
        thread::sleep(LOOK);
    }
}

/// Reads a pipe to its end beside everything else: a program whose pipe is full stands still.
fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (told, all) = channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // Cut short, it is what it is.
            let _ = pipe.read_to_end(&mut bytes);
            let _ = told.send(bytes);
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    #[test]
    fn a_program_that_hangs_is_killed_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > pid; echo busy >&2; exec sleep 60"])
            .current_dir(directory.path());
        let run = || output_within(&mut command, Duration::from_millis(500));
        let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("it hangs");
        let said = panic.downcast_ref::<String>().unwrap();
        for part in ["sleep 60", "500ms", "killed", "busy"] {
            assert!(said.contains(part), "{said}");
        }
        let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap();
        let alive = Command::new("kill").args(["-0", pid.trim()]).output();
        assert!(!alive.unwrap().status.success(), "{pid} is still there");
    }

    #[test]
    fn what_a_program_prints_is_read_while_it_runs() {
        let mut command = Command::new("head");
        command.args(["-c", "1000000", "/dev/zero"]);
        let output = output(&mut command);
        assert_eq!(
            (output.status.success(), output.stdout.len()),
            (true, 1_000_000)
        );
    }
}
