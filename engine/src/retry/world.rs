//! What a plan is computed from beside the run and its definition: what has become of the objects that
//! the run stands on, of its source and of the activities that made them, and how long such steps took
//! [before](crate::retry::history).

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::activity::hex;
use crate::id::StepId;
use crate::retry::history::History;
use crate::retry::reuse::{Beside, SourceIdentity};
use crate::run::StoreUrls;

/// What a check of an object found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There, with the recorded size.
    Present,
    /// Not there.
    Missing,
    /// There, with another size or other bytes.
    Corrupt,
}

/// Checks of objects, by key. An object without an entry has not been checked.
pub type Verdicts = BTreeMap<String, Verdict>;

/// How closely objects are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Whether each is there, with its size and the etag that it was put with. What has another etag is read.
    #[default]
    Heads,
    /// Every byte of each, by its SHA-256.
    Full,
}

/// When and how the objects of a plan were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// How closely.
    pub how: Verification,
    /// When.
    pub at: DateTime<Utc>,
    /// How many there are.
    pub objects: u32,
}

/// What has become of the source of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Source {
    /// Nobody has looked, or the run has none.
    #[default]
    Unknown,
    /// It is the one that the run was submitted with.
    Same,
    /// Another object has its name.
    Replaced(Identity),
    /// It is not there.
    Gone,
}

/// What makes a run the one that it is, when that moves: another source under the same name, or another
/// definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Hash over definition, input, stores, and size and etag of the source.
    pub fingerprint: String,
    /// Key of the source, if the run has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Size of the source, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What its store says it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// What tells requests apart: a hash over definition, input, stores, and size and etag of the source, if the
/// input names one.
pub(crate) fn fingerprint(
    (definition, input): (&str, &Value),
    stores: &StoreUrls,
    source: Option<&SourceIdentity>,
) -> String {
    let identity = json!({
        "definition": definition, "input": input, "source": source, "stores": stores,
    });
    hex(&Sha256::digest(identity.to_string().as_bytes()))
}

/// An activity as it is installed where a plan is computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Versions of the tools that it uses.
    pub fingerprint: String,
    /// Whether it can make damaged objects again by themselves.
    pub mends: bool,
    /// JSON Schema of its input, if it [marks](crate::retry::reuse::SOURCE) what names objects.
    pub names_sources: Option<Value>,
}

/// What is known of the world when a plan is computed.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// What has become of objects.
    pub verdicts: Verdicts,
    /// When and how that was looked at.
    pub verified: Option<Verified>,
    /// Objects that were read however closely the others were looked at: their bytes were found to be wrong before.
    pub suspects: BTreeSet<String>,
    /// What has become of the source.
    pub source: Source,
    /// The source as it was found.
    pub found: Option<SourceIdentity>,
    /// The other objects that steps name as sources, as they were found; one that is not here has not been
    /// looked at.
    pub beside: Beside,
    /// By `name@version`; what is not here may be installed elsewhere.
    pub activities: BTreeMap<String, Installed>,
    /// Steps of the run that have published what earlier ones made.
    pub published: BTreeSet<StepId>,
    /// How long steps took before.
    pub history: History,
}

impl World {
    /// Nothing is known: what a plan is computed from in the transaction that stops a run.
    pub const UNKNOWN: &'static Self = &Self {
        verdicts: BTreeMap::new(),
        verified: None,
        suspects: BTreeSet::new(),
        source: Source::Unknown,
        found: None,
        beside: Beside::new(),
        activities: BTreeMap::new(),
        published: BTreeSet::new(),
        history: History::NONE,
    };

    /// Whether an object was read, or found not to be there.
    #[must_use]
    pub fn has_read(&self, key: &str) -> bool {
        let all = self.verified.map(|it| it.how) == Some(Verification::Full);
        all || self.suspects.contains(key)
    }

    /// Keys of objects whose bytes are known to be wrong.
    #[must_use]
    pub fn corrupt(&self) -> Vec<String> {
        let corrupt = self
            .verdicts
            .iter()
            .filter(|(_, it)| **it == Verdict::Corrupt);
        corrupt.map(|(key, _)| key.clone()).collect()
    }

    /// Objects are like this, and nothing else is known.
    #[must_use]
    pub fn of_objects(verdicts: Verdicts) -> Self {
        Self {
            verdicts,
            ..Self::default()
        }
    }
}
