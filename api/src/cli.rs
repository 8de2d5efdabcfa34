//! The command line: what can be asked, and how answers, notes and exit codes look.

mod activity;
mod again;
mod console;
mod doctor;
mod exit;
mod follow;
mod interrupt;
mod jobs;
mod lint;
mod logging;
mod output;
mod plan;
mod remote;
mod run;
mod serve;
mod settings;
mod stores;
mod summary;
mod workflow;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::builder::Program;
use crate::config::{Config, Sources};
use console::Console;
use exit::{CliError, Exit};
use output::Format;
use rustix::process::{Resource, Signal, getrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// The least address space that a command begins in. A job maps 1.2 GiB in this process if it may, most
/// of it never touched; with half of that it still runs, with 0.4 GiB it was aborted.
const MIN_ADDRESS_SPACE_BYTES: u64 = 640 << 20;

/// The least number of open files that a command begins with. A job on two cores has 40 of its own
/// and of its children's.
const MIN_OPEN_FILES: u64 = 64;

/// How long tasks and blocking work get to end when a command is over. Child processes die with
/// their handles, which are dropped at once.
const RUNTIME_SHUTDOWN: Duration = Duration::from_secs(2);

/// Durable media workflows.
#[derive(Debug, Parser)]
#[command(name = "telecine", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How the answer is printed
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    output: Format,
    #[command(flatten)]
    settings: SettingFlags,
}

/// Settings as flags; read as text, because all of them are checked together.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
struct SettingFlags {
    /// Directory of the embedded database [default: ./.telecine]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address of a Postgres database to keep jobs in [default: SQLite in the data directory]
    #[arg(long, global = true, value_name = "URL")]
    database_url: Option<String>,
    /// Address of a server to ask instead of the database: `http://127.0.0.1:3000`
    #[arg(long, global = true, value_name = "URL")]
    server: Option<String>,
    /// Directory for what steps write while they run [default: `scratch` in the data directory]
    #[arg(long, global = true, value_name = "DIR")]
    scratch_dir: Option<String>,
    /// Steps that this process runs at a time [default: number of cores]
    #[arg(long, global = true, value_name = "N")]
    worker_concurrency: Option<String>,
    /// How long running steps get to reach a checkpoint or their end on Ctrl-C or SIGTERM [default: 10m]
    #[arg(long, global = true, value_name = "DURATION")]
    worker_shutdown_timeout: Option<String>,
    /// What is logged to standard error: a level, or levels by module [default: warn]
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// `text` or `json` [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl SettingFlags {
    fn into_pairs(self) -> [(&'static str, Option<String>); 8] {
        [
            ("data_dir", self.data_dir),
            ("database_url", self.database_url),
            ("server", self.server),
            ("scratch_dir", self.scratch_dir),
            ("worker_concurrency", self.worker_concurrency),
            ("worker_shutdown_timeout", self.worker_shutdown_timeout),
            ("log", self.log),
            ("log_format", self.log_format),
        ]
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one job in this process; the same command again resumes it
    Run(run::RunArgs),
    /// Accept jobs over HTTP, run them, or both; stays until it is told to stop
    Serve(serve::ServeArgs),
    /// Everything in one process, for development: no authentication, this machine only
    Dev(serve::DevArgs),
    /// Jobs in the database
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// Retry plans: what retrying a job would do, changed and executed
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Workflow definitions
    #[command(subcommand)]
    Workflow(workflow::WorkflowCommand),
    /// Installed activities
    #[command(subcommand)]
    Activity(activity::ActivityCommand),
    /// Judge a streaming set: playlists, boxes, every frame
    Lint(lint::LintArgs),
    /// Check that this machine has what the media code needs
    Doctor,
    /// Settings
    #[command(subcommand)]
    Config(settings::ConfigCommand),
}

impl Command {
    /// Settings that only this command takes as flags.
    fn take_settings(&mut self) -> Vec<(&'static str, Option<String>)> {
        match self {
            Self::Serve(arguments) => arguments.take_settings(),
            Self::Dev(arguments) => arguments.take_settings(),
            _ => Vec::new(),
        }
    }
}

/// What every command is given.
#[derive(Debug)]
struct Session {
    program: Program,
    config: Config,
    format: Format,
    console: Console,
}

/// Does what the command line says.
pub(crate) fn run(program: Program) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let mut cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output, complaints to standard error; nobody may be reading.
            let _ = error.print();
            let code = u8::try_from(error.exit_code()).unwrap_or(Exit::Usage.code());
            return ExitCode::from(code);
        }
    };
    let mut settings = cli.settings.into_pairs().to_vec();
    settings.extend(cli.command.take_settings());
    let exit = match prepare(program, settings, cli.output) {
        Ok(session) => execute(cli.command, &session),
        Err(error) => error.report(&Console::default()),
    };
    ExitCode::from(exit.code())
}

fn prepare(
    program: Program,
    settings: Vec<(&'static str, Option<String>)>,
    format: Format,
) -> Result<Session, CliError> {
    let config = Config::load(&Sources::gather(settings))
        .map_err(|errors| CliError::usage(errors.join("\nerror: ")))?;
    let console = Console::default();
    logging::start(&config, &console);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    Ok(Session {
        program,
        config,
        format,
        console,
    })
}

fn execute(command: Command, session: &Session) -> Exit {
    if let Err(error) = check_limits() {
        return error.report(&session.console);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let error = CliError::failed(format!("cannot start threads: {error}"));
            return error.report(&session.console);
        }
    };
    let result = runtime.block_on(async {
        // Taken over, a file beyond the limit on files is an error of whoever wrote to it; else it
        // is the end of this process.
        let _too_large = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
        dispatch(command, session).await
    });
    runtime.shutdown_timeout(RUNTIME_SHUTDOWN);
    result.unwrap_or_else(|error| error.report(&session.console))
}

/// Refuses to begin under limits that would end the process in the middle of something, or make it
/// blame files for them.
fn check_limits() -> Result<(), CliError> {
    let least = [
        (
            Resource::As,
            MIN_ADDRESS_SPACE_BYTES,
            1 << 20,
            "MiB of memory (ulimit -v)",
        ),
        (
            Resource::Nofile,
            MIN_OPEN_FILES,
            1,
            "open files (ulimit -n)",
        ),
    ];
    for (resource, needed, unit, what) in least {
        if let Some(limit) = getrlimit(resource).current.filter(|limit| *limit < needed) {
            return Err(CliError::failed(format!(
                "this process may have {} {what}, and needs at least {}: raise the limit",
                limit / unit,
                needed / unit
            )));
        }
    }
    Ok(())
}

async fn dispatch(command: Command, session: &Session) -> Result<Exit, CliError> {
    match command {
        Command::Run(arguments) => run::run(arguments, session).await,
        Command::Serve(_) => serve::serve(session).await,
        Command::Dev(_) => serve::dev(session).await,
        Command::Jobs(command) => jobs::run(command, session).await,
        Command::Plan(command) => plan::run(command, session).await,
        Command::Workflow(command) => workflow::run(command, session).await,
        Command::Activity(command) => activity::run(command, session).await,
        Command::Lint(arguments) => lint::run(arguments, session).await,
        Command::Doctor => doctor::run(session).await,
        Command::Config(command) => settings::run(&command, session),
    }
}
