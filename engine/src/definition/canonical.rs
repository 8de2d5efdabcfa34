//! The one canonical form of a definition: what is stored, and what its digest is taken of.
//!
//! It is JSON without white space, its keys sorted by their bytes, strings as they are but for
//! the escapes that JSON demands, and numbers in their shortest exact form (`2` and `2.0` differ,
//! because expressions tell them apart). Defaults are written out and implied needs are named,
//! so that a definition keeps its meaning when the defaults of a later release are others; what
//! has no default is left out. Durations and sizes are text as people write them.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::diagnostic::{Diagnostic, Problems};
use super::parse::{self, words};
use super::units::{format_duration, format_size};
use super::yaml::Node;
use super::{Backoff, Cache, Definition, Requires, RetryPolicy, RetryRule, StepDef, Timeouts};
use crate::queue::Queue;

/// A stored definition that this release cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidDefinition(pub Vec<Diagnostic>);

impl fmt::Display for InvalidDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages: Vec<&str> = self.0.iter().map(|found| found.message.as_str()).collect();
        f.write_str(&messages.join("; "))
    }
}

impl std::error::Error for InvalidDefinition {}

impl Definition {
    /// The canonical form, on one line.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut text = String::new();
        write_sorted(&to_json(self), &mut text);
        text
    }

    /// `sha256:` and the SHA-256 of the canonical form in hex: the identity of the definition.
    #[must_use]
    pub fn digest(&self) -> String {
        let hash = Sha256::digest(self.canonical().as_bytes());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    /// The same workflow without any [`Cache`]: a definition of its own, with a digest of its own.
    #[must_use]
    pub fn without_cache(mut self) -> Self {
        for step in self.steps.values_mut() {
            step.cache = Cache::Off;
        }
        self
    }

    /// Reads a canonical form. Activities are not looked up: a definition of which one is no
    /// longer installed can still be shown. A queue that this release does not know is read as
    /// `default`: earlier releases took any name.
    ///
    /// # Errors
    /// If the text was not made by [`Definition::canonical`].
    pub fn from_canonical(text: &str) -> Result<Self, InvalidDefinition> {
        let value = serde_json::from_str(text).map_err(|e| {
            let mut problems = Problems::default();
            problems.add("bad_json", &(0..0), e.to_string());
            InvalidDefinition(problems.into_diagnostics(""))
        })?;
        from_json(value)
    }
}

fn from_json(mut value: Value) -> Result<Definition, InvalidDefinition> {
    replace_unknown_queues(&mut value);
    let mut problems = Problems::default();
    let definition = parse::definition(&Node::from_json(value), "", None, &mut problems);
    if problems.is_empty() {
        Ok(definition)
    } else {
        Err(InvalidDefinition(problems.into_diagnostics("")))
    }
}

fn replace_unknown_queues(definition: &mut Value) {
    let steps = definition.get_mut("steps").and_then(Value::as_object_mut);
    for step in steps.into_iter().flat_map(Map::values_mut) {
        if let Some(Value::String(queue)) = step.get_mut("queue")
            && Queue::parse(queue).is_none()
        {
            *queue = Queue::Default.to_string();
        }
    }
}

impl Serialize for Definition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        to_json(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Definition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_json(Value::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn to_json(definition: &Definition) -> Value {
    let steps = definition.steps.iter();
    let steps: Map<String, Value> = steps
        .map(|(name, step)| (name.clone(), step_to_json(step)))
        .collect();
    with_present(
        json!({
            "workflow": definition.name,
            "version": definition.version,
            "input": definition.input.json(),
            "steps": steps,
            "output": definition.output.to_json(),
        }),
        [(
            "description",
            definition.description.as_ref().map(|text| json!(text)),
        )],
    )
}

fn cache_to_json(cache: Cache) -> Option<Value> {
    (cache != Cache::Off).then(|| json!(words::of(&words::CACHE, &cache)))
}

fn step_to_json(step: &StepDef) -> Value {
    let needs: Map<String, Value> = step
        .needs
        .iter()
        .map(|need| {
            (
                need.step.clone(),
                json!(words::of(&words::NEEDS, &need.any)),
            )
        })
        .collect();
    with_present(
        json!({
            "activity": step.activity.to_string(),
            "with": step.with.to_json(),
            "needs": needs,
            "on_failure": words::of(&words::ON_FAILURE, &step.on_failure),
            "retry": retry_to_json(&step.retry),
            "timeout": timeouts_to_json(&step.timeout),
            "requires": requires_to_json(&step.requires),
        }),
        [
            ("when", step.when.as_ref().map(|expr| json!(expr))),
            ("for_each", step.for_each.as_ref().map(|expr| json!(expr))),
            ("queue", step.queue.map(|queue| json!(queue))),
            ("priority", step.priority.map(|priority| json!(priority))),
            // Left out as long as it says nothing: definitions that are older than this key keep their
            // digest.
            ("cache", cache_to_json(step.cache)),
        ],
    )
}

fn retry_to_json(retry: &RetryPolicy) -> Value {
    let rules: Vec<Value> = retry.rules.iter().map(rule_to_json).collect();
    with_present(
        json!({
            "max_attempts": retry.max_attempts,
            "backoff": backoff_to_json(&retry.backoff),
            "rules": rules,
        }),
        [("when", retry.when.as_ref().map(|expr| json!(expr)))],
    )
}

fn backoff_to_json(backoff: &Backoff) -> Value {
    json!({
        "initial": format_duration(backoff.initial),
        "factor": backoff.factor,
        "max": format_duration(backoff.max),
        "jitter": words::of(&words::JITTER, &backoff.jitter),
    })
}

fn rule_to_json(rule: &RetryRule) -> Value {
    with_present(
        json!({"retry": rule.retry, "set": rule.set}),
        [
            ("class", rule.class.map(|class| json!(class.as_str()))),
            ("code", rule.code.as_ref().map(|code| json!(code))),
            ("when", rule.when.as_ref().map(|expr| json!(expr))),
        ],
    )
}

fn timeouts_to_json(timeouts: &Timeouts) -> Value {
    let text = |duration| json!(format_duration(duration));
    with_present(
        json!({}),
        [
            ("attempt", timeouts.attempt.map(text)),
            ("stall", timeouts.stall.map(text)),
            ("total", timeouts.total.map(text)),
        ],
    )
}

fn requires_to_json(requires: &Requires) -> Value {
    let size = |bytes: Option<u64>| bytes.map(|bytes| json!(format_size(bytes)));
    with_present(
        json!({"cpu": requires.cpu, "gpu": words::of(&words::GPU, &requires.gpu)}),
        [
            ("memory", size(requires.memory_bytes)),
            ("disk", size(requires.disk_bytes)),
        ],
    )
}

/// Adds the members that are there.
fn with_present<const N: usize>(mut map: Value, members: [(&str, Option<Value>); N]) -> Value {
    for (name, value) in members {
        if let Some(value) = value {
            map[name] = value;
        }
    }
    map
}

/// Writes JSON with sorted keys, whatever order the maps of `serde_json` are built to keep.
fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                text.push_str(if n == 0 { "" } else { "," });
                write_sorted(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (n, (name, value)) in members.into_iter().enumerate() {
                text.push_str(if n == 0 { "" } else { "," });
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                write_sorted(value, text);
            }
            text.push('}');
        }
        scalar => text.push_str(&scalar.to_string()),
    }
}
