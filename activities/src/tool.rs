//! Media code that runs in a child process of the same binary.
//!
//! The child is started as `telecine __tool NAME`. It reads its specification as one line of JSON
//! from stdin, writes JSON lines to stdout, and ends when stdin does: when the worker dies, no
//! child survives.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use telecine_engine::activity::{ActivityError, ErrorClass, Progress};

/// Blocking media code with a typed specification, typed events and a typed result.
pub trait Tool: 'static {
    /// Name on the command line of the child.
    const NAME: &'static str;
    /// What it is asked to do. Never holds secrets.
    type Spec: Serialize + DeserializeOwned + Debug + Send;
    /// What it tells while it works, beside progress (a segment is ready, ...).
    type Event: Serialize + DeserializeOwned + Debug + Send;
    /// What it found or made.
    type Output: Serialize + DeserializeOwned + Debug + Send;

    /// Does the work. Runs on the main thread of the child.
    ///
    /// # Errors
    /// [`ToolError`], which becomes the error of the attempt as it is.
    fn run(spec: Self::Spec, emit: &Emitter<Self::Event>) -> Result<Self::Output, ToolError>;
}

/// Sends events and progress from a tool to the worker. Usable from any thread.
pub struct Emitter<E> {
    send: Box<dyn Fn(Message<E>) + Send + Sync>,
}

/// One thing a tool says before it ends.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message<E> {
    /// How far it is.
    Progress(Progress),
    /// Something the user should know.
    Warning(String),
    /// Something the activity waits for.
    Event(E),
}

impl<E> Emitter<E> {
    /// An emitter that hands each message to `send`; tests collect them.
    pub fn new(send: impl Fn(Message<E>) + Send + Sync + 'static) -> Self {
        Self {
            send: Box::new(send),
        }
    }

    /// Reports progress; at most a few times a second.
    pub fn progress(&self, progress: Progress) {
        (self.send)(Message::Progress(progress));
    }

    /// Notes something the user should know.
    pub fn warn(&self, message: impl Into<String>) {
        (self.send)(Message::Warning(message.into()));
    }

    /// Sends an event.
    pub fn event(&self, event: E) {
        (self.send)(Message::Event(event));
    }
}

/// What a tool came to, and what it said on the way.
pub type InProcess<T> = (
    Result<<T as Tool>::Output, ToolError>,
    Vec<Message<<T as Tool>::Event>>,
);

/// Runs a tool in this process and collects what it says. The engine runs tools in child
/// processes; this is for tests of what they do.
pub fn run_in_process<T: Tool>(spec: T::Spec) -> InProcess<T> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let emitter = Emitter::new(move |message| lock(&heard).push(message));
    let result = T::run(spec, &emitter);
    let said = std::mem::take(&mut *lock(&said));
    (result, said)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E> Debug for Emitter<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emitter").finish_non_exhaustive()
    }
}

/// Why a tool failed; the same three parts as an activity's error.
#[derive(Debug, Clone, PartialEq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{message}")]
#[non_exhaustive]
pub struct ToolError {
    /// Whose move it is.
    pub class: ErrorClass,
    /// Stable, `snake_case`.
    pub code: String,
    /// Lowercase, one sentence.
    pub message: String,
}

impl ToolError {
    /// An error of a given class.
    pub fn new(class: ErrorClass, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            class,
            code: code.into(),
            message: message.into(),
        }
    }

    /// The source is bad; never retried.
    pub fn input(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Input, code, message)
    }

    /// Something is set up wrongly; never retried.
    pub fn config(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Config, code, message)
    }

    /// Likely to pass.
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, code, message)
    }

    /// A service that the tool needs is ill; costs the step no attempt.
    pub fn dependency(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Dependency, code, message)
    }

    /// Memory, disk or another resource ran out.
    pub fn resource(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Resource, code, message)
    }

    /// The tool itself is at fault.
    pub fn bug(code: &str, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Bug, code, message)
    }

    /// Sorts an I/O error as [`ActivityError::io`] does. `doing` completes "cannot ...".
    #[must_use]
    pub fn io(doing: &str, error: std::io::Error) -> Self {
        let ActivityError {
            class,
            code,
            message,
            ..
        } = ActivityError::io(doing, error);
        Self::new(class, code, message)
    }
}

impl From<ToolError> for ActivityError {
    fn from(error: ToolError) -> Self {
        Self::new(error.class, error.code, error.message)
    }
}
