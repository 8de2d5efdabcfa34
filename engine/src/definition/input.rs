//! The input of a run, checked against the schema of its definition.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::{Map, Value};

use super::Definition;
use super::json_schema::{Mismatch, Schema, mistakes, names_all_members, resolve};
use super::template::escape_pointer;

/// Something in the input of a run that does not fit the schema of the definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputError {
    /// JSON pointer of the value, or of the member that is unknown or missing.
    pub pointer: String,
    /// Lowercase, one sentence.
    pub message: String,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pointer.as_str() {
            "" => write!(f, "the input {}", self.message),
            pointer => write!(f, "{pointer}: {}", self.message),
        }
    }
}

/// The JSON Schema of the input of a workflow. Cheap to check values against: it is compiled once, when
/// the first one is checked, which takes longer than everything else that a submission needs.
#[derive(Clone)]
pub struct InputSchema {
    json: Value,
    /// Clones that are made afterwards share it.
    compiled: OnceLock<Arc<Result<Schema, Vec<Mismatch>>>>,
}

impl InputSchema {
    /// The schema as it is written.
    #[must_use]
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// How a value does not fit; nothing if it does.
    fn check(&self, value: &Value) -> Vec<Mismatch> {
        let compile = || Arc::new(compile(&self.json));
        match self.compiled.get_or_init(compile).as_ref() {
            Ok(schema) => schema.check(value),
            Err(found) => found.clone(),
        }
    }
}

impl From<Value> for InputSchema {
    fn from(json: Value) -> Self {
        let compiled = OnceLock::new();
        Self { json, compiled }
    }
}

impl PartialEq for InputSchema {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl fmt::Debug for InputSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.json.fmt(f)
    }
}

impl Definition {
    /// What an input is filled in with that has no member.
    pub(crate) fn defaults(&self) -> Value {
        let mut input = Value::Object(Map::new());
        fill_defaults(self.input.json(), self.input.json(), &mut input);
        input
    }

    /// The input with its defaults filled in. A map that is absent is made if its schema requires
    /// nothing of it and has defaults for it. Members that a schema with `properties` does not
    /// name are refused unless it says `additionalProperties`.
    ///
    /// # Errors
    /// Everything that does not fit.
    pub fn check_input(&self, mut input: Value) -> Result<Value, Vec<InputError>> {
        fill_defaults(self.input.json(), self.input.json(), &mut input);
        let found = self.input.check(&input);
        if found.is_empty() {
            Ok(input)
        } else {
            Err(errors(&found))
        }
    }
}

/// A compiled JSON Schema, as an activity gives it.
pub(crate) struct Checker(Schema);

impl Checker {
    /// `None` for what is no schema.
    pub(crate) fn new(schema: &Value) -> Option<Self> {
        Schema::compile(schema, "").ok().map(Self)
    }

    /// How a value does not fit; nothing if it does.
    pub(crate) fn check(&self, value: &Value) -> Vec<InputError> {
        errors(&self.0.check(value))
    }
}

/// How a value does not fit a JSON Schema; nothing if it does, or if the schema is none.
#[must_use]
pub fn misfits(schema: &Value, value: &Value) -> Vec<InputError> {
    Checker::new(schema).map_or_else(Vec::new, |checker| checker.check(value))
}

/// Checks the schema of an input.
pub(super) fn check_schema(schema: &Value) -> Result<(), Vec<Mismatch>> {
    compile(schema)?;
    match mistakes(schema) {
        found if found.is_empty() => Ok(()),
        found => Err(found),
    }
}

/// Compiles the schema of an input, with its maps closed.
fn compile(schema: &Value) -> Result<Schema, Vec<Mismatch>> {
    let mut closed = schema.clone();
    close(&mut closed);
    Schema::compile(&closed, "")
}

/// Makes maps refuse what they do not name, so that a misspelt option is an error and not a
/// default. Schemas inside of combinators are left alone: they do not describe the whole map.
fn close(schema: &mut Value) {
    if names_all_members(schema)
        && let Some(schema) = schema.as_object_mut()
    {
        schema
            .entry("additionalProperties")
            .or_insert(Value::Bool(false));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
    }
    for keyword in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(keyword) {
            close(inner);
        }
    }
}

pub(super) fn fill_defaults(root: &Value, schema: &Value, value: &mut Value) {
    let schema = resolve(root, schema);
    match value {
        Value::Object(members) => fill_members(root, schema, members),
        Value::Array(items) => {
            if let Some(inner) = schema.get("items") {
                for item in items {
                    fill_defaults(root, inner, item);
                }
            }
        }
        _ => {}
    }
}

fn fill_members(root: &Value, schema: &Value, members: &mut Map<String, Value>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, member) in properties.into_iter().flatten() {
        match members.get_mut(name) {
            Some(value) => fill_defaults(root, member, value),
            None => {
                if let Some(value) = default_of(root, resolve(root, member), 0) {
                    members.insert(name.clone(), value);
                }
            }
        }
    }
}

/// The default of an absent value: its own, or that of a map made of the defaults of its members.
fn default_of(root: &Value, schema: &Value, depth: usize) -> Option<Value> {
    if let Some(default) = schema.get("default") {
        let mut default = default.clone();
        fill_defaults(root, schema, &mut default);
        return Some(default);
    }
    // A schema may contain itself.
    if schema.get("required").is_some() || depth > 8 {
        return None;
    }
    let properties = schema.get("properties")?.as_object()?;
    let members: Map<String, Value> = properties
        .iter()
        .filter_map(|(name, member)| {
            let value = default_of(root, resolve(root, member), depth + 1)?;
            Some((name.clone(), value))
        })
        .collect();
    (!members.is_empty()).then_some(Value::Object(members))
}

fn errors(found: &[Mismatch]) -> Vec<InputError> {
    let mut errors: Vec<InputError> = found
        .iter()
        .map(|mismatch| {
            let path = mismatch.path.iter().chain(&mismatch.member);
            let help = mismatch.help.as_ref();
            InputError {
                pointer: path
                    .map(|name| format!("/{}", escape_pointer(name)))
                    .collect(),
                message: match help {
                    Some(help) => format!("{}; {help}", mismatch.message),
                    None => mismatch.message.clone(),
                },
            }
        })
        .collect();
    errors.sort_by(|a, b| a.pointer.cmp(&b.pointer));
    errors
}
