//! What the schema of an input says of one place in it, before there is an input.

use serde_json::{Value, json};

use crate::definition::{InputError, misfits};
use crate::retry::reuse::with_alternatives;

/// Why nothing of that value can be at that place of any input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Impossible {
    /// The place cannot be there; the end of a sentence.
    Place(String),
    /// The value does not fit there.
    Value(Vec<InputError>),
}

/// Checks what is put at `pointer` of something that `root` describes, as far as the schema is certain: of
/// several alternatives, one that fits will do. Without a value, only the place is checked.
pub(super) fn check(root: &Value, pointer: &str, value: Option<&Value>) -> Result<(), Impossible> {
    let mut reached = vec![root];
    let mut parent = String::new();
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        reached = match inside(root, reached, &name) {
            Inside::Anything => return Ok(()),
            Inside::Schemas(schemas) => schemas,
            Inside::Nothing(known) => {
                return Err(Impossible::Place(missing(&parent, &name, &known)));
            }
        };
        parent = format!("{parent}/{segment}");
    }
    let Some(value) = value else { return Ok(()) };
    let mut found = None;
    for schema in reached {
        let Some(alone) = alone(root, schema) else {
            return Ok(());
        };
        match misfits(&alone, value) {
            fits if fits.is_empty() => return Ok(()),
            misfits => found = found.or(Some(misfits)),
        }
    }
    let mut found = found.unwrap_or_default();
    for misfit in &mut found {
        misfit.pointer.insert_str(0, pointer);
    }
    match found.is_empty() {
        true => Ok(()),
        false => Err(Impossible::Value(found)),
    }
}

/// What schemas say of a member of theirs.
enum Inside<'a> {
    /// That it may be anything.
    Anything,
    /// That it fits one of these.
    Schemas(Vec<&'a Value>),
    /// That there is none; they have these.
    Nothing(Vec<&'a str>),
}

fn inside<'a>(root: &'a Value, schemas: Vec<&'a Value>, name: &str) -> Inside<'a> {
    let (mut admitted, mut known) = (Vec::new(), Vec::new());
    let all = with_alternatives(root, schemas);
    for schema in &all {
        if is_open(schema) {
            return Inside::Anything;
        }
        let members = schema.get("properties").and_then(Value::as_object);
        let items = schema.get("items").filter(|_| name.parse::<u32>().is_ok());
        let others = schema.get("additionalProperties");
        let member = members.and_then(|members| members.get(name)).or(others);
        admitted.extend(member.into_iter().chain(items).filter(|it| !is_no(it)));
        known.extend(
            members
                .into_iter()
                .flat_map(|it| it.keys())
                .map(String::as_str),
        );
    }
    match admitted.is_empty() {
        true => Inside::Nothing(known),
        false => Inside::Schemas(admitted),
    }
}

/// Whether a schema leaves open what members there are.
fn is_open(schema: &Value) -> bool {
    let Some(schema) = schema.as_object() else {
        return *schema == Value::Bool(true);
    };
    let says = |keyword: &str| schema.contains_key(keyword);
    let is = |kind: &str| match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|it| it == kind),
        Some(one) => one == kind,
        // What is said elsewhere counts.
        None => !["$ref", "anyOf", "oneOf", "allOf", "enum", "const", "not"]
            .into_iter()
            .any(says),
    };
    let of_objects = says("patternProperties") || !says("additionalProperties");
    let of_arrays = says("prefixItems") || !says("items");
    (is("object") && of_objects) || (is("array") && of_arrays)
}

/// The schema that nothing fits.
fn is_no(schema: &Value) -> bool {
    *schema == Value::Bool(false)
}

/// A part of a schema with what it refers to; `None` if that may be the whole schema.
fn alone(root: &Value, schema: &Value) -> Option<Value> {
    let mut alone = json!({"allOf": [schema]});
    for definitions in ["$defs", "definitions"] {
        if let Some(known) = root.get(definitions) {
            alone[definitions] = known.clone();
        }
    }
    let refers_to_root = alone.to_string().contains(r##""$ref":"#""##);
    (!refers_to_root).then_some(alone)
}

fn missing(parent: &str, name: &str, known: &[&str]) -> String {
    let of = match parent {
        "" => "the input".to_owned(),
        parent => parent.to_owned(),
    };
    match known.is_empty() {
        true => format!("{of} has no member {name}: it has none"),
        false => format!("{of} has no member {name}; it has {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Value {
        json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "rungs": {"type": "array", "items": {"$ref": "#/$defs/Rung"}},
                "budget": {"anyOf": [{"$ref": "#/$defs/Budget"}, {"type": "null"}]},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "extra": true,
                "open": {"type": "object", "properties": {"known": {"type": "integer"}}},
                "by_height": {
                    "type": "object",
                    "additionalProperties": false,
                    "patternProperties": {"^[0-9]+$": {"type": "integer"}},
                },
                "inner": {"$ref": "#"},
            },
            "$defs": {
                "Rung": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {"height": {"type": "integer", "minimum": 2}},
                },
                "Budget": {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {"bytes": {"type": "integer"}},
                },
            },
        })
    }

    fn told(pointer: &str, value: Value) -> Result<(), String> {
        check(&root(), pointer, Some(&value)).map_err(|why| match why {
            Impossible::Place(why) => why,
            Impossible::Value(misfits) => misfits[0].pointer.clone(),
        })
    }

    #[test]
    fn what_may_be_is_let_through() {
        for (pointer, value) in [
            ("/rungs/0/height", json!(240)),
            ("/rungs", json!([{"height": 240}])),
            ("/budget", json!(null)),
            ("/budget/bytes", json!(7)),
            ("/labels/any", json!("text")),
            ("/extra/a/b", json!(7)),
            ("/open/other", json!(7)),
            ("/by_height/720", json!(7)),
            ("/inner/inner/budget/bytes", json!(7)),
            ("/inner", json!({"inner": {}})),
        ] {
            assert_eq!(told(pointer, value), Ok(()), "{pointer}");
        }
    }

    #[test]
    fn a_place_that_no_input_has_is_told_with_what_is_there() {
        for (pointer, why) in [
            ("/other", "the input has no member other; it has"),
            (
                "/rungs/0/width",
                "/rungs/0 has no member width; it has height",
            ),
            ("/rungs/first", "/rungs has no member first"),
            (
                "/budget/frames",
                "/budget has no member frames; it has bytes",
            ),
            ("/rungs/0/height/x", "/rungs/0/height has no member x"),
            ("/inner/other", "/inner has no member other"),
        ] {
            let told = told(pointer, json!(1)).unwrap_err();
            assert!(told.starts_with(why), "{pointer}: {told}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_there_is_told_with_its_place() {
        for (pointer, value, place) in [
            ("/rungs/0/height", json!("tall"), "/rungs/0/height"),
            ("/rungs", json!([{"height": 1}]), "/rungs/0/height"),
            ("/budget/bytes", json!("many"), "/budget/bytes"),
            ("/labels/any", json!(7), "/labels/any"),
        ] {
            assert_eq!(told(pointer, value), Err(place.to_owned()));
        }
    }
}
