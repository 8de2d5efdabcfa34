//! The JSON Schema of the definition format, for editors.

use serde_json::{Map, Value, json};

use super::parse::words;
use super::validate::ActivityCatalog;
use crate::limits;

/// The JSON Schema of a definition file, with the parameters of every installed activity. It
/// describes what [`super::validate`] accepts as far as a schema can: names of steps, references
/// and the insides of expressions are beyond it.
#[must_use]
pub fn schema(catalog: &dyn ActivityCatalog) -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "telecine workflow definition",
        "type": "object",
        "required": ["workflow", "version", "steps"],
        "additionalProperties": false,
        "properties": {
            "workflow": {
                "type": "string",
                "description": "area:name",
                "pattern": "^[a-z][a-z0-9_-]*(:[a-z][a-z0-9_-]*)?$",
                "maxLength": limits::NAME_BYTES,
            },
            "version": {"type": "integer", "minimum": 1},
            "description": {"type": "string"},
            "input": {
                "description": "JSON Schema of the input",
                "$ref": "https://json-schema.org/draft/2020-12/schema",
            },
            "steps": {
                "type": "object",
                "minProperties": 1,
                "maxProperties": limits::STEPS_PER_DEFINITION,
                "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$", "maxLength": limits::NAME_BYTES},
                "additionalProperties": {"$ref": "#/$defs/step"},
            },
            "output": {"description": "what the run yields"},
        },
        "$defs": definitions(catalog),
    })
}

fn definitions(catalog: &dyn ActivityCatalog) -> Value {
    let mut definitions = json!({
        "expression": {
            "description": "a CEL expression",
            "type": ["string", "boolean"],
        },
        "duration": {
            "description": "such as 500ms, 30s, 5m, 6h, 2d or 1h30m",
            "type": "string",
            "pattern": "^([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
            "minLength": 2,
        },
        "size": {
            "description": "such as 512MiB or 1.5GB",
            "type": "string",
            "pattern": "^[0-9]+(\\.[0-9]+)?([KMGT]iB|kB|[MGT]?B)$",
        },
        "need": {"enum": words::all(&words::NEEDS)},
        "retry": retry(),
        "timeout": timeout(),
        "requires": requires(),
        "step": step(catalog),
    });
    for (at, name) in catalog.names().iter().enumerate() {
        definitions[format!("with_{at}")] = parameters(catalog, name);
    }
    definitions
}

fn step(catalog: &dyn ActivityCatalog) -> Value {
    let names = catalog.names();
    let parameters: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            json!({
                "if": {"properties": {"activity": {"const": name}}},
                "then": {"properties": {"with": {"$ref": format!("#/$defs/with_{at}")}}},
            })
        })
        .collect();
    let mut step = json!({
        "type": "object",
        "required": ["activity"],
        "additionalProperties": false,
        "properties": {
            "activity": {"description": "area.verb@version", "enum": names},
            "with": {"type": "object", "description": "the input of the activity"},
            "needs": {
                "description": "steps that come first, beside those that expressions name",
                "oneOf": [
                    {"type": "array", "items": {"oneOf": [
                        {"type": "string"},
                        {"type": "object", "additionalProperties": {"$ref": "#/$defs/need"}},
                    ]}},
                    {"type": "object", "additionalProperties": {"$ref": "#/$defs/need"}},
                ],
            },
            "when": {"$ref": "#/$defs/expression"},
            "for_each": {"$ref": "#/$defs/expression"},
            "on_failure": {"enum": words::all(&words::ON_FAILURE), "default": "fail"},
            "retry": {"$ref": "#/$defs/retry"},
            "timeout": {"$ref": "#/$defs/timeout"},
            "requires": {"$ref": "#/$defs/requires"},
            "queue": {
                "type": "string",
                "pattern": "^[a-z][a-z0-9_-]*$",
                "maxLength": limits::NAME_BYTES,
            },
            "priority": {
                "type": "integer",
                "minimum": -limits::PRIORITY,
                "maximum": limits::PRIORITY,
            },
        },
    });
    if !parameters.is_empty() {
        step["allOf"] = Value::Array(parameters);
    }
    step
}

fn retry() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "max_attempts": {
                "type": "integer",
                "minimum": 1,
                "maximum": limits::ATTEMPTS_PER_STEP,
                "default": 3,
            },
            "backoff": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "initial": {"$ref": "#/$defs/duration", "default": "2s"},
                    "factor": {"type": "number", "minimum": 1, "maximum": 100, "default": 2},
                    "max": {"$ref": "#/$defs/duration", "default": "2m"},
                    "jitter": {"enum": words::all(&words::JITTER), "default": "full"},
                },
            },
            "rules": {
                "description": "exceptions; the first that matches wins",
                "type": "array",
                "maxItems": limits::RETRY_RULES_PER_STEP,
                "items": rule(),
            },
            "when": {"$ref": "#/$defs/expression"},
        },
    })
}

fn rule() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "anyOf": [{"required": ["class"]}, {"required": ["code"]}, {"required": ["when"]}],
        "properties": {
            "class": {"enum": words::all(&words::CLASSES)},
            "code": {"type": "string"},
            "when": {"$ref": "#/$defs/expression"},
            "retry": {"type": "boolean", "default": true},
            "set": {
                "description": "parameters that the following attempts get instead",
                "type": "object",
            },
        },
    })
}

fn timeout() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "attempt": {"description": "of one attempt", "$ref": "#/$defs/duration"},
            "stall": {"description": "without progress", "$ref": "#/$defs/duration"},
            "total": {
                "description": "of the step, pauses and all attempts included",
                "$ref": "#/$defs/duration",
            },
        },
    })
}

fn requires() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "cpu": {
                "type": "integer",
                "minimum": 1,
                "maximum": limits::CPUS_PER_STEP,
                "default": 1,
            },
            "memory": {"$ref": "#/$defs/size"},
            "gpu": {"enum": words::all(&words::GPU), "default": "none"},
        },
    })
}

/// The input of an activity where each member may be an expression instead. The schema keeps an
/// identity of its own, so that its references stay within it.
fn parameters(catalog: &dyn ActivityCatalog, name: &str) -> Value {
    let activity = name
        .split_once('@')
        .and_then(|(name, version)| catalog.input_schema(name, version.parse().ok()?));
    let mut schema = activity.unwrap_or_else(|| json!({}));
    schema["$id"] = json!(format!("https://telecine.invalid/activities/{name}"));
    if let Some(members) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let open = std::mem::take(members).into_iter().map(|(name, member)| {
            let expression = json!({"type": "string", "pattern": "\\$\\{\\{"});
            (name, json!({"anyOf": [member, expression]}))
        });
        *members = open.collect::<Map<_, _>>();
    }
    schema
}
