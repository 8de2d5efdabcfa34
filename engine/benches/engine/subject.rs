//! A program under measurement: telecine in a process of its own, or a peer. It is given loads on its
//! standard input and answers them on its standard output, one line each.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long a program may take to start, which for some includes migrations.
const STARTED: Duration = Duration::from_secs(90);
/// How long one may take beyond the time that a load gives it.
const GRACE: Duration = Duration::from_secs(60);
/// How long one may take to stop before it is killed.
const STOPPED: Duration = Duration::from_secs(20);

/// Workflows to run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Load {
    /// At most so many.
    pub(crate) workflows: usize,
    /// So many at a time.
    pub(crate) in_flight: usize,
    /// None begins later than this.
    pub(crate) seconds: u64,
    /// Before each there is a pause of random length up to this.
    pub(crate) pause_ms: u64,
}

/// What became of a load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) seconds: f64,
    /// From each submission to its durable end.
    pub(crate) latencies_ms: Vec<f64>,
}

/// A running program. Dropped, it is killed with everything that it started.
#[derive(Debug)]
pub(crate) struct Subject {
    child: Child,
    group: Pid,
    loads: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    errors: tempfile::NamedTempFile,
}

impl Subject {
    /// Starts one and waits until it says that it is ready.
    pub(crate) async fn start(mut command: Command) -> Result<Self, String> {
        let errors = tempfile::NamedTempFile::new().unwrap();
        let spawned = command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors.reopen().unwrap())
            .spawn();
        let mut child = spawned.map_err(|error| format!("cannot be started: {error}"))?;
        let group = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        let mut subject = Self {
            loads: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            group,
            errors,
        };
        subject.answer::<Value>(STARTED).await?;
        Ok(subject)
    }

    /// Gives it workflows to run.
    pub(crate) async fn run(&mut self, load: Load) -> Result<Done, String> {
        let done: Done = self.ask(&load, Duration::from_secs(load.seconds)).await?;
        match done.latencies_ms.is_empty() {
            true => Err("ran nothing".to_owned()),
            false => Ok(done),
        }
    }

    /// Gives it anything that it may take so long for.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &mut self,
        load: &impl Serialize,
        within: Duration,
    ) -> Result<T, String> {
        let line = format!("{}\n", serde_json::to_string(load).unwrap());
        let loads = self.loads.as_mut().unwrap();
        if loads.write_all(line.as_bytes()).await.is_err() {
            return Err(self.last_words("ended"));
        }
        self.answer(within + GRACE).await
    }

    async fn answer<T: DeserializeOwned>(&mut self, within: Duration) -> Result<T, String> {
        let line = match timeout(within, self.answers.next_line()).await {
            Err(_) => {
                return Err(self.last_words(&format!("said nothing for {} s", within.as_secs())));
            }
            Ok(Ok(Some(line))) => line,
            Ok(_) => return Err(self.last_words("ended")),
        };
        serde_json::from_str(&line).map_err(|_| format!("answered {line:.200}"))
    }

    /// CPU time of it and of everything that it started.
    pub(crate) fn cpu(&self) -> Duration {
        crate::process::cpu_of_tree(self.group.as_raw_nonzero().get().cast_unsigned())
    }

    /// Ends its input and waits until it has stopped in order.
    pub(crate) async fn stop(mut self) -> Result<(), String> {
        drop(self.loads.take());
        match timeout(STOPPED, self.child.wait()).await {
            Err(_) => Err(self.last_words("did not stop")),
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(_) => Err(self.last_words("failed at its end")),
        }
    }

    fn last_words(&self, what: &str) -> String {
        let said = std::fs::read_to_string(self.errors.path()).unwrap_or_default();
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(5)..];
        format!("{what}: {}", last.join(" / "))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // After a stop in order there is nobody left to kill.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.try_wait();
    }
}
