use serde_json::{Map, Value, json};
use telecine_engine::definition::Definition;

use super::Random;

/// A graph of up to seven steps with fan-outs, conditions and tolerated failures.
///
/// # Panics
/// If it is none, which is a mistake here.
#[must_use]
pub fn definition(random: &mut Random) -> Definition {
    let document = document(random);
    Definition::from_canonical(&document.to_string()).expect("a generated definition is valid")
}

/// The same with steps that read the source, and outputs of earlier steps.
///
/// # Panics
/// If it is none, which is a mistake here.
#[must_use]
pub fn definition_with_inputs(random: &mut Random) -> Definition {
    let mut document = document(random);
    let steps = document["steps"].as_object_mut().expect("steps");
    for step in steps.values_mut() {
        let mut with = json!({"size": 1});
        if random.chance(50) {
            with["source"] = json!("${{ input.source }}");
        }
        step["with"] = with;
    }
    document["input"] = json!({"type": "object", "properties": {"source": {"type": "string"}}});
    document["output"] = output(random, document["steps"].as_object().expect("steps"));
    Definition::from_canonical(&document.to_string()).expect("a generated definition is valid")
}

/// Another version of a definition: steps that go, come, or are written otherwise.
///
/// # Panics
/// If it is none, which is a mistake here.
#[must_use]
pub fn redefined(random: &mut Random, before: &Definition) -> Definition {
    let mut document: Value =
        serde_json::from_str(&before.canonical()).expect("a canonical form is JSON");
    document["version"] = json!(before.version + 1);
    let steps = document["steps"].as_object_mut().expect("steps");
    let names: Vec<String> = steps.keys().cloned().collect();
    for name in &names {
        if random.chance(12) && steps.len() > 1 {
            steps.remove(name);
            for step in steps.values_mut() {
                let needs = step.get_mut("needs").and_then(Value::as_object_mut);
                needs.map(|needs| needs.remove(name));
            }
        } else if random.chance(40) {
            rewrite(random, &mut steps[name]);
        }
    }
    for n in 0..random.below(3) {
        let known: Vec<String> = steps.keys().cloned().collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let mut new = step(random, &known);
        new["with"] = json!({"size": 1});
        steps.insert(format!("v{}_{n}", before.version + 1), new);
    }
    let output = output(random, steps);
    document["output"] = output;
    if random.chance(10) {
        document["input"]["properties"]["size"] = json!({"type": "integer", "default": 7});
    }
    Definition::from_canonical(&document.to_string()).expect("a generated definition is valid")
}

/// An output that reads some of the steps, each in a member of its own that the step is the name of: as it
/// can be read of one that has no output, or as it cannot.
fn output(random: &mut Random, steps: &Map<String, Value>) -> Value {
    let mut output = Map::new();
    for (name, step) in steps {
        let path = format!("steps.{name}.output");
        let text = match (random.below(8), step.get("for_each").is_some()) {
            (0, false) => format!("${{{{ {path}.list }}}}"),
            (1, false) => format!("${{{{ has({path}.list) ? size({path}.list) : 0 }}}}"),
            (2, false) => format!("${{{{ {path} }}}}"),
            (0, true) => format!("${{{{ size({path}) }}}}"),
            (1, true) => format!("${{{{ {path} == null ? 0 : size({path}) }}}}"),
            (2, true) => format!("${{{{ {path}.map(item, item.list) }}}}"),
            _ => continue,
        };
        output.insert(name.clone(), json!(text));
    }
    Value::Object(output)
}

/// Writes a step otherwise.
fn rewrite(random: &mut Random, step: &mut Value) {
    match random.below(8) {
        0 => step["activity"] = json!("test.step@2"),
        1 => step["with"]["size"] = json!(1 + random.below(2)),
        2 => step["with"]["source"] = json!("${{ input.source }}"),
        3 => step["when"] = json!(if random.chance(50) { "true" } else { "false" }),
        4 => step["on_failure"] = json!(["fail", "continue", "hold"][random.below(3)]),
        5 => step["needs"] = json!({}),
        6 => step["retry"]["max_attempts"] = json!(1 + random.below(4)),
        _ if step.get("for_each").is_some() => {
            step["for_each"] =
                json!(["[1, 2]", "[1, 2, 3]", "[]", "[1, 2, 3].filter(x, x > 0)"][random.below(4)]);
        }
        // The same in other words.
        _ => step["with"]["size"] = json!("${{ 2 - 1 }}"),
    }
}

fn document(random: &mut Random) -> Value {
    let mut steps = Map::new();
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    for index in 0..=random.below(names.len()) {
        steps.insert(
            names[index.min(6)].to_owned(),
            step(random, &names[..index.min(6)]),
        );
    }
    json!({
        "workflow": "test:random", "version": 1,
        "input": {"type": "object"},
        "steps": steps,
        "output": {},
    })
}

fn step(random: &mut Random, earlier: &[&str]) -> Value {
    let mut step = json!({"activity": "test.step@1"});
    let needs: Vec<&str> = earlier
        .iter()
        .filter(|_| random.chance(35))
        .copied()
        .collect();
    let any: Map<String, Value> = needs
        .iter()
        .map(|need| ((*need).to_owned(), json!("any")))
        .collect();
    if random.chance(50) {
        step["needs"] = json!(any);
    } else {
        step["needs"] = json!(needs);
    }
    if random.chance(30) {
        step["for_each"] = json!("[1, 2, 3].filter(x, x > 0)");
    } else if random.chance(10) {
        step["for_each"] = json!("[]");
    }
    if random.chance(15) {
        step["when"] = json!(if random.chance(50) { "true" } else { "false" });
    }
    step["on_failure"] = json!(["fail", "continue", "hold"][random.below(3)]);
    step["retry"] = json!({"max_attempts": 1 + random.below(3)});
    step
}
