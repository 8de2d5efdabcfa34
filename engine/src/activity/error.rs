use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::retry::policy::{DISK_FULL, PERMISSION_DENIED};

/// Whose move it is when an attempt fails. Decides whether and how it is tried again.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorClass {
    /// Nobody's fault and likely to pass: try again after a pause.
    Transient,
    /// A service that the activity needs is ill: try again later, at no cost to the step.
    Dependency,
    /// Memory, disk or another resource of the machine ran out.
    Resource,
    /// The media or the request itself is bad. Never retried: the caller has to change it.
    Input,
    /// Something is set up wrongly (an unknown activity, a bad expression). Never retried.
    Config,
    /// The activity broke its own rules: it panicked or crashed.
    Bug,
    /// The worker went away. Has a budget of its own.
    Lost,
    /// No progress for longer than the step's `stall` time.
    Stalled,
    /// The attempt or the step took longer than allowed.
    Timeout,
    /// Somebody cancelled the run.
    Cancelled,
}

impl ErrorClass {
    /// Whether a retry with nothing changed can help at all.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        !matches!(self, Self::Input | Self::Config | Self::Cancelled)
    }

    /// The name used in JSON, in definitions and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Dependency => "dependency",
            Self::Resource => "resource",
            Self::Input => "input",
            Self::Config => "config",
            Self::Bug => "bug",
            Self::Lost => "lost",
            Self::Stalled => "stalled",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt failed: a class, a stable code, and a sentence for the person who has to act.
///
/// ```
/// use telecine_engine::activity::ActivityError;
///
/// let error = ActivityError::input("no_faces", "there is no face in the picture; try another");
/// assert_eq!(error.to_string(), "there is no face in the picture; try another");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ActivityError {
    /// Whose move it is.
    pub class: ErrorClass,
    /// Stable and `snake_case`: what programs and retry rules tell errors apart by.
    pub code: Cow<'static, str>,
    /// Lowercase, one sentence: what happened and, where it helps, what to do.
    pub message: String,
    /// What it was caused by.
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl ActivityError {
    /// An error of a given class.
    pub fn new(
        class: ErrorClass,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            class,
            code: code.into(),
            message: message.into(),
            source: None,
        }
    }

    /// The media or the request is bad; never retried.
    pub fn input(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Input, code, message)
    }

    /// Something is set up wrongly; never retried.
    pub fn config(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Config, code, message)
    }

    /// Likely to pass.
    pub fn transient(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, code, message)
    }

    /// A service that the activity needs is ill; costs the step no attempt.
    pub fn dependency(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Dependency, code, message)
    }

    /// Memory, disk or another resource ran out.
    pub fn resource(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Resource, code, message)
    }

    /// The activity itself is at fault.
    pub fn bug(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Bug, code, message)
    }

    /// The run was cancelled, or the attempt lost its lease: the activity stops.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(
            ErrorClass::Cancelled,
            "cancelled",
            "the attempt was asked to stop",
        )
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sorts an I/O error: a full disk and too many open files are `resource`, a missing
    /// permission is `config`, the rest `transient`. `doing` completes "cannot ...".
    #[must_use]
    pub fn io(doing: &str, error: std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let (class, code) = match error.kind() {
            Kind::StorageFull | Kind::QuotaExceeded => (ErrorClass::Resource, DISK_FULL),
            Kind::FileTooLarge => (ErrorClass::Resource, "file_too_large"),
            Kind::OutOfMemory => (ErrorClass::Resource, "out_of_memory"),
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
                (ErrorClass::Config, PERMISSION_DENIED)
            }
            Kind::NotFound => (ErrorClass::Transient, "file_missing"),
            _ if is_out_of_files(&error) => (ErrorClass::Resource, "too_many_open_files"),
            _ => (ErrorClass::Transient, "io_error"),
        };
        Self::new(class, code, format!("cannot {doing}: {error}")).with_source(error)
    }
}

/// The standard library has no kind for it.
fn is_out_of_files(error: &std::io::Error) -> bool {
    // Of the system, of the process: the same numbers on Linux and the BSDs.
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

impl fmt::Display for ActivityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for ActivityError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}
