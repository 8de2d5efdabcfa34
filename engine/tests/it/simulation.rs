//! Random graphs, driven by seeded chance through failures, losses, cancels and retry plans.
//! `TELECINE_SEEDS` runs more of them; `TELECINE_SEED` runs one again.

use serde_json::{Map, Value, json};
use telecine_engine::definition::Definition;
use telecine_engine::run::RunStatus;
use telecine_testkit::sim::{Random, Report, World};

/// Histories in a usual test run: about three seconds unoptimised.
const SEEDS: u64 = 600;

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

fn seeds() -> std::ops::Range<u64> {
    match number("TELECINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TELECINE_SEEDS").unwrap_or(SEEDS),
    }
}

/// A graph of up to seven steps with fan-outs, conditions and tolerated failures.
fn definition(random: &mut Random) -> Definition {
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

#[test]
fn every_history_ends_and_breaks_no_rule() {
    let mut ends = std::collections::BTreeMap::new();
    for seed in seeds() {
        let report = std::panic::catch_unwind(|| history(seed, 30));
        let Report { status, .. } =
            report.unwrap_or_else(|_| panic!("seed {seed} broke a rule: TELECINE_SEED={seed}"));
        *ends.entry(status.as_str()).or_insert(0) += 1;
    }
    assert!(
        ends.len() > 1 || seeds().count() == 1,
        "histories differ: {ends:?}"
    );
}

#[test]
fn without_trouble_every_run_succeeds_in_one_round() {
    for seed in seeds().take(500) {
        let report = history(seed, 0);
        assert_eq!(
            (report.status, report.rounds),
            (RunStatus::Succeeded, 1),
            "seed {seed}"
        );
    }
}

fn history(seed: u64, trouble: usize) -> Report {
    let mut random = Random::new(seed);
    let definition = definition(&mut random);
    World::new(seed, definition, trouble).run()
}
