use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::{Map, Value};
use telecine_engine::objects::Artifact;
use telecine_engine::run::{RunStatus, Snapshot};

use super::super::site::Performance;
use crate::testing::rehearsal::Seen;

/// What stands for the tag of an attempt, and for the id of a run, where outcomes are compared.
const TAG: &str = "{attempt}";
const RUN: &str = "{run}";

/// What a run came to, without what is another in each run: tags of attempts and the run's id.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    output: Value,
    /// Keys of the objects that the step listed.
    listed: BTreeSet<String>,
}

/// Where an output is another than expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Difference {
    /// JSON pointer into the output.
    pub(super) at: String,
    /// Completes "in its output, ...".
    what: String,
}

impl Outcome {
    /// What a run came to that these processes worked on; `None` unless it succeeded.
    pub(super) fn of(snapshot: &Snapshot, processes: &[&Performance]) -> Option<Self> {
        if snapshot.run.status != RunStatus::Succeeded {
            return None;
        }
        let record = snapshot.steps.first()?;
        let seen = processes.iter().flat_map(|process| &process.seen);
        let mut names: Vec<_> = seen
            .filter_map(|(_, seen)| match seen {
                Seen::Began(tag) => Some((tag.clone(), TAG)),
                _ => None,
            })
            .collect();
        names.push((snapshot.run.id.to_string(), RUN));
        let output = record.step.output.clone().unwrap_or(Value::Null);
        let listed = record.artifacts.iter();
        Some(Self {
            output: plain(output, &names),
            listed: listed
                .map(|object| plain_text(&object.key, &names))
                .collect(),
        })
    }

    /// The same, whatever bytes its objects have.
    pub(super) fn without_bytes(mut self) -> Self {
        forget_bytes(&mut self.output);
        self
    }

    /// Where the output is another than that of `usual`.
    pub(super) fn differences(&self, usual: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        differences(&usual.output, &self.output, String::new(), &mut found);
        found
    }

    /// The first object that `usual` and `again` list, and this does not.
    pub(super) fn unlisted<'a>(&self, usual: &'a Self, again: &Self) -> Option<&'a str> {
        let steady = usual
            .listed
            .iter()
            .filter(|key| again.listed.contains(*key));
        let mut lost = steady.filter(|key| !self.listed.contains(*key));
        lost.next().map(String::as_str)
    }
}

impl Difference {
    /// Whether it lies at that place, or in what is there.
    pub(super) fn is_within(&self, place: &Self) -> bool {
        let rest = self.at.strip_prefix(&place.at);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Completes "it succeeded, but".
    pub(super) fn told(&self) -> String {
        match self.at.as_str() {
            "" => format!("its output {}", self.what),
            at => format!("{at} of its output {}", self.what),
        }
    }
}

fn differences(usual: &Value, found: &Value, at: String, into: &mut Vec<Difference>) {
    match (usual, found) {
        (Value::Object(usual), Value::Object(found)) => {
            for (name, value) in usual {
                let other = found.get(name).unwrap_or(&Value::Null);
                differences(value, other, format!("{at}/{name}"), into);
            }
            for (name, value) in found.iter().filter(|(name, _)| !usual.contains_key(*name)) {
                differences(&Value::Null, value, format!("{at}/{name}"), into);
            }
        }
        (Value::Array(usual), Value::Array(found)) if usual.len() == found.len() => {
            for (n, (value, other)) in usual.iter().zip(found).enumerate() {
                differences(value, other, format!("{at}/{n}"), into);
            }
        }
        (Value::Array(usual), Value::Array(found)) => {
            let what = format!("has {} parts instead of {}", found.len(), usual.len());
            into.push(Difference { at, what });
        }
        _ if usual == found => {}
        _ => {
            let what = format!("is {} instead of {}", short(found), short(usual));
            into.push(Difference { at, what });
        }
    }
}

/// How much of a value is shown, in characters.
const SHOWN_CHARS: usize = 80;

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN_CHARS {
        return text;
    }
    let shown: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{shown}...")
}

fn plain(value: Value, names: &[(String, &str)]) -> Value {
    match value {
        Value::String(text) => plain_text(&text, names).into(),
        Value::Array(items) => {
            let items = items.into_iter();
            items.map(|item| plain(item, names)).collect()
        }
        Value::Object(members) => {
            let members = members.into_iter();
            let members =
                members.map(|(name, value)| (plain_text(&name, names), plain(value, names)));
            Value::Object(members.collect::<Map<_, _>>())
        }
        other => other,
    }
}

fn plain_text(text: &str, names: &[(String, &str)]) -> String {
    let replace = |text: String, (name, stand_in): &(String, &str)| text.replace(name, stand_in);
    names.iter().fold(text.to_owned(), replace)
}

fn forget_bytes(value: &mut Value) {
    if as_object(value).is_some()
        && let Some(members) = value.as_object_mut()
    {
        members.retain(|name, _| name != "size" && name != "sha256");
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(forget_bytes),
        Value::Object(members) => members.values_mut().for_each(forget_bytes),
        _ => {}
    }
}

fn as_object(value: &Value) -> Option<Artifact> {
    let is_like_one = value.as_object().is_some_and(|members| members.len() == 4);
    is_like_one.then(|| Artifact::deserialize(value).ok())?
}

/// The objects that a value names, wherever in it they are.
pub(super) fn objects_in(value: &Value) -> Vec<Artifact> {
    if let Some(own) = as_object(value) {
        return vec![own];
    }
    match value {
        Value::Array(items) => items.iter().flat_map(objects_in).collect(),
        Value::Object(members) => members.values().flat_map(objects_in).collect(),
        _ => Vec::new(),
    }
}
