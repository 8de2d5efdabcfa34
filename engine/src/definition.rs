//! Workflow definitions: from a file to a checked graph with a canonical form and a digest.
//!
//! A definition is immutable and known by its digest. [`Expr`] and [`Template`] are the parts of
//! it that are evaluated during a run.

mod canonical;
mod diagnostic;
mod expr;
mod graph;
mod input;
mod json_schema;
mod parse;
mod preview;
mod schema;
mod template;
pub mod units;
mod validate;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::Value;

pub use canonical::InvalidDefinition;
pub use diagnostic::{Diagnostic, nearest};
pub use expr::{Expr, ExprError, Reference, Scope};
pub(crate) use input::Checker;
pub use input::{InputError, InputSchema, misfits};
pub use preview::{Foreseen, StepPreview};
pub use schema::schema;
pub use template::Template;
pub(crate) use template::escape_pointer;
pub use validate::{ActivityCatalog, validate};

use crate::activity::ErrorClass;
use crate::queue::Queue;

/// A checked workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// `area:name`.
    pub name: String,
    /// Grows with each change; name and version together are immutable.
    pub version: u32,
    /// One or more sentences for people.
    pub description: Option<String>,
    /// JSON Schema of the input. Members that an object schema with `properties` does not name
    /// are refused unless it says otherwise.
    pub input: InputSchema,
    /// The steps in an order that respects every need, equal ones by name: the same for every
    /// way to write the same definition.
    pub steps: IndexMap<String, StepDef>,
    /// What the run yields: `input` and `steps` are in scope.
    pub output: Template,
}

/// One step as written.
#[derive(Debug, Clone, PartialEq)]
pub struct StepDef {
    /// The code that runs.
    pub activity: ActivityRef,
    /// Its input: `input`, `steps` and, under `for_each`, `each` are in scope.
    pub with: Template,
    /// The steps that come first, explicit and implied by references, by name.
    pub needs: Vec<Need>,
    /// The step is skipped if this is false: `input` and `steps` are in scope.
    pub when: Option<Expr>,
    /// The list to run the step over: `input` and `steps` are in scope.
    pub for_each: Option<Expr>,
    /// What a failure for good means for the run.
    pub on_failure: OnFailure,
    /// How the step is tried again.
    pub retry: RetryPolicy,
    /// How long it may take.
    pub timeout: Timeouts,
    /// What one attempt takes of a worker.
    pub requires: Requires,
    /// The queue it waits in; that of the run when absent.
    pub queue: Option<Queue>,
    /// Higher goes first; that of the run when absent.
    pub priority: Option<i32>,
    /// Whether outputs are shared with other runs.
    pub cache: Cache,
}

/// `name@version` of an activity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActivityRef {
    /// `area.verb`.
    pub name: String,
    /// Behaviour version.
    pub version: u32,
}

impl ActivityRef {
    /// Reads `area.verb@1`; `None` if it is not written like that.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse::parse_activity(text)
    }
}

impl fmt::Display for ActivityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// One step needs another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The step that comes first.
    pub step: String,
    /// Whether the dependent runs even if that step was skipped: written as `needs: {step: any}`,
    /// or implied by references that are all null-safe. Otherwise it is skipped too.
    pub any: bool,
}

/// What the failure of a step means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// The run fails; steps that do not depend on the step still end what they began.
    #[default]
    Fail,
    /// The run goes on; the output of the step is `null`.
    Continue,
    /// The run is held for a person.
    Hold,
}

/// Whether a step takes its output from an equal step of another run instead of running its activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cache {
    /// It does not.
    #[default]
    Off,
    /// It does if there is one, and leaves none itself.
    Read,
    /// It does if there is one, and leaves its own for others.
    ReadWrite,
}

/// How a failed attempt is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, the first included; those that ended `lost` do not count, nor do the first that met a service that
    /// was away.
    pub max_attempts: u32,
    /// The pause before each.
    pub backoff: Backoff,
    /// Exceptions; the first that matches wins.
    pub rules: Vec<RetryRule>,
    /// Retries only if this is true: `error` and `attempt` are in scope.
    pub when: Option<Expr>,
}

/// Pauses that grow: `initial`, then `factor` times the one before, up to `max`.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// The pause before the second attempt.
    pub initial: Duration,
    /// At least 1.
    pub factor: f64,
    /// No pause is longer.
    pub max: Duration,
    /// How much of a pause is left to chance.
    pub jitter: Jitter,
}

/// How much of a pause is left to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Jitter {
    /// Between nothing and the whole pause, so that steps that failed together do not come back
    /// together.
    #[default]
    Full,
    /// None.
    None,
}

/// An exception of a retry policy. It matches if everything that is set matches.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryRule {
    /// The class of the error.
    pub class: Option<ErrorClass>,
    /// The code of the error.
    pub code: Option<String>,
    /// Any other condition: `error` and `attempt` are in scope.
    pub when: Option<Expr>,
    /// Whether the attempt is repeated.
    pub retry: bool,
    /// Members of `with` that the following attempts get instead.
    pub set: BTreeMap<String, Value>,
}

/// Limits on time; what is absent is not limited.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// Of one attempt.
    pub attempt: Option<Duration>,
    /// Without progress of the media.
    pub stall: Option<Duration>,
    /// Of the step, pauses and all attempts included.
    pub total: Option<Duration>,
}

/// What one attempt takes of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requires {
    /// Logical processors that it keeps busy.
    pub cpu: u32,
    /// Memory, if known.
    pub memory_bytes: Option<u64>,
    /// Disk for scratch, if known.
    pub disk_bytes: Option<u64>,
    /// Whether it uses a graphics processor.
    pub gpu: Gpu,
}

/// Whether a step uses a graphics processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Gpu {
    /// It does not.
    #[default]
    None,
    /// It does where there is one.
    Optional,
    /// It runs only where there is one.
    Required,
}

impl Gpu {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        parse::words::of(&parse::words::GPU, &self)
    }

    /// What a word stands for.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let mut known = parse::words::GPU.iter();
        known.find(|(name, _)| *name == word).map(|(_, gpu)| *gpu)
    }
}

impl Default for RetryPolicy {
    /// Three attempts: the second helps after most accidents, the third after an unlucky second;
    /// what fails three times fails again, and on media every try is expensive.
    fn default() -> Self {
        Self {
            max_attempts: 3,
            backoff: Backoff::default(),
            rules: Vec::new(),
            when: None,
        }
    }
}

impl Default for Backoff {
    /// Two seconds outlast a dropped connection, doubling up to two minutes a restarted service;
    /// a longer pause would only delay the answer.
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(2),
            factor: 2.0,
            max: Duration::from_secs(120),
            jitter: Jitter::Full,
        }
    }
}

impl Default for Requires {
    fn default() -> Self {
        Self {
            cpu: 1,
            memory_bytes: None,
            disk_bytes: None,
            gpu: Gpu::None,
        }
    }
}

#[cfg(test)]
mod tests;
