use std::collections::VecDeque;
use std::io;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::oneshot;

/// How much of the end of stderr is kept to explain a crash.
const STDERR_TAIL_BYTES: usize = 4096;

/// A child that is reaped whatever happens to whoever started it.
#[derive(Debug)]
pub(super) struct Process {
    group: Arc<Group>,
    end: tokio::task::JoinHandle<Exit>,
    ended: Option<Exit>,
}

/// How a child ended, and its CPU time if the system tells it.
type Reaped = (ExitStatus, Option<f64>);

/// The pipes to a child.
#[derive(Debug)]
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
}

/// How a process ended.
#[derive(Debug, Default)]
pub(super) struct Exit {
    /// `None` if that cannot be told.
    pub(super) status: Option<ExitStatus>,
    /// User and system CPU time, where the system tells it of a dead process.
    pub(super) cpu_s: Option<f64>,
    /// The end of what it wrote to stderr.
    pub(super) stderr: String,
}

/// The process group of a child. Its number is free for others once the child has been reaped,
/// so nothing is sent to it from then on.
#[derive(Debug)]
struct Group {
    leader: Pid,
    reaped: Mutex<bool>,
}

impl Group {
    fn kill(&self) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped {
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
    }
}

impl Process {
    /// Takes a fresh child over: its pipes, and a thread that reaps it.
    pub(super) fn watch(mut child: Child) -> io::Result<(Self, Pipes)> {
        let pipes = take_pipes(&mut child);
        let leader = Pid::from_child(&child);
        let group = Arc::new(Group {
            leader,
            reaped: Mutex::new(false),
        });
        let (ended, exit) = oneshot::channel();
        let reaper = Arc::clone(&group);
        // A thread of its own, not one of the runtime's: a runtime that is shut down would leave
        // a zombie.
        std::thread::Builder::new()
            .name("tool-reaper".to_owned())
            .spawn(move || {
                if let Some(end) = reap(child, &reaper) {
                    let _ = ended.send(end);
                }
            })?;
        let (pipes, stderr) = pipes?;
        let process = Self {
            group,
            end: tokio::spawn(watch_end(exit, stderr)),
            ended: None,
        };
        Ok((process, pipes))
    }

    /// Kills the child and everything it started.
    pub(super) fn kill(&self) {
        self.group.kill();
    }

    /// Waits for the end of the process. May be dropped and called again.
    pub(super) async fn exited(&mut self) -> &Exit {
        if self.ended.is_none() {
            self.ended = (&mut self.end).await.ok();
        }
        self.ended.get_or_insert_default()
    }
}

async fn watch_end(exit: oneshot::Receiver<Reaped>, stderr: ChildStderr) -> Exit {
    let (reaped, stderr) = tokio::join!(exit, tail(stderr));
    let (status, cpu_s) = reaped.map_or((None, None), |(status, cpu_s)| (Some(status), cpu_s));
    Exit {
        status,
        cpu_s,
        stderr,
    }
}

fn take_pipes(child: &mut Child) -> io::Result<(Pipes, ChildStderr)> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let missing = || io::Error::other("the process has no pipes");
    let pipes = Pipes {
        stdin: ChildStdin::from_std(stdin.ok_or_else(missing)?)?,
        stdout: ChildStdout::from_std(stdout.ok_or_else(missing)?)?,
    };
    Ok((pipes, ChildStderr::from_std(stderr.ok_or_else(missing)?)?))
}

/// Waits for the end of a child and reaps it, with what it left running.
fn reap(mut child: Child, group: &Group) -> Option<Reaped> {
    let peek = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while matches!(waitid(WaitId::Pid(group.leader), peek), Err(Errno::INTR)) {}
    let cpu_s = cpu_time_of_zombie(group.leader);
    let mut reaped = group.reaped.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = kill_process_group(group.leader, Signal::KILL);
    let status = child.wait();
    *reaped = true;
    Some((status.ok()?, cpu_s))
}

/// CPU seconds of a process that has ended but was not reaped. Linux keeps them in `/proc`.
fn cpu_time_of_zombie(pid: Pid) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = cpu_ticks(&stat)?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// `utime + stime`, fields 14 and 15 of `/proc/PID/stat`. The second field is a name in
/// parentheses that may itself hold anything, so counting starts after the last parenthesis.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

async fn tail(mut stderr: ChildStderr) -> String {
    let mut tail = VecDeque::with_capacity(STDERR_TAIL_BYTES);
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        let overflow = (tail.len() + read).saturating_sub(STDERR_TAIL_BYTES);
        tail.drain(..overflow);
        tail.extend(&buffer[..read]);
    }
    String::from_utf8_lossy(tail.make_contiguous()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::cpu_ticks;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c) Z 1 7 7 0 -1 4 100 0 0 0 250 50 0 0 20 0 1 0 9 0 0";
        assert_eq!(cpu_ticks(stat), Some(300));
    }

    #[test]
    fn nonsense_has_no_ticks() {
        assert_eq!(cpu_ticks(""), None);
        assert_eq!(cpu_ticks("7 (a) Z 1 2"), None);
    }
}
