//! What an operator wants a retry plan to do otherwise: checked all at once, before a plan is made
//! with it, and recorded with who wanted it and when.

mod check;
mod schema;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::definition::escape_pointer;
use crate::id::StepId;
use crate::queue::Queue;

pub use check::EditError;
pub(crate) use check::{Checked, check, put};

/// Changes to a retry plan, as they are asked for. Steps are written `package`, `encode` (all items of a
/// fan-out) or `encode[3]`. They are all that a plan differs by: the edits of an earlier plan are gone
/// unless they are given again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edits {
    /// Steps that run from the start, whatever they came to before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub force: Vec<String>,
    /// Steps that stay out; those that need them follow the rules of skipped steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<Skip>,
    /// Outputs of steps that need not run for them; a list for all of a fan-out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub supply: BTreeMap<String, Value>,
    /// Values in the input of steps, by JSON pointer. They hold in every later round as well.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, BTreeMap<String, Value>>,
    /// Values that plans executed earlier set in the input of steps, and that hold no more: JSON pointers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unset: BTreeMap<String, Vec<String>>,
    /// How many attempts steps get in the next round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Where the steps wait from now on that their definition gives no queue: `critical`, `default` or
    /// `video:large`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Their priority from now on; higher goes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Another definition of its workflow for the run to go on with: `video:full@4`, or a digest. Steps in
    /// the other edits are those of this one then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
}

/// A step that is to stay out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// Which one.
    pub step: String,
    /// Why; for people.
    pub why: String,
}

/// Attempts that executing a plan grants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How many.
    pub attempts: u32,
    /// To which step; to all that run, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

impl Edits {
    /// Whether nothing is to be otherwise.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One change to a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Edit {
    /// A step runs from the start.
    Force {
        /// The step, or all items of it.
        step: StepId,
    },
    /// A step stays out.
    Skip {
        /// The step, or all items of it.
        step: StepId,
        /// Why.
        why: String,
    },
    /// A step has an output without running.
    Supply {
        /// The step, or all items of it.
        step: StepId,
        /// Its output; a list of outputs for all items.
        output: Value,
    },
    /// A value in the input of a step.
    Set {
        /// The step, or all items of it.
        step: StepId,
        /// JSON pointer of the value.
        path: String,
        /// The value.
        value: Value,
    },
    /// A value in the input of a step that was set, and is what the definition says again.
    Unset {
        /// The step, or all items of it, as it was named when the value was set.
        step: StepId,
        /// JSON pointer of the value.
        path: String,
    },
    /// Attempts of the next round.
    Budget {
        /// How many.
        attempts: u32,
        /// Of which step; of all that run, if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
    },
    /// Where steps wait.
    Queue {
        /// The queue.
        queue: Queue,
    },
    /// When it is their turn.
    Priority {
        /// Higher goes first.
        priority: i32,
    },
    /// Another definition.
    Definition {
        /// `video:full@4`
        definition: String,
        /// `sha256:...` of it.
        digest: String,
    },
}

impl Edit {
    /// The step that it is about, if it is about one.
    #[must_use]
    pub fn step(&self) -> Option<&StepId> {
        match self {
            Self::Force { step }
            | Self::Skip { step, .. }
            | Self::Supply { step, .. }
            | Self::Set { step, .. }
            | Self::Unset { step, .. } => Some(step),
            Self::Budget { step, .. } => step.as_ref(),
            Self::Queue { .. } | Self::Priority { .. } | Self::Definition { .. } => None,
        }
    }

    /// Its place in the [`Edits`] that it was asked for with, as a JSON pointer without the number of a
    /// list's item.
    #[must_use]
    pub fn pointer(&self) -> String {
        let of = |member: &str, step: &StepId| {
            format!("/{member}/{}", escape_pointer(&step.to_string()))
        };
        match self {
            Self::Force { .. } => "/force".to_owned(),
            Self::Skip { .. } => "/skip".to_owned(),
            Self::Supply { step, .. } => of("supply", step),
            Self::Set { step, path, .. } => {
                format!("{}/{}", of("set", step), escape_pointer(path))
            }
            Self::Unset { step, .. } => of("unset", step),
            Self::Budget { .. } => "/budget".to_owned(),
            Self::Queue { .. } => "/queue".to_owned(),
            Self::Priority { .. } => "/priority".to_owned(),
            Self::Definition { .. } => "/definition".to_owned(),
        }
    }

    /// The same with the number of the list's item.
    pub(crate) fn place_in(&self, edits: &Edits) -> String {
        let is_meant = |text: &str| text.parse::<StepId>().ok().as_ref() == self.step();
        let place = match self {
            Self::Force { .. } => edits.force.iter().position(|step| is_meant(step)),
            Self::Skip { .. } => edits.skip.iter().position(|skip| is_meant(&skip.step)),
            Self::Unset { path, .. } => {
                let mut steps = edits.unset.iter();
                let paths = steps
                    .find(|(step, _)| is_meant(step))
                    .map(|(_, paths)| paths);
                paths.and_then(|paths| paths.iter().position(|it| it == path))
            }
            _ => None,
        };
        match place {
            Some(place) => format!("{}/{place}", self.pointer()),
            None => self.pointer(),
        }
    }
}

impl RecordedEdit {
    /// Who leaves a step out, and why; `None` of other edits.
    pub(crate) fn left_out(&self) -> Option<String> {
        match &self.edit {
            Edit::Skip { why, .. } => Some(format!("left out by {}: {why}", self.by)),
            _ => None,
        }
    }
}

/// The digest of the definition that edits give a run.
#[must_use]
pub(crate) fn definition_of(edits: &[RecordedEdit]) -> Option<&str> {
    edits.iter().find_map(|recorded| match &recorded.edit {
        Edit::Definition { digest, .. } => Some(digest.as_str()),
        _ => None,
    })
}

/// A change to a plan, and whose it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedEdit {
    /// The change.
    #[serde(flatten)]
    pub edit: Edit,
    /// Who made it, for people: `anna@studio cli`.
    pub by: String,
    /// When.
    pub at: DateTime<Utc>,
}
