//! The JSON Schema of the definition format, for editors.

use serde_json::{Value, json};

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
                "$ref": "#/$defs/json_schema",
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
        "json_schema": json_schema(),
        "need": {"enum": words::all(&words::NEEDS)},
        "retry": retry(),
        "timeout": timeout(),
        "requires": requires(),
        "step": step(catalog),
    });
    for name in catalog.names() {
        let parameters = parameters(catalog, &name);
        definitions[name] = parameters;
    }
    definitions
}

fn step(catalog: &dyn ActivityCatalog) -> Value {
    let names = catalog.names();
    let parameters: Vec<Value> = names.iter().map(|name| fitting(catalog, name)).collect();
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
            "cache": {"enum": words::all(&words::CACHE), "default": "off"},
            "retry": {"$ref": "#/$defs/retry"},
            "timeout": {"$ref": "#/$defs/timeout"},
            "requires": {"$ref": "#/$defs/requires"},
            "queue": {"enum": words::all(&words::QUEUE)},
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

/// The keywords of JSON Schema that inputs are described with, for completion; others are left to
/// validation. The real meta-schema is a download, and editors that cannot get it check nothing.
fn json_schema() -> Value {
    let schema = json!({"$ref": "#/$defs/json_schema"});
    let schemas = json!({"type": "array", "items": schema});
    let kinds = json!({"enum": [
        "array", "boolean", "integer", "null", "number", "object", "string",
    ]});
    let count = json!({"type": "integer", "minimum": 0});
    json!({
        "type": ["object", "boolean"],
        "properties": {
            "type": {"anyOf": [kinds, {"type": "array", "items": kinds}]},
            "description": {"type": "string"},
            "default": {},
            "enum": {"type": "array"},
            "const": {},
            "properties": {"type": "object", "additionalProperties": schema},
            "required": {"type": "array", "items": {"type": "string"}},
            "additionalProperties": schema,
            "items": schema,
            "anyOf": schemas,
            "oneOf": schemas,
            "allOf": schemas,
            "pattern": {"type": "string"},
            "minLength": count,
            "maxLength": count,
            "minItems": count,
            "maxItems": count,
            "minimum": {"type": "number"},
            "maximum": {"type": "number"},
            "exclusiveMinimum": {"type": "number"},
            "exclusiveMaximum": {"type": "number"},
            "$defs": {"type": "object", "additionalProperties": schema},
        },
    })
}

/// What `with` has to be under an activity.
fn fitting(catalog: &dyn ActivityCatalog, name: &str) -> Value {
    let parameters = parameters(catalog, name);
    let required = parameters.get("required").and_then(Value::as_array);
    let mut then = json!({"properties": {"with": {"$ref": format!("#/$defs/{name}")}}});
    if required.is_some_and(|names| !names.is_empty()) {
        then["required"] = json!(["with"]);
    }
    json!({
        "if": {"required": ["activity"], "properties": {"activity": {"const": name}}},
        "then": then,
    })
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
            "disk": {"$ref": "#/$defs/size"},
            "gpu": {"enum": words::all(&words::GPU), "default": "none"},
        },
    })
}

/// What an expression looks like where a schema wants something else.
fn expression() -> Value {
    json!({"type": "string", "pattern": "\\$\\{\\{"})
}

/// The input of an activity where each value in it may be an expression instead. References within
/// it lead to where it is in the whole: editors resolve them from the root of a document, whatever
/// `$id` says.
fn parameters(catalog: &dyn ActivityCatalog, name: &str) -> Value {
    let activity = name
        .split_once('@')
        .and_then(|(name, version)| catalog.input_schema(name, version.parse().ok()?));
    let mut schema = activity.unwrap_or_else(|| json!({}));
    if let Some(members) = schema.as_object_mut() {
        for identity in ["$id", "$schema", "title"] {
            members.remove(identity);
        }
    }
    open(&mut schema, &format!("#/$defs/{name}"));
    schema
}

/// Lets every value inside of a schema be an expression. What several forms of the same value
/// share is opened once, where the value is.
fn open(schema: &mut Value, home: &str) {
    let Some(keywords) = schema.as_object_mut() else {
        return;
    };
    for (keyword, inner) in keywords.iter_mut() {
        match (keyword.as_str(), inner) {
            ("$ref", Value::String(reference)) => {
                if let Some(pointer) = reference.strip_prefix('#') {
                    *reference = format!("{home}{pointer}");
                }
            }
            ("properties" | "patternProperties", Value::Object(members)) => {
                members
                    .values_mut()
                    .for_each(|member| or_expression(member, home));
            }
            ("items" | "additionalProperties" | "contains", value @ Value::Object(_)) => {
                or_expression(value, home);
            }
            ("prefixItems", Value::Array(values)) => {
                values
                    .iter_mut()
                    .for_each(|value| or_expression(value, home));
            }
            ("$defs" | "definitions" | "dependentSchemas", Value::Object(schemas)) => {
                schemas.values_mut().for_each(|schema| open(schema, home));
            }
            ("allOf" | "anyOf" | "oneOf", Value::Array(forms)) => {
                forms.iter_mut().for_each(|form| open(form, home));
            }
            ("not" | "if" | "then" | "else", form) => open(form, home),
            _ => {}
        }
    }
}

fn or_expression(value: &mut Value, home: &str) {
    open(value, home);
    if takes_any_text(value) {
        return;
    }
    let mut both = json!({"anyOf": [value.take(), expression()]});
    // Editors show what stands beside the value, not inside of its forms.
    for shown in ["description", "default"] {
        if let Some(text) = both["anyOf"][0]
            .as_object_mut()
            .and_then(|form| form.remove(shown))
        {
            both[shown] = text;
        }
    }
    *value = both;
}

/// Whether an expression fits as it is.
fn takes_any_text(schema: &Value) -> bool {
    let Some(keywords) = schema.as_object() else {
        return *schema == Value::Bool(true);
    };
    let plain = ["type", "description", "default", "title", "examples"];
    let named = keywords
        .keys()
        .all(|keyword| plain.contains(&keyword.as_str()));
    named
        && match keywords.get("type") {
            None => true,
            Some(Value::String(kind)) => kind == "string",
            Some(kinds) => kinds
                .as_array()
                .is_some_and(|kinds| kinds.contains(&json!("string"))),
        }
}
