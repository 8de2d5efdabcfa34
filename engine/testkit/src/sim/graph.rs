use serde_json::{Map, Value, json};
use telecine_engine::definition::Definition;

use super::Random;

/// A graph of up to seven steps with fan-outs, conditions and tolerated failures.
///
/// # Panics
/// If it is none, which is a mistake here.
#[must_use]
pub fn definition(random: &mut Random) -> Definition {
    let mut steps = Map::new();
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    for index in 0..=random.below(names.len()) {
        steps.insert(
            names[index.min(6)].to_owned(),
            step(random, &names[..index.min(6)]),
        );
    }
    let document = json!({
        "workflow": "test:random", "version": 1,
        "input": {"type": "object"},
        "steps": steps,
        "output": {},
    });
    Definition::from_canonical(&document.to_string()).expect("a generated definition is valid")
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
