//! The child's side.

use std::fs::File;
use std::io::{self, BufRead as _, Read as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{Signal, getpgrp, getpid, getppid, kill_current_process_group};
use serde::Serialize;
use telecine_engine::activity::Usage;

use super::memory;
use super::protocol::{self, Line, Order};
use crate::tool::{Emitter, Tool};

/// How often a child says what it has used, so that a crash can be put on the account.
const USAGE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a tool that has come to its limit on memory may be silent. Encoders tell of every
/// frame, at the slowest one in some seconds.
const STANDSTILL: Duration = Duration::from_secs(30);

/// Runs one tool as a child process does: specification from stdin, messages to stdout.
pub fn serve<T: Tool>() -> ExitCode {
    die_with_parent();
    let (Ok(output), Some(order)) = (Output::take_stdout(), read_order::<T::Spec>()) else {
        return ExitCode::FAILURE;
    };
    if getppid().map_or(0, |pid| pid.as_raw_pid().unsigned_abs()) != order.parent {
        return ExitCode::FAILURE;
    }
    order.limits.apply();
    if std::thread::Builder::new().spawn(end_with_stdin).is_err() {
        // Who reads that says that memory is wanting.
        eprintln!("telecine: cannot start a thread: Cannot allocate memory");
        return ExitCode::FAILURE;
    }
    let said = Arc::new(AtomicU64::new(0));
    report_usage::<T>(output.clone(), said.clone());
    let messages = output.clone();
    let emitter = Emitter::new(move |message| {
        said.fetch_add(1, Ordering::Relaxed);
        messages.line(&Line::<T::Event, T::Output>::Message(message));
    });
    let done = T::run(order.spec, &emitter).map_err(memory::explain);
    output.line(&usage_line::<T>());
    output.line(&Line::<T::Event, T::Output>::Done(done));
    ExitCode::SUCCESS
}

/// Fires when the thread that started this process ends, which is when the parent does.
fn die_with_parent() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

fn read_order<S: serde::de::DeserializeOwned>() -> Option<Order<S>> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).ok()?;
    match serde_json::from_str(&line) {
        Ok(order) => Some(order),
        Err(e) => {
            eprintln!("telecine: this command is started by telecine itself: {e}");
            None
        }
    }
}

/// Stdin stays open for as long as the parent lives.
fn end_with_stdin() {
    let mut rest = [0; 256];
    while let Ok(1..) = io::stdin().lock().read(&mut rest) {}
    end();
}

/// Ends this process at once, with what it started.
fn end() -> ! {
    if getpgrp() == getpid() {
        let _ = kill_current_process_group(Signal::KILL);
    }
    std::process::abort()
}

/// Says every second what was used, and ends a tool that has come to its limit on memory and then
/// stands still: libraries wait for ever for threads that could not be started.
fn report_usage<T: Tool>(output: Output, said: Arc<AtomicU64>) {
    let report = move || {
        let (mut heard, mut moved) = (0, Instant::now());
        loop {
            std::thread::sleep(USAGE_INTERVAL);
            output.line(&usage_line::<T>());
            let now = said.load(Ordering::Relaxed);
            if std::mem::replace(&mut heard, now) != now {
                moved = Instant::now();
            }
            if moved.elapsed() > STANDSTILL
                && let Some(error) = memory::stuck()
            {
                output.line(&Line::<T::Event, T::Output>::Done(Err(error)));
            }
        }
    };
    // Without it a tool is less well watched, and no worse.
    let _ = std::thread::Builder::new().spawn(report);
}

fn usage_line<T: Tool>() -> Line<T::Event, T::Output> {
    Line::Usage(usage())
}

fn usage() -> Usage {
    let Ok(used) = getrusage(UsageWho::RUSAGE_SELF) else {
        return Usage::default();
    };
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Usage {
        cpu_s: seconds(used.user_time()) + seconds(used.system_time()),
        max_rss_bytes: peak_rss_bytes(used.max_rss().unsigned_abs()),
        ..Usage::default()
    }
}

/// The most memory this process has had resident. `getrusage` is not asked on Linux: what it tells
/// begins at the peak of the parent, from before this program was executed.
#[cfg(target_os = "linux")]
fn peak_rss_bytes(getrusage_kib: u64) -> u64 {
    status_kib("VmHWM:").unwrap_or(getrusage_kib) * 1024
}

/// The BSDs count in bytes, and from the start of the program.
#[cfg(not(target_os = "linux"))]
fn peak_rss_bytes(getrusage_bytes: u64) -> u64 {
    getrusage_bytes
}

/// A line of `/proc/self/status`, in KiB.
#[cfg(target_os = "linux")]
pub(super) fn status_kib(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

/// Where lines go. The real stdout is kept for them alone: what libraries print goes to stderr.
#[derive(Debug, Clone)]
struct Output {
    file: Arc<Mutex<File>>,
}

impl Output {
    fn take_stdout() -> io::Result<Self> {
        let file = File::from(rustix::io::dup(io::stdout())?);
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC)?;
        rustix::stdio::dup2_stdout(io::stderr())?;
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
        })
    }

    /// Writes a line. A parent that no longer reads is gone, and so is the reason to go on.
    fn line(&self, line: &impl Serialize) {
        let Ok(line) = protocol::encode(line) else {
            eprintln!("telecine: a message cannot be written as JSON");
            std::process::abort();
        };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.write_all(&line).is_err() {
            end();
        }
    }
}
