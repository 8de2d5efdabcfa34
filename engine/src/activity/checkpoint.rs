use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::hex;
#[cfg(doc)]
use crate::retry::reuse;
use crate::retry::reuse::Beside;

/// A span of media time, in seconds, `[from, to]` in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct MediaSpan {
    /// First second covered.
    pub from_s: f64,
    /// First second no longer covered.
    pub to_s: f64,
}

impl From<[f64; 2]> for MediaSpan {
    fn from([from_s, to_s]: [f64; 2]) -> Self {
        Self { from_s, to_s }
    }
}

impl From<MediaSpan> for [f64; 2] {
    fn from(span: MediaSpan) -> Self {
        [span.from_s, span.to_s]
    }
}

/// A durable value inside a step, handed to the attempt that continues it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Grows by one with each checkpoint of the step, over all attempts.
    pub seq: u64,
    /// What the activity stored.
    pub value: Value,
    /// What it covers in media time, if it can be told.
    pub covers: Option<MediaSpan>,
    /// What makes the value usable: see [`compat`]. A checkpoint with another one is not offered to an
    /// attempt.
    pub compat: String,
}

/// What stands between the two hashes of a [`compat`].
const AND: char = '+';

/// What makes a checkpoint usable: the same for attempts of the same activity (`name@version`), with the
/// same versions of its tools, on the same input, while the objects that the input names [beside the
/// job's own source](reuse::beside) are the same.
///
/// Two hashes, so that it can be told which of them differs: the second one is of those objects, and left
/// out where there are none.
#[must_use]
pub fn compat(activity: &str, fingerprint: &str, input: &Value, beside: &Beside) -> String {
    let own = digest(&json!([activity, fingerprint, input]));
    match beside.is_empty() {
        true => own,
        false => format!("{own}{AND}{}", digest(&json!(beside))),
    }
}

/// Whether two [`compat`] differ in nothing but the objects.
pub(crate) fn differs_in_objects(one: &str, other: &str) -> bool {
    let own = |it: &str| it.split(AND).next().map(str::to_owned);
    one != other && own(one) == own(other)
}

fn digest(value: &Value) -> String {
    hex(&Sha256::digest(value.to_string().as_bytes()))
}
