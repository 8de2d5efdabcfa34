use serde_json::{Value, json};
use telecine_engine::definition::misfits;

/// A field that no activity knows.
pub(super) const UNKNOWN: &str = "misspelt_option";

/// The input with a field that nobody knows; `None` for an input without fields.
pub(super) fn misspelt(input: &Value) -> Option<Value> {
    input.is_object().then(|| with(input, UNKNOWN, json!(1)))
}

/// The fields of an input that may be anything at all. What the schema of an activity refuses never
/// reaches it, so nothing else has to be tried.
pub(super) fn free_fields(input: &Value, schema: &Value) -> Vec<String> {
    let fields = input
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.keys());
    fields
        .filter(|name| types().all(|value| misfits(schema, &with(input, name, value)).is_empty()))
        .cloned()
        .collect()
}

/// A value of each type.
fn types() -> impl Iterator<Item = Value> {
    [
        json!([[true]]),
        json!({"a": [true]}),
        json!("x"),
        json!(-1.5),
        json!(true),
    ]
    .into_iter()
}

fn with(input: &Value, name: &str, value: Value) -> Value {
    let mut input = input.clone();
    if let Some(members) = input.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    input
}
