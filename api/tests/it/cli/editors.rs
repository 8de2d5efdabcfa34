//! The schema that editors complete and check definitions by.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::LOOK;
use crate::product::Workplace;
use crate::repository::{files, read, relative};

const ADDRESS: &str = "https://telecine.invalid/editor";

/// The schema as the program prints it, compiled by a validator.
struct Editor {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Editor {
    fn new(schema: Value) -> Self {
        let mut compiler = boon::Compiler::new();
        compiler.add_resource(ADDRESS, schema).expect("a schema");
        let mut schemas = boon::Schemas::new();
        let index = compiler.compile(ADDRESS, &mut schemas).expect("a schema");
        Self { schemas, index }
    }

    fn complaint(&self, definition: &str) -> Option<String> {
        let file = json(definition);
        let result = self.schemas.validate(&file, self.index);
        result.err().map(|error| error.to_string())
    }
}

/// A YAML document as JSON, read the way editors read it.
fn json(text: &str) -> Value {
    let mut events = Parser::new_from_str(text).map(|event| event.expect("YAML").0);
    loop {
        let event = events.next().expect("a document");
        if !matches!(event, Event::StreamStart | Event::DocumentStart(_)) {
            return value(event, &mut events);
        }
    }
}

fn value<'t>(event: Event<'t>, events: &mut impl Iterator<Item = Event<'t>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => {
            serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text.into_owned()))
        }
        Event::Scalar(text, ..) => Value::from(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match events.next().expect("the end of a list") {
                    Event::SequenceEnd => return Value::Array(items),
                    item => items.push(value(item, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut members = Map::new();
            loop {
                let name = match events.next().expect("the end of a map") {
                    Event::MappingEnd => return Value::Object(members),
                    Event::Scalar(name, ..) => name.into_owned(),
                    other => panic!("{other:?} is no name"),
                };
                let member = events.next().expect("a member");
                members.insert(name, value(member, events));
            }
        }
        other => panic!("{other:?} in a definition"),
    }
}

#[test]
fn editors_accept_every_definition_that_comes_with_telecine() {
    let answer = Workplace::new().call(&["workflow", "schema"]);
    assert_eq!(answer.code, Some(0), "{answer:#?}");
    let schema = answer.json();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let activities = &schema["$defs"]["step"]["properties"]["activity"]["enum"];
    let named = activities.as_array().expect("names");
    assert!(named.contains(&Value::from("video.encode@1")), "{named:?}");

    let editor = Editor::new(schema);
    let mut seen = 0;
    for file in files("yaml") {
        let name = relative(&file);
        if name.starts_with("workflows/definitions/") {
            assert_eq!(editor.complaint(&read(&file)), None, "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} definitions were found");
}

#[test]
fn editors_find_mistakes_while_they_are_made() {
    let editor = Editor::new(Workplace::new().call(&["workflow", "schema"]).json());
    assert_eq!(editor.complaint(LOOK), None);
    for (right, wrong) in [
        ("version: 1", "versoin: 1"),
        ("media.probe@1", "media.prob@1"),
        ("with: {source:", "with: {sorce:"),
        ("'${{ input.source }}'}", "5}"),
        (
            "    activity: media.probe@1\n    with:",
            "    activity: media.probe@1\n    timeout: {attempt: soon}\n    with:",
        ),
        ("required: [source]", "required: source"),
    ] {
        let text = LOOK.replacen(right, wrong, 1);
        assert_ne!(text, LOOK, "{right}");
        assert!(editor.complaint(&text).is_some(), "{wrong}");
    }
}
