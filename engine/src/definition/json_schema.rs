//! JSON Schema: compiling one, checking values, and saying what does not fit in plain words.

mod sound;

use boon::{Compiler, ErrorKind, InstanceToken, SchemaIndex, Schemas, UrlLoader, ValidationError};
use serde_json::Value;

use super::diagnostic::nearest_help;

pub(super) use sound::mistakes;

/// The address under which a schema refers to itself.
const ADDRESS: &str = "https://telecine.invalid/schema";

/// Keywords that combine or redirect schemas: the properties beside them are not all there are.
const COMBINATORS: [&str; 9] = [
    "$ref",
    "$dynamicRef",
    "allOf",
    "anyOf",
    "oneOf",
    "if",
    "dependentSchemas",
    "patternProperties",
    "unevaluatedProperties",
];

/// A compiled JSON Schema.
pub(super) struct Schema {
    schemas: Schemas,
    index: SchemaIndex,
    json: Value,
}

/// One way in which a value does not fit a schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// `unknown_member`, `missing_member`, `bad_type` or `bad_value`.
    pub(super) code: &'static str,
    /// Member names and list indexes down to the value.
    pub(super) path: Vec<String>,
    /// The unknown or missing member of that value.
    pub(super) member: Option<String>,
    /// Lowercase, one sentence.
    pub(super) message: String,
    pub(super) help: Option<String>,
}

/// Schemas come from users: nothing they name is read from a disk or a network.
struct NoLoader;

impl UrlLoader for NoLoader {
    fn load(&self, _url: &str) -> Result<Value, Box<dyn std::error::Error>> {
        Err("only references within the schema (`#/...`) are followed".into())
    }
}

impl Schema {
    /// Compiles the part of `json` at a JSON pointer; the empty pointer is all of it.
    ///
    /// # Errors
    /// What is not a schema, with the path to it.
    pub(super) fn compile(json: &Value, pointer: &str) -> Result<Self, Vec<Mismatch>> {
        let bad = sound::bad_patterns(json);
        if !bad.is_empty() {
            return Err(bad);
        }
        let mut compiler = Compiler::new();
        compiler.use_loader(Box::new(NoLoader));
        let mut schemas = Schemas::new();
        compiler
            .add_resource(ADDRESS, json.clone())
            .map_err(|error| not_a_schema(&error))?;
        let index = compiler
            .compile(&format!("{ADDRESS}#{pointer}"), &mut schemas)
            .map_err(|error| not_a_schema(&error))?;
        Ok(Self {
            schemas,
            index,
            json: json.clone(),
        })
    }

    /// How a value does not fit; nothing if it does.
    pub(super) fn check(&self, value: &Value) -> Vec<Mismatch> {
        let Err(error) = self.schemas.validate(value, self.index) else {
            return Vec::new();
        };
        let mut collector = Collector {
            schema: &self.json,
            value,
            found: Vec::new(),
        };
        collector.collect(&error);
        collector.found
    }
}

fn not_a_schema(error: &boon::CompileError) -> Vec<Mismatch> {
    if let boon::CompileError::ValidationError { src, .. } = error {
        let mut collector = Collector {
            schema: &Value::Null,
            value: &Value::Null,
            found: Vec::new(),
        };
        collector.collect(src);
        return collector.found;
    }
    // The library's sentences name the made-up address, which means nothing to a reader.
    let message = match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    vec![Mismatch {
        code: "bad_value",
        path: Vec::new(),
        member: None,
        message: message.replace(ADDRESS, "").to_lowercase(),
        help: None,
    }]
}

/// Gathers the causes at the bottom of an error.
struct Collector<'a> {
    schema: &'a Value,
    /// What was checked.
    value: &'a Value,
    found: Vec<Mismatch>,
}

impl Collector<'_> {
    fn collect(&mut self, error: &ValidationError<'_, '_>) {
        match &error.kind {
            ErrorKind::AnyOf | ErrorKind::OneOf(_) if !error.causes.is_empty() => {
                self.alternatives(error);
            }
            _ if error.causes.is_empty() => self.describe(error),
            _ => error.causes.iter().for_each(|cause| self.collect(cause)),
        }
    }

    /// Of several forms, the one that was meant is the one whose type fits: its errors are told.
    fn alternatives(&mut self, error: &ValidationError<'_, '_>) {
        let depth = error.instance_location.tokens.len();
        let words = wanted_words(error);
        let meant = error
            .causes
            .iter()
            .find(|cause| !is_other_type(cause, depth));
        match meant {
            Some(_) if !words.is_empty() => self.not_a_word(error, &words),
            Some(cause) => self.collect(cause),
            None => self.add(
                "bad_type",
                error,
                format!("must be {}", wanted_types(error)),
            ),
        }
    }

    fn describe(&mut self, error: &ValidationError<'_, '_>) {
        match &error.kind {
            ErrorKind::AdditionalProperties { got } => {
                let known = known_members(self.schema, error.schema_url);
                for name in got {
                    self.found.push(Mismatch {
                        code: "unknown_member",
                        path: path_of(error),
                        member: Some(name.to_string()),
                        message: format!("there is no `{name}`"),
                        help: nearest_help(name, known.iter().copied()),
                    });
                }
            }
            ErrorKind::Required { want } => {
                self.found.extend(want.iter().map(|name| Mismatch {
                    code: "missing_member",
                    path: path_of(error),
                    member: Some((*name).to_owned()),
                    message: format!("`{name}` is missing"),
                    help: None,
                }));
            }
            ErrorKind::Type { got, want } => {
                let want: Vec<_> = want.iter().map(type_name).collect();
                let got = type_name(*got);
                let message = format!("must be {}, not {got}", want.join(" or "));
                self.add("bad_type", error, message);
            }
            ErrorKind::Enum { .. } | ErrorKind::Const { .. } => {
                self.not_a_word(error, &wanted_words(error));
            }
            kind => self.add("bad_value", error, kind.to_string()),
        }
    }

    fn not_a_word(&mut self, error: &ValidationError<'_, '_>, words: &[String]) {
        let pointer = error.instance_location.to_string();
        let written = self.value.pointer(&pointer).and_then(Value::as_str);
        let help =
            written.and_then(|written| nearest_help(written, words.iter().map(String::as_str)));
        self.add(
            "bad_value",
            error,
            format!("must be one of {}", words.join(", ")),
        );
        if let Some(mismatch) = self.found.last_mut() {
            mismatch.help = help;
        }
    }

    fn add(&mut self, code: &'static str, error: &ValidationError<'_, '_>, message: String) {
        self.found.push(Mismatch {
            code,
            path: path_of(error),
            member: None,
            message,
            help: None,
        });
    }
}

/// The values that the forms of an error allow, if they allow a few values each.
fn wanted_words(error: &ValidationError<'_, '_>) -> Vec<String> {
    let word = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match &error.kind {
        ErrorKind::Enum { want } => want.iter().map(word).collect(),
        ErrorKind::Const { want } => vec![word(want)],
        _ => error.causes.iter().flat_map(wanted_words).collect(),
    }
}

fn is_other_type(error: &ValidationError<'_, '_>, depth: usize) -> bool {
    let same_value = error.instance_location.tokens.len() == depth;
    match &error.kind {
        ErrorKind::Type { .. } => same_value,
        _ => !error.causes.is_empty() && error.causes.iter().all(|e| is_other_type(e, depth)),
    }
}

fn wanted_types(error: &ValidationError<'_, '_>) -> String {
    let mut types = Vec::new();
    let mut open = vec![error];
    while let Some(error) = open.pop() {
        if let ErrorKind::Type { want, .. } = &error.kind {
            types.extend(want.iter().map(type_name));
        }
        open.extend(&error.causes);
    }
    types.sort_unstable();
    types.dedup();
    types.join(" or ")
}

/// The properties of the schema that an error is about.
fn known_members<'s>(schema: &'s Value, url: &str) -> Vec<&'s str> {
    let pointer = url.split_once('#').map_or("", |(_, pointer)| pointer);
    schema
        .pointer(pointer)
        .and_then(|schema| schema.get("properties"))
        .and_then(Value::as_object)
        .map(|properties| properties.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn path_of(error: &ValidationError<'_, '_>) -> Vec<String> {
    let tokens = error.instance_location.tokens.iter();
    tokens
        .map(|token| match token {
            InstanceToken::Prop(name) => name.to_string(),
            InstanceToken::Item(index) => index.to_string(),
        })
        .collect()
}

fn type_name(kind: boon::Type) -> &'static str {
    match kind {
        boon::Type::Null => "null",
        boon::Type::Boolean => "true or false",
        boon::Type::Number => "a number",
        boon::Type::Integer => "a whole number",
        boon::Type::String => "text",
        boon::Type::Array => "a list",
        boon::Type::Object => "a map",
    }
}

/// Follows references within the schema.
pub(super) fn resolve<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    let mut at = schema;
    // A chain of references is short; a circle of them ends here.
    for _ in 0..8 {
        let target = at
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix('#'))
            .and_then(|pointer| root.pointer(pointer));
        match target {
            Some(target) => at = target,
            None => break,
        }
    }
    at
}

/// Whether the properties that an object schema names are all that it could name.
pub(super) fn names_all_members(schema: &Value) -> bool {
    schema.get("properties").is_some_and(Value::is_object)
        && !COMBINATORS
            .iter()
            .any(|keyword| schema.get(keyword).is_some())
}

/// A member that a schema does not know.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownMember {
    /// Names of the path before it.
    pub(super) depth: usize,
    /// The names that would be known there.
    pub(super) known: Vec<String>,
}

/// The first name of a path that cannot be a member where it stands. Says nothing where the
/// schema leaves anything open.
pub(super) fn unknown_member(root: &Value, path: &[String]) -> Option<UnknownMember> {
    let mut schema = resolve(root, root);
    for (depth, name) in path.iter().enumerate() {
        let properties = schema.get("properties")?.as_object()?;
        match properties.get(name) {
            Some(member) => schema = resolve(root, member),
            None => {
                let open = matches!(
                    schema.get("additionalProperties"),
                    Some(Value::Bool(true) | Value::Object(_))
                );
                let closed = names_all_members(schema) && !open;
                return closed.then(|| UnknownMember {
                    depth,
                    known: properties.keys().cloned().collect(),
                });
            }
        }
    }
    None
}
