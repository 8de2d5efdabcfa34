//! From the tree of a file to a definition. Every mistake is collected; what cannot be read is
//! replaced by something harmless, and the definition is thrown away in the end.

mod places;
mod retry;
mod step;
pub(super) mod words;

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::diagnostic::{Problems, nearest, nearest_help};
use super::units::{parse_duration, parse_size};
use super::yaml::{Member, Node, NodeValue};
use super::{ActivityCatalog, Definition, Template, graph, input};
use crate::limits;

pub(super) use places::Place;
pub(super) use step::parse_activity;

const DEFINITION_KEYS: [&str; 6] = [
    "workflow",
    "version",
    "description",
    "input",
    "steps",
    "output",
];

/// Reads a definition. It is complete and sound if no problem was added.
pub(super) fn definition(
    root: &Node,
    text: &str,
    catalog: Option<&dyn ActivityCatalog>,
    problems: &mut Problems,
) -> Definition {
    let mut cx = Cx {
        text,
        problems,
        steps: known_steps(root, catalog),
        input: Value::Null,
    };
    let nothing = Node {
        value: NodeValue::Null,
        span: root.span.clone(),
    };
    let fields = cx.fields(root, "a definition", &DEFINITION_KEYS);
    let required = ["workflow", "version", "steps"];
    cx.require(&fields, "a definition", &required);
    cx.input = fields.get("input").map_or_else(default_input, |node| {
        cx.json(node);
        node.to_json()
    });
    let mut definition = Definition {
        name: fields
            .get("workflow")
            .and_then(|node| cx.name(node, &WORKFLOW_NAME))
            .unwrap_or_default(),
        version: fields
            .get("version")
            .and_then(|node| cx.integer(node, "`version`", 1..=u32::MAX))
            .unwrap_or_default(),
        description: fields
            .get("description")
            .and_then(|node| cx.description(node)),
        input: cx.input.clone().into(),
        steps: cx.steps(fields.get("steps").unwrap_or(&nothing)),
        output: fields
            .get("output")
            .map_or_else(Template::default, |node| cx.template(node, Place::Output)),
    };
    if let Some(node) = fields.get("input") {
        cx.check_input_schema(node);
    }
    graph::check_cycles(&definition.steps, root, cx.problems);
    graph::order(&mut definition.steps);
    definition
}

fn default_input() -> Value {
    json!({"type": "object"})
}

/// The steps by name, known before any of them is read, so that each can be referred to.
fn known_steps(root: &Node, catalog: Option<&dyn ActivityCatalog>) -> BTreeMap<String, KnownStep> {
    let steps = root.get("steps").and_then(Node::members);
    let steps = steps.unwrap_or_default().iter();
    steps
        .map(|member| {
            let activity = member.node.get("activity").and_then(Node::as_text);
            let activity = activity.and_then(step::parse_activity);
            let known = KnownStep {
                output: catalog
                    .zip(activity)
                    .and_then(|(catalog, a)| catalog.output_schema(&a.name, a.version)),
                is_list: member.node.get("for_each").is_some(),
            };
            (member.name.clone(), known)
        })
        .collect()
}

/// What references to a step are checked against.
struct KnownStep {
    /// The schema of one output, if it is known.
    output: Option<Value>,
    /// Whether the step has `for_each`, so that its output is a list.
    is_list: bool,
}

/// What is known while a definition is read.
struct Cx<'a> {
    text: &'a str,
    problems: &'a mut Problems,
    /// Every step of the file.
    steps: BTreeMap<String, KnownStep>,
    /// The schema of the input.
    input: Value,
}

/// The members of a map whose keys have been checked.
struct Fields<'n> {
    members: &'n [Member],
    span: Range<usize>,
}

impl<'n> Fields<'n> {
    fn get(&self, name: &str) -> Option<&'n Node> {
        let member = self.members.iter().find(|member| member.name == name)?;
        Some(&member.node)
    }
}

/// How a kind of name is written.
struct NameRule {
    what: &'static str,
    example: &'static str,
    fits: fn(&str) -> bool,
}

const WORKFLOW_NAME: NameRule = NameRule {
    what: "the name of a workflow",
    example: "video:full",
    fits: |name| {
        let parts: Vec<&str> = name.split(':').collect();
        parts.len() <= 2 && parts.iter().all(|part| is_word(part, "_-"))
    },
};

/// Lower-case letters, digits and `more`, beginning with a letter.
fn is_word(text: &str, more: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
}

impl Cx<'_> {
    /// The members of a map; those with unknown keys are reported.
    fn fields<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Fields<'n> {
        let Some(members) = node.members() else {
            self.wrong_type(node, what, "a map");
            return Fields {
                members: &[],
                span: node.span.clone(),
            };
        };
        for member in members {
            if !known.contains(&member.name.as_str()) {
                self.problems.add_with_help(
                    "unknown_key",
                    &member.name_span,
                    format!("{what} has no key `{}`", member.name),
                    nearest_help(&member.name, known.iter().copied()),
                );
            }
        }
        Fields {
            members,
            span: node.span.clone(),
        }
    }

    /// Reports the keys that are not there, unless a misspelt one explains it.
    fn require(&mut self, fields: &Fields<'_>, what: &str, required: &[&str]) {
        for key in required {
            let misspelt = fields
                .members
                .iter()
                .any(|member| nearest(&member.name, [*key]).is_some());
            if !misspelt {
                let start = fields.span.start;
                self.problems.add(
                    "missing_key",
                    &(start..start),
                    format!("{what} needs the key `{key}`"),
                );
            }
        }
    }

    fn wrong_type(&mut self, node: &Node, what: &str, want: &str) {
        self.problems.add(
            "bad_type",
            &node.span,
            format!("{what} must be {want}, not {}", node.kind()),
        );
    }

    fn bad_value(&mut self, node: &Node, message: String) {
        self.problems.add("bad_value", &node.span, message);
    }

    fn text_of<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            NodeValue::Text(text) => Some(text),
            _ => {
                self.wrong_type(node, what, "text");
                None
            }
        }
    }

    fn description(&mut self, node: &Node) -> Option<String> {
        let text = self.text_of(node, "`description`")?.trim();
        if text.len() > limits::DESCRIPTION_BYTES {
            self.problems.add(
                "limit_exceeded",
                &node.span,
                format!(
                    "the description is longer than {} bytes (limits::DESCRIPTION_BYTES)",
                    limits::DESCRIPTION_BYTES
                ),
            );
        }
        Some(text.to_owned())
    }

    fn name(&mut self, node: &Node, rule: &NameRule) -> Option<String> {
        let text = self.text_of(node, rule.what)?;
        self.check_name(text, &node.span, rule);
        Some(text.to_owned())
    }

    fn check_name(&mut self, name: &str, span: &Range<usize>, rule: &NameRule) {
        if name.len() > limits::NAME_BYTES {
            self.problems.add(
                "limit_exceeded",
                span,
                format!(
                    "{} is longer than {} bytes (limits::NAME_BYTES)",
                    rule.what,
                    limits::NAME_BYTES
                ),
            );
        } else if !(rule.fits)(name) {
            self.problems.add(
                "bad_id",
                span,
                format!(
                    "`{name}` cannot be {}: write it in lower case like `{}`",
                    rule.what, rule.example
                ),
            );
        }
    }

    fn integer<N>(&mut self, node: &Node, what: &str, range: RangeInclusive<N>) -> Option<N>
    where
        N: TryFrom<i64> + PartialOrd + std::fmt::Display,
    {
        let NodeValue::Number(number) = &node.value else {
            self.wrong_type(node, what, "a whole number");
            return None;
        };
        let value = number.as_i64().and_then(|value| N::try_from(value).ok());
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = (range.start(), range.end());
            self.bad_value(
                node,
                format!("{what} must be a whole number from {low} to {high}"),
            );
        }
        value
    }

    fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.value {
            NodeValue::Bool(value) => Some(*value),
            _ => {
                self.wrong_type(node, what, "true or false");
                None
            }
        }
    }

    fn duration(&mut self, node: &Node, what: &str) -> Option<Duration> {
        let NodeValue::Text(text) = &node.value else {
            self.problems.add_with_help(
                "bad_duration",
                &node.span,
                format!("{what} must be a duration, not {}", node.kind()),
                Some("write for example `30s`, `5m` or `1h30m`".to_owned()),
            );
            return None;
        };
        parse_duration(text)
            .map_err(|e| self.problems.add("bad_duration", &node.span, e.to_string()))
            .ok()
    }

    fn size(&mut self, node: &Node, what: &str) -> Option<u64> {
        let text = self.text_of(node, what)?;
        parse_size(text)
            .map_err(|e| self.problems.add("bad_size", &node.span, e.to_string()))
            .ok()
    }

    /// One of a few words.
    fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&'static str, T)]) -> Option<T> {
        let text = self.text_of(node, what)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let names = words::all(words);
            self.problems.add_with_help(
                "bad_value",
                &node.span,
                format!("{what} must be one of {}, not `{text}`", names.join(", ")),
                nearest_help(text, names),
            );
        }
        found.map(|(_, value)| *value)
    }

    /// Plain JSON without expressions.
    fn json(&mut self, node: &Node) -> Value {
        match &node.value {
            NodeValue::Text(text) if text.contains("${{") => self.problems.add(
                "bad_expression",
                &node.span,
                "expressions are not evaluated here",
            ),
            NodeValue::List(items) => items.iter().for_each(|item| {
                self.json(item);
            }),
            NodeValue::Map(members) => members.iter().for_each(|member| {
                self.json(&member.node);
            }),
            _ => {}
        }
        node.to_json()
    }

    fn steps(&mut self, node: &Node) -> IndexMap<String, super::StepDef> {
        let mut steps = IndexMap::new();
        let Some(members) = node.members() else {
            if !matches!(node.value, NodeValue::Null) {
                self.wrong_type(node, "`steps`", "a map from names to steps");
            }
            return steps;
        };
        if members.is_empty() || members.len() > limits::STEPS_PER_DEFINITION {
            self.problems.add(
                "limit_exceeded",
                &node.span,
                format!(
                    "a definition has between 1 and {} steps (limits::STEPS_PER_DEFINITION)",
                    limits::STEPS_PER_DEFINITION
                ),
            );
            return steps;
        }
        for member in members {
            steps.insert(member.name.clone(), self.step(member));
        }
        steps
    }

    fn check_input_schema(&mut self, node: &Node) {
        if let Err(found) = input::check_schema(&self.input) {
            for mismatch in found {
                let place = node.at(&mismatch.path).unwrap_or(node);
                self.problems.add(
                    "bad_schema",
                    &place.span,
                    format!("`input` is not a JSON Schema: {}", mismatch.message),
                );
            }
        } else if self.input.get("type") != Some(&json!("object")) {
            self.problems.add(
                "bad_schema",
                &node.span,
                "the input of a workflow is a map: write `type: object`",
            );
        }
    }
}
