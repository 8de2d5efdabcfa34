//! One run of a workflow in a process of its own, which tells what its activity does, and does
//! something to it at a given moment. The conformance kit starts it and kills it.

mod watched;

use std::io::{BufRead as _, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use telecine_engine::activity::{ActivityError, ErrorClass, Registry};
use telecine_engine::id::RunId;
use telecine_engine::queue::Machine;
use telecine_engine::worker::WorkerOptions;
use telecine_object_stores::FsStores;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Database;
use watched::Stagehand;

/// The word on the command line of the process.
pub(crate) const REHEARSE: &str = "__rehearse";

/// How often the process looks whether its run has stopped.
const LOOK: Duration = Duration::from_millis(10);

/// What the process reads first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) data: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) run: RunId,
    pub(crate) plot: Option<Plot>,
    /// Keys of objects that were taken away: the activity is told of them.
    pub(crate) damaged: Vec<String>,
    /// How long a drained activity gets to reach its next checkpoint.
    pub(crate) grace: Duration,
}

/// What is done to the first attempt, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plot {
    pub(crate) at: Moment,
    pub(crate) twist: Twist,
}

/// A moment of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Moment {
    /// Just before the activity runs.
    Start,
    /// When so many checkpoints of this attempt are durable, before the activity goes on.
    Checkpoint(u32),
    /// When the activity has returned its output and nobody knows yet.
    End,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Twist {
    /// The attempt waits there to be killed with its process.
    Hold,
    /// The run is cancelled.
    Cancel,
    /// The worker shuts down.
    Drain,
}

/// What the process tells, one JSON line each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Seen {
    /// An attempt begins; this is its tag.
    Began(String),
    /// The activity has asked for the checkpoint.
    CheckpointRead,
    /// A checkpoint is durable.
    CheckpointSaved,
    /// The counter of its progress fell.
    ProgressFell { from: u64, to: u64 },
    /// A percentage below 0, above 100, or no number.
    BadPercent(String),
    /// A generation of a name was allocated.
    Allocated(String),
    /// A generation of a name is published: what lies under that name may change from now on.
    Published(String),
    /// The moment has come; for [`Twist::Hold`], the attempt waits.
    Reached,
    /// The attempt was told to stop at once.
    Cancelled,
    /// The activity returned.
    Returned(Option<SeenError>),
    /// The engine gave the activity up.
    Abandoned,
}

/// An error of an activity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeenError {
    pub(crate) class: ErrorClass,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl From<&ActivityError> for SeenError {
    fn from(error: &ActivityError) -> Self {
        Self {
            class: error.class,
            code: error.code.clone().into_owned(),
            message: error.message.clone(),
        }
    }
}

/// Says a line to the kit. A kit that no longer listens is gone.
pub(super) fn say(seen: &Seen) {
    let Ok(line) = serde_json::to_string(seen) else {
        return;
    };
    // One write: what the activity prints itself does not get between.
    if std::io::stdout()
        .write_all(format!("\n{line}\n").as_bytes())
        .is_err()
    {
        std::process::exit(1);
    }
}

/// Runs the process: order from standard input, tale to standard output.
pub(crate) fn serve(registry: &Registry) -> ExitCode {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    let order: Option<Order> = read.ok().and_then(|_| serde_json::from_str(&line).ok());
    let Some(order) = order else {
        eprintln!("telecine: this command is started by the conformance kit itself");
        return ExitCode::from(2);
    };
    std::thread::spawn(end_with_stdin);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let worked = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(work(registry, order)));
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("telecine: the rehearsal broke off: {error}");
            ExitCode::FAILURE
        }
    }
}

fn end_with_stdin() {
    let mut rest = [0; 64];
    while let Ok(1..) = std::io::stdin().lock().read(&mut rest) {}
    std::process::exit(1);
}

async fn work(
    registry: &Registry,
    order: Order,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let app = App::open(&Database::Directory(order.data.clone()), Arc::new(FsStores)).await?;
    app.sweep().await?;
    let stop = CancellationToken::new();
    let stagehand = Arc::new(Stagehand::new(
        (order.plot, order.damaged),
        (app.coordinator.clone(), order.run.clone()),
        stop.clone(),
    ));
    let registry = registry.wrapped(|activity| stagehand.watch(activity));
    let options = WorkerOptions {
        machine: Machine::with_slots(1),
        run: Some(order.run.clone()),
        grace: order.grace,
    };
    let worker = app
        .open_worker_in(&order.scratch, &Arc::new(registry), options)
        .await?;
    let _services = app.start_services(&worker);
    let mut working = tokio::spawn(worker.run(stop.clone()));
    loop {
        tokio::select! {
            ended = &mut working => return Ok(ended??),
            () = tokio::time::sleep(LOOK) => {}
        }
        let run = app.store().load_run(&order.run).await?;
        if run.is_none_or(|run| run.status.is_stopped()) {
            stop.cancel();
            return Ok(working.await??);
        }
    }
}
