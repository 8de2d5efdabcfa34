use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::hex;

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
    /// Hash of what makes the value usable: activity, behaviour version, tools and input.
    /// A checkpoint with another hash is not offered to an attempt.
    pub compat: String,
}

/// What makes a checkpoint usable: the same for attempts of the same activity (`name@version`), with the
/// same versions of its tools, on the same input.
#[must_use]
pub fn compat(activity: &str, fingerprint: &str, input: &Value) -> String {
    let parts = json!([activity, fingerprint, input]);
    hex(&Sha256::digest(parts.to_string().as_bytes()))
}
