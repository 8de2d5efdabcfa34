//! What the meta-schema lets pass although it cannot work.

use boon::{CompileError, Compiler, Schemas};
use serde_json::{Map, Value, json};

use super::{ADDRESS, Mismatch, NoLoader, Schema};
use crate::limits;

/// Members of a schema that are maps of schemas.
const MAPS: [&str; 5] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];

/// Members of a schema that are data, whatever they look like.
const DATA: [&str; 4] = ["default", "const", "enum", "examples"];

/// Members that apply other schemas to the same value.
const LISTS_IN_PLACE: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const IN_PLACE: [&str; 4] = ["not", "if", "then", "else"];

/// One schema of a document: its path and its members.
type Place<'s> = (Vec<String>, &'s Map<String, Value>);

/// Patterns that are no regular expression, or would take too much memory. The library panics on
/// some of them, so it must not see them.
pub(super) fn bad_patterns(root: &Value) -> Vec<Mismatch> {
    let places = places(root);
    let patterns: Vec<_> = places
        .iter()
        .filter_map(|(path, members)| Some((path, members.get("pattern")?.as_str()?)))
        .collect();
    if patterns.len() > limits::SCHEMA_PATTERNS {
        let most = limits::SCHEMA_PATTERNS;
        let message = format!("it has more than {most} patterns (limits::SCHEMA_PATTERNS)");
        return vec![bad_value(&[], message)];
    }
    patterns
        .into_iter()
        .filter_map(|(path, pattern)| {
            let why = why_no_pattern(pattern)?;
            Some(bad_value(&member(path, "pattern"), why))
        })
        .collect()
}

/// Defaults that do not fit their own schema, and references that lead back to themselves: each
/// would be found by the first run.
pub(in super::super) fn mistakes(root: &Value) -> Vec<Mismatch> {
    let places = places(root);
    let circles = places
        .iter()
        .filter(|(_, members)| goes_in_circles(root, members));
    if let Some((path, _)) = circles.min_by_key(|(path, _)| path.len()) {
        let message = "its references lead back to itself".to_owned();
        return vec![bad_value(path, message)];
    }
    places
        .iter()
        .filter_map(|(path, members)| misfit_default(root, path, members.get("default")?))
        .collect()
}

fn misfit_default(root: &Value, path: &[String], default: &Value) -> Option<Mismatch> {
    let pointer: String = path
        .iter()
        .map(|name| format!("/{}", crate::definition::template::escape_pointer(name)))
        .collect();
    let schema = Schema::compile(root, &pointer).ok()?;
    let mut filled = default.clone();
    crate::definition::input::fill_defaults(root, root.pointer(&pointer)?, &mut filled);
    let first = schema.check(&filled).into_iter().next()?;
    let message = format!("the default does not fit: {}", first.message);
    Some(bad_value(&member(path, "default"), message))
}

/// Why the library takes a text for no pattern. Asked in the one place where it answers instead of
/// panicking.
fn why_no_pattern(pattern: &str) -> Option<String> {
    let mut compiler = Compiler::new();
    compiler.use_loader(Box::new(NoLoader));
    let schema = json!({"patternProperties": {pattern: true}});
    compiler.add_resource(ADDRESS, schema).ok()?;
    match compiler.compile(ADDRESS, &mut Schemas::new()) {
        Ok(_) => None,
        Err(CompileError::InvalidRegex { src, .. }) => {
            // Its first line; the others draw the place into a text that is not here.
            let why = src.to_string();
            let why = why.lines().last().unwrap_or_default();
            Some(format!(
                "the pattern cannot be used: {}",
                why.trim_start_matches("error: ").to_lowercase()
            ))
        }
        Err(_) => Some("the pattern is no regular expression".to_owned()),
    }
}

fn goes_in_circles(root: &Value, members: &Map<String, Value>) -> bool {
    let mut seen: Vec<&Map<String, Value>> = Vec::new();
    let mut open = applied(root, members);
    while let Some(next) = open.pop() {
        if std::ptr::eq(next, members) {
            return true;
        }
        if !seen.iter().any(|other| std::ptr::eq(*other, next)) {
            seen.push(next);
            open.extend(applied(root, next));
        }
    }
    false
}

/// The schemas that a schema applies to the same value.
fn applied<'s>(root: &'s Value, members: &'s Map<String, Value>) -> Vec<&'s Map<String, Value>> {
    let referred = members
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.strip_prefix('#'))
        .and_then(|pointer| root.pointer(pointer));
    let lists = LISTS_IN_PLACE
        .iter()
        .filter_map(|name| members.get(*name)?.as_array());
    let single = IN_PLACE.iter().filter_map(|name| members.get(*name));
    let all = referred.into_iter().chain(lists.flatten()).chain(single);
    all.filter_map(Value::as_object).collect()
}

/// Every schema of a document.
fn places(root: &Value) -> Vec<Place<'_>> {
    let mut found = Vec::new();
    let mut open = vec![(Vec::new(), root)];
    while let Some((path, schema)) = open.pop() {
        let Some(members) = schema.as_object() else {
            continue;
        };
        for (keyword, value) in members {
            let path = member(&path, keyword);
            match value {
                _ if DATA.contains(&keyword.as_str()) => {}
                Value::Object(inner) if MAPS.contains(&keyword.as_str()) => {
                    open.extend(
                        inner
                            .iter()
                            .map(|(name, value)| (member(&path, name), value)),
                    );
                }
                Value::Array(items) => open.extend(
                    items
                        .iter()
                        .enumerate()
                        .map(|(n, value)| (member(&path, &n.to_string()), value)),
                ),
                value => open.push((path, value)),
            }
        }
        found.push((path, members));
    }
    found
}

fn member(path: &[String], name: &str) -> Vec<String> {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

fn bad_value(path: &[String], message: String) -> Mismatch {
    Mismatch {
        code: "bad_value",
        path: path.to_vec(),
        member: None,
        message,
        help: None,
    }
}
