use telecine_engine::activity::ErrorClass;
use telecine_engine::committer::CommitError;
use telecine_engine::coordinator::{PlanError, SubmitError};
use telecine_engine::objects::ObjectError;
use telecine_engine::run::RunStatus;
use telecine_engine::store::StoreError;

use super::console::Console;

/// How the process ends, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The job succeeded; the command did what was asked.
    Success,
    /// The job failed or is held; the command could not do what was asked.
    Failed,
    /// The command line, the input, a definition or the configuration is wrong. Nothing was done.
    Usage,
    /// What was named is not there.
    NotFound,
    /// The job was cancelled.
    Cancelled,
    /// What was asked about could not be told: it cannot be read, or not to its end, or the server cannot
    /// be reached.
    Unjudged,
    /// The job was not done when `--timeout` was over.
    TimedOut,
    /// A signal of that number stopped the process; the job can be resumed.
    Interrupted(u8),
}

impl Exit {
    /// The exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Cancelled => 4,
            Self::Unjudged => 5,
            Self::TimedOut => 124,
            Self::Interrupted(signal) => 128 + signal,
        }
    }

    /// How a command ends that waited for a job.
    pub(crate) fn of_job(status: RunStatus) -> Self {
        match status {
            RunStatus::Queued | RunStatus::Running | RunStatus::Succeeded => Self::Success,
            RunStatus::Failed | RunStatus::Held => Self::Failed,
            RunStatus::Cancelled => Self::Cancelled,
        }
    }
}

/// Why a command could not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CliError {
    exit: Exit,
    message: String,
}

impl CliError {
    /// Something is set up or written wrongly; nothing was done.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.into(),
        }
    }

    /// What was named is not there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::NotFound,
            message: message.into(),
        }
    }

    /// It went wrong while it was being done.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Failed,
            message: message.into(),
        }
    }

    /// What was asked about cannot be told.
    pub(crate) fn unjudged(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Unjudged,
            message: message.into(),
        }
    }

    /// The data directory cannot be used: found before anything was done, so that only a full disk
    /// and a damaged database are no mistakes of the set-up.
    pub(crate) fn set_up(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) | StoreError::Corrupt(_) => Self::failed(error.to_string()),
            _ => Self::usage(error.to_string()),
        }
    }

    /// Whether what was named is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.exit == Exit::NotFound
    }

    /// Says it on standard error and answers the exit code.
    pub(crate) fn report(&self, console: &Console) -> Exit {
        console.note(&format!("error: {}", self.message));
        self.exit
    }

    /// The same error; with a sentence about what to do if something went wrong on the way.
    pub(crate) fn or_advise(self, advice: &str) -> Self {
        match self.exit {
            Exit::Failed => Self {
                message: format!("{}; {advice}", self.message),
                ..self
            },
            _ => self,
        }
    }
}

impl From<StoreError> for CliError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Incompatible(_) => Self::usage(error.to_string()),
            StoreError::NoRun(_) => Self::not_found(error.to_string()),
            _ => Self::failed(error.to_string()),
        }
    }
}

impl From<CommitError> for CliError {
    fn from(error: CommitError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<PlanError> for CliError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::NoRun(_) | PlanError::NoPlan { .. } => Self::not_found(error.to_string()),
            PlanError::Edits(errors) => {
                let wrong = errors
                    .iter()
                    .map(|it| format!("\n  {}: {} ({})", it.pointer, it.message, it.code));
                let wrong: String = wrong.collect();
                Self::usage(format!("an edit cannot work{wrong}"))
            }
            PlanError::Objects(error) => SubmitError::Objects(error).into(),
            error => Self::failed(error.to_string()),
        }
    }
}

impl From<SubmitError> for CliError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::BadInput(_) | SubmitError::KeyReused => Self::usage(error.to_string()),
            SubmitError::SourceMissing { .. } => Self::not_found(error.to_string()),
            SubmitError::Objects(
                ObjectError::Unsupported { .. }
                | ObjectError::BadKey { .. }
                | ObjectError::Service {
                    class: ErrorClass::Config,
                    ..
                },
            ) => Self::usage(error.to_string()),
            SubmitError::Objects(_) | SubmitError::Commit(_) => Self::failed(error.to_string()),
        }
    }
}
