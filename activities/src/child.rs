//! Runs a [`Tool`] in a child process, and is the frame it runs in there.
//!
//! A segfault, a runaway or a hostile file costs one attempt, never the worker. The child is the
//! same program, started as `telecine __tool NAME`. One line of JSON on stdin says what to do;
//! lines of JSON on stdout say how far it is and what came out. Three things end a child whose
//! parent is gone: the parent-death signal, the end of stdin, and a look at its parent's pid.

mod inside;
mod limits;
mod memory;
mod outcome;
mod process;
mod protocol;
mod spawn;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use telecine_engine::activity::{ActivityError, Context, Usage};
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;

use crate::tool::{Message, Tool};
use process::Process;
use protocol::{Line, LineReader, Order};

pub use inside::serve;
pub use limits::Limits;

/// The word before the tool's name on the command line of a child.
pub const TOOL_ARGUMENT: &str = "__tool";

/// Starts tools as children of this process. Cheap to clone; make one per process.
#[derive(Debug, Clone)]
pub struct ToolHost {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    program: PathBuf,
    /// The tools that the program serves, if that is known.
    tools: Option<Vec<&'static str>>,
    spawner: spawn::Spawner,
    /// Whether a child has read the GStreamer registry since this process started, and so
    /// brought it up to date: checking it again costs each child 8 ms.
    registry_is_fresh: AtomicBool,
}

impl ToolHost {
    /// A host whose tools run in this program.
    ///
    /// # Errors
    /// If the path of the program cannot be told, or no thread can be started.
    pub fn new() -> std::io::Result<Self> {
        Self::of(own_program()?, None)
    }

    /// As [`ToolHost::new`], for a program that serves these tools: others are refused before a
    /// process is started for them.
    ///
    /// # Errors
    /// As [`ToolHost::new`].
    pub fn serving(tools: Vec<&'static str>) -> std::io::Result<Self> {
        Self::of(own_program()?, Some(tools))
    }

    /// A host whose tools run in another program that answers `__tool NAME` with
    /// [`run_tool`](crate::run_tool).
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn with_program(program: impl Into<PathBuf>) -> std::io::Result<Self> {
        Self::of(program.into(), None)
    }

    fn of(program: PathBuf, tools: Option<Vec<&'static str>>) -> std::io::Result<Self> {
        Ok(Self {
            inner: Arc::new(Inner {
                program,
                tools,
                spawner: spawn::Spawner::start()?,
                registry_is_fresh: AtomicBool::new(false),
            }),
        })
    }

    /// Runs a tool to its end; its events are dropped.
    ///
    /// # Errors
    /// What the tool says, or how its process ended; see [`Running::next`].
    pub async fn run<T: Tool>(
        &self,
        ctx: &Context,
        spec: T::Spec,
        limits: Limits,
    ) -> Result<T::Output, ActivityError> {
        let mut running = self.start::<T>(ctx, spec, limits).await?;
        loop {
            if let Heard::Done(output) = running.next().await? {
                return Ok(output);
            }
        }
    }

    /// Starts a tool.
    ///
    /// # Errors
    /// `resource` when no process can be started; `config` `unknown_tool` if the program was put
    /// together without the tool.
    pub async fn start<'a, T: Tool>(
        &self,
        ctx: &'a Context,
        spec: T::Spec,
        limits: Limits,
    ) -> Result<Running<'a, T>, ActivityError> {
        self.refuse_unknown(T::NAME)?;
        let order = Order {
            parent: std::process::id(),
            limits,
            spec,
        };
        let command = self.command(T::NAME, ctx.scratch());
        let cannot = |e| {
            ActivityError::resource("cannot_start_tool", format!("cannot start a process: {e}"))
        };
        let child = self.inner.spawner.spawn(command).await.map_err(cannot)?;
        let (process, mut pipes) = Process::watch(child).map_err(cannot)?;
        let order = protocol::encode(&order)
            .map_err(|e| ActivityError::bug("bad_tool_spec", e.to_string()))?;
        // A child that ends before it has read its order is explained by how it ended.
        let _ = pipes.stdin.write_all(&order).await;
        Ok(Running {
            ctx,
            process,
            lines: LineReader::new(pipes.stdout),
            limits,
            used: Usage::default(),
            accounted: false,
            verdict: None,
            host: Arc::clone(&self.inner),
            _stdin: pipes.stdin,
        })
    }

    fn refuse_unknown(&self, tool: &str) -> Result<(), ActivityError> {
        let tools = self.inner.tools.as_ref();
        if tools.is_none_or(|tools| tools.contains(&tool)) {
            return Ok(());
        }
        let message = format!(
            "this program was put together without the tool {tool}; add it with \
             `.tool::<..>()` where the activity is added"
        );
        Err(ActivityError::config("unknown_tool", message))
    }

    fn command(&self, tool: &str, scratch: &Path) -> std::process::Command {
        let mut command = spawn::clean_command(&self.inner.program);
        command.arg(TOOL_ARGUMENT).arg(tool).env("TMPDIR", scratch);
        if self.inner.registry_is_fresh.load(Ordering::Relaxed) {
            command.env("GST_REGISTRY_UPDATE", "no");
        }
        command
    }
}

/// The running image, also when an upgrade has replaced or removed the file it came from.
fn own_program() -> std::io::Result<PathBuf> {
    let image = Path::new("/proc/self/exe");
    if image.exists() {
        return Ok(image.to_owned());
    }
    std::env::current_exe()
}

/// What a tool said.
#[derive(Debug)]
pub enum Heard<T: Tool> {
    /// One of its events.
    Event(T::Event),
    /// It is done, and its process is gone.
    Done(T::Output),
}

/// A tool at work. Dropping it kills the child with everything the child started.
#[derive(Debug)]
pub struct Running<'a, T: Tool> {
    ctx: &'a Context,
    process: Process,
    lines: LineReader,
    limits: Limits,
    used: Usage,
    accounted: bool,
    verdict: Option<Result<T::Output, ActivityError>>,
    /// Keeps the spawning thread: when it ends, the parent-death signal fires.
    host: Arc<Inner>,
    /// Open for as long as the child may live.
    _stdin: ChildStdin,
}

impl<T: Tool> Running<'_, T> {
    /// The next event, or the end. Progress and warnings go to the attempt. Nothing is lost when
    /// the returned future is dropped before it is done.
    ///
    /// # Errors
    /// The tool's own error; `bug` `tool_crashed` after a crash, `resource` `tool_killed`,
    /// `out_of_memory`, `disk_full` or `file_too_large`, `timeout` `cpu_limit`; `cancelled` when
    /// the attempt is cancelled. The process is gone in each case.
    pub async fn next(&mut self) -> Result<Heard<T>, ActivityError> {
        loop {
            if self.verdict.is_some() {
                self.settle().await;
            }
            if let Some(verdict) = self.verdict.take() {
                return verdict.map(Heard::Done);
            }
            let ctx = self.ctx;
            let line = tokio::select! {
                biased;
                () = ctx.cancelled() => {
                    self.conclude(Err(ActivityError::cancelled()));
                    continue;
                }
                line = self.lines.next::<Line<T::Event, T::Output>>() => line,
            };
            match line {
                Ok(Some(Line::Message(Message::Progress(progress)))) => self.ctx.progress(progress),
                Ok(Some(Line::Message(Message::Warning(warning)))) => self.ctx.warn(warning),
                Ok(Some(Line::Message(Message::Event(event)))) => return Ok(Heard::Event(event)),
                Ok(Some(Line::Usage(used))) => self.used = used,
                Ok(Some(Line::Done(done))) => self.conclude(done.map_err(ActivityError::from)),
                Ok(None) => return Err(self.broke_off().await),
                Err(e) => self.conclude(Err(unreadable::<T>(&e))),
            }
        }
    }

    /// The result is known: what the process still does is of no interest. A tool that is done
    /// would only tear libraries down.
    fn conclude(&mut self, verdict: Result<T::Output, ActivityError>) {
        self.process.kill();
        self.verdict = Some(verdict);
    }

    async fn settle(&mut self) {
        let cpu_s = self.process.exited().await.cpu_s;
        self.account(cpu_s);
        self.host.registry_is_fresh.store(true, Ordering::Relaxed);
    }

    async fn broke_off(&mut self) -> ActivityError {
        let exit = self.process.exited().await;
        let error = outcome::explain(T::NAME, exit.status, &exit.stderr, self.limits);
        let cpu_s = exit.cpu_s;
        self.account(cpu_s);
        error
    }

    /// Puts what the child used on the attempt's account, once.
    fn account(&mut self, cpu_s: Option<f64>) {
        if std::mem::replace(&mut self.accounted, true) {
            return;
        }
        self.ctx.add_usage(Usage {
            cpu_s: cpu_s.unwrap_or_default().max(self.used.cpu_s),
            ..self.used
        });
    }
}

impl<T: Tool> Drop for Running<'_, T> {
    fn drop(&mut self) {
        self.process.kill();
        self.account(None);
    }
}

fn unreadable<T: Tool>(error: &std::io::Error) -> ActivityError {
    ActivityError::bug(
        "bad_tool_output",
        format!("the {} tool wrote what cannot be read: {error}", T::NAME),
    )
}
