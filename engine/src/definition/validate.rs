//! A file against the activities that are installed.

use std::ops::Range;

use serde_json::Value;

use super::diagnostic::{Diagnostic, Problems, nearest_help};
use super::json_schema::{Mismatch, Schema, resolve};
use super::template::escape_pointer;
use super::yaml::{Member, Node, NodeValue};
use super::{Definition, StepDef, parse, yaml};

/// The activities that definitions may name.
pub trait ActivityCatalog {
    /// The JSON Schema of what the activity takes; `None` if there is no such activity.
    fn input_schema(&self, name: &str, version: u32) -> Option<Value>;

    /// The JSON Schema of what the activity yields, if it is known. It is taken to name every
    /// member, unless it says `additionalProperties`.
    fn output_schema(&self, name: &str, version: u32) -> Option<Value>;

    /// Every activity as `name@version`.
    fn names(&self) -> Vec<String>;
}

/// Reads and checks a definition file, YAML or JSON.
///
/// # Errors
/// Every mistake that was found, in the order of the text. Only what makes the rest unreadable
/// (it is not YAML, or beyond a limit of the file) hides others.
pub fn validate(text: &str, catalog: &dyn ActivityCatalog) -> Result<Definition, Vec<Diagnostic>> {
    let mut problems = Problems::default();
    if let Some(root) = yaml::read(text, &mut problems) {
        let definition = parse::definition(&root, text, Some(catalog), &mut problems);
        let mut checks = Checks {
            catalog,
            problems: &mut problems,
        };
        for (name, step) in &definition.steps {
            if let Some(node) = root.get("steps").and_then(|steps| steps.get(name)) {
                checks.step(step, node);
            }
        }
        if problems.is_empty() {
            return Ok(definition);
        }
    }
    Err(problems.into_diagnostics(text))
}

struct Checks<'a> {
    catalog: &'a dyn ActivityCatalog,
    problems: &'a mut Problems,
}

impl Checks<'_> {
    fn step(&mut self, step: &StepDef, node: &Node) {
        // An activity that cannot be read has been reported.
        let Some(at) = node.get("activity").filter(|_| step.activity.version > 0) else {
            return;
        };
        let activity = &step.activity;
        let Some(schema) = self.catalog.input_schema(&activity.name, activity.version) else {
            self.unknown_activity(step, &at.span);
            return;
        };
        let empty = Node {
            value: NodeValue::Map(Vec::new()),
            span: at.span.clone(),
        };
        let with = node.get("with").unwrap_or(&empty);
        if with.members().is_some() {
            self.template(&schema, "", with);
        }
        self.retry_parameters(&schema, node);
    }

    fn unknown_activity(&mut self, step: &StepDef, span: &Range<usize>) {
        let names = self.catalog.names();
        let written = step.activity.to_string();
        let other_version = names.iter().find(|known| {
            let name = known.split_once('@').map(|(name, _)| name);
            name == Some(step.activity.name.as_str())
        });
        let help = match other_version {
            Some(known) => Some(format!("installed is `{known}`")),
            None => nearest_help(&written, names.iter().map(String::as_str)),
        };
        self.problems.add_with_help(
            "unknown_activity",
            span,
            format!("there is no activity `{written}`"),
            help,
        );
    }

    /// Checks what is written literally against the schema at a pointer; what expressions give
    /// is known only in a run.
    fn template(&mut self, root: &Value, pointer: &str, node: &Node) {
        if !has_expression(node) {
            return self.literal(root, pointer, node);
        }
        let Some((pointer, schema)) = follow(root, pointer) else {
            return;
        };
        match &node.value {
            NodeValue::Map(members) => {
                for member in members {
                    self.mixed_member(root, (&pointer, schema), member);
                }
                self.required(schema, node);
            }
            NodeValue::List(items) if schema.get("items").is_some() => {
                for item in items {
                    self.template(root, &format!("{pointer}/items"), item);
                }
            }
            _ => {}
        }
    }

    fn mixed_member(&mut self, root: &Value, (at, schema): (&str, &Value), member: &Member) {
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        if properties.contains_key(&member.name) {
            let name = escape_pointer(&member.name);
            self.template(root, &format!("{at}/properties/{name}"), &member.node);
        } else if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            self.problems.add_with_help(
                "unknown_member",
                &member.name_span,
                format!("there is no `{}`", member.name),
                nearest_help(&member.name, properties.keys().map(String::as_str)),
            );
        }
    }

    fn required(&mut self, schema: &Value, node: &Node) {
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if node.get(name).is_none() {
                self.problems.add(
                    "missing_member",
                    &(node.span.start..node.span.start),
                    format!("`{name}` is missing"),
                );
            }
        }
    }

    fn literal(&mut self, root: &Value, pointer: &str, node: &Node) {
        // The schema of an activity is not the user's: one that does not compile is no mistake
        // of the file.
        if let Ok(schema) = Schema::compile(root, pointer) {
            for mismatch in schema.check(&node.to_json()) {
                self.mismatch(mismatch, node);
            }
        }
    }

    fn mismatch(&mut self, mismatch: Mismatch, node: &Node) {
        let place = node.at(&mismatch.path).unwrap_or(node);
        let members = place.members().unwrap_or_default();
        let member = members
            .iter()
            .find(|member| Some(&member.name) == mismatch.member.as_ref());
        let span = match (member, mismatch.code) {
            (Some(member), _) => member.name_span.clone(),
            (None, "missing_member") => place.span.start..place.span.start,
            (None, _) => place.span.clone(),
        };
        let message = match mismatch.path.last() {
            Some(name) if mismatch.member.is_none() => format!("`{name}`: {}", mismatch.message),
            _ => mismatch.message,
        };
        self.problems
            .add_with_help(mismatch.code, &span, message, mismatch.help);
    }

    /// `set` of a retry rule names members of `with`.
    fn retry_parameters(&mut self, root: &Value, node: &Node) {
        let rules = node.get("retry").and_then(|retry| retry.get("rules"));
        let Some(NodeValue::List(rules)) = rules.map(|rules| &rules.value) else {
            return;
        };
        let schema = resolve(root, root);
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        for set in rules.iter().filter_map(|rule| rule.get("set")) {
            for member in set.members().unwrap_or_default() {
                if properties.contains_key(&member.name) {
                    let name = escape_pointer(&member.name);
                    self.literal(root, &format!("/properties/{name}"), &member.node);
                } else {
                    self.problems.add_with_help(
                        "unknown_member",
                        &member.name_span,
                        format!("the activity has no parameter `{}`", member.name),
                        nearest_help(&member.name, properties.keys().map(String::as_str)),
                    );
                }
            }
        }
    }
}

/// Where a pointer leads when references are followed, and the schema there. Of a schema that
/// only adds `null` to another, the other is taken.
fn follow<'s>(root: &'s Value, pointer: &str) -> Option<(String, &'s Value)> {
    let mut pointer = pointer.to_owned();
    // A chain of references is short; a circle of them ends here.
    for _ in 0..8 {
        let schema = root.pointer(&pointer)?;
        let reference = schema.get("$ref").and_then(Value::as_str);
        if let Some(target) = reference.and_then(|reference| reference.strip_prefix('#')) {
            pointer = target.to_owned();
            continue;
        }
        let null = Value::from("null");
        let forms = schema.get("anyOf").and_then(Value::as_array);
        let forms = forms.map(Vec::as_slice).unwrap_or_default();
        let other = forms
            .iter()
            .position(|form| form.get("type") != Some(&null));
        match other {
            Some(form) if forms.len() == 2 => pointer.push_str(&format!("/anyOf/{form}")),
            _ => return Some((pointer, schema)),
        }
    }
    None
}

fn has_expression(node: &Node) -> bool {
    match &node.value {
        NodeValue::Text(text) => text.contains("${{"),
        NodeValue::List(items) => items.iter().any(has_expression),
        NodeValue::Map(members) => members.iter().any(|member| has_expression(&member.node)),
        _ => false,
    }
}
