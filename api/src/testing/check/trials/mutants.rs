use serde_json::{Value, json};
use telecine_engine::definition::misfits;

/// How many inputs are tried: each is a job of its own.
const MOST: usize = 6;

/// An input that an activity has to refuse.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) input: Value,
    /// What it is called when it is accepted.
    pub(super) finding: &'static str,
    pub(super) what: String,
}

/// Inputs with one mistake each: an unknown field, a missing one, one of another type.
pub(super) fn of(input: &Value, schema: &Value) -> Vec<Mutant> {
    let Some(members) = input.as_object() else {
        return Vec::new();
    };
    let mut mutants = vec![Mutant {
        input: with(input, "misspelt_option", json!(1)),
        finding: "unknown_fields_accepted",
        what: "it accepted an input with the unknown field `misspelt_option`".to_owned(),
    }];
    for name in members.keys() {
        let wrong = wrong_types().find(|value| breaks(schema, &with(input, name, value.clone())));
        mutants.push(Mutant {
            // Whatever a schema without rules is given, the activity has no right to complain.
            input: with(
                input,
                name,
                wrong.clone().unwrap_or_else(|| json!([[true]])),
            ),
            finding: "bad_input_accepted",
            what: match wrong {
                Some(_) => format!("it accepted an input whose `{name}` breaks its schema"),
                None => format!("its schema allows anything for `{name}`, and so did it"),
            },
        });
    }
    mutants.truncate(MOST);
    mutants
}

fn wrong_types() -> impl Iterator<Item = Value> {
    [
        json!([[true]]),
        json!({"a": [true]}),
        json!("x"),
        json!(-1.5),
        json!(true),
    ]
    .into_iter()
}

fn breaks(schema: &Value, input: &Value) -> bool {
    !misfits(schema, input).is_empty()
}

fn with(input: &Value, name: &str, value: Value) -> Value {
    let mut input = input.clone();
    if let Some(members) = input.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    input
}
