//! The graph of the steps: no circles, and one order for all.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::StepDef;
use super::diagnostic::Problems;
use super::yaml::Node;

/// Reports every circle of needs once, with its path.
pub(super) fn check_cycles(
    steps: &IndexMap<String, StepDef>,
    root: &Node,
    problems: &mut Problems,
) {
    let mut done = BTreeSet::new();
    for name in steps.keys() {
        if let Some(cycle) = find_cycle(steps, name, &mut done) {
            report(&cycle, root, problems);
        }
    }
}

/// Follows needs from a step, depth first and without recursion, to the first circle.
fn find_cycle<'s>(
    steps: &'s IndexMap<String, StepDef>,
    from: &'s str,
    done: &mut BTreeSet<&'s str>,
) -> Option<Vec<&'s str>> {
    let mut path: Vec<(&str, usize)> = vec![(from, 0)];
    let mut cycle = None;
    while let Some((name, next)) = path.last_mut() {
        let need = steps.get(*name).and_then(|step| step.needs.get(*next));
        *next += 1;
        let Some(need) = need else {
            done.insert(*name);
            path.pop();
            continue;
        };
        let need = need.step.as_str();
        if let Some(start) = path.iter().position(|(name, _)| *name == need) {
            cycle.get_or_insert_with(|| path[start..].iter().map(|(name, _)| *name).collect());
        } else if !done.contains(need) {
            path.push((need, 0));
        }
    }
    cycle
}

fn report(cycle: &[&str], root: &Node, problems: &mut Problems) {
    let mut path: Vec<&str> = cycle.to_vec();
    path.push(cycle[0]);
    let steps = root
        .get("steps")
        .and_then(Node::members)
        .unwrap_or_default();
    let span = steps
        .iter()
        .find(|member| member.name == cycle[0])
        .map_or(0..0, |member| member.name_span.clone());
    let message = match cycle {
        [one] => format!("the step `{one}` needs itself"),
        _ => format!("these steps need each other: {}", path.join(" -> ")),
    };
    problems.add("cycle", &span, message);
}

/// Sorts the steps so that each comes after what it needs; among those that could come next, the
/// first by name does. The order says nothing about the file it came from.
pub(super) fn order(steps: &mut IndexMap<String, StepDef>) {
    let mut waiting: BTreeMap<String, BTreeSet<String>> = steps
        .iter()
        .map(|(name, step)| {
            let needs = step.needs.iter().map(|need| need.step.clone());
            (
                name.clone(),
                needs.filter(|need| steps.contains_key(need)).collect(),
            )
        })
        .collect();
    let mut ready: BTreeSet<String> = BTreeSet::new();
    let mut position = 0;
    loop {
        waiting.retain(|name, needs| {
            let free = needs.is_empty();
            if free {
                ready.insert(name.clone());
            }
            !free
        });
        let Some(next) = ready.pop_first() else {
            return;
        };
        if let Some(from) = steps.get_index_of(&next) {
            steps.move_index(from, position);
            position += 1;
        }
        for needs in waiting.values_mut() {
            needs.remove(&next);
        }
    }
}
