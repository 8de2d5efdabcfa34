use std::fmt::Write as _;

use super::{Graph, GraphStep, colours, states};

// Writing to a string cannot fail, so the results below are dropped.

/// The graph as a Mermaid flowchart.
pub(super) fn draw(graph: &Graph) -> String {
    let mut text = format!("---\ntitle: \"{}\"\n---\nflowchart TD\n", graph.title());
    for step in &graph.steps {
        let (open, close) = match (&step.for_each, &step.when) {
            (Some(_), _) => ("[[", "]]"),
            (None, Some(_)) => ("([", "])"),
            (None, None) => ("[", "]"),
        };
        let _ = writeln!(text, "  {}{open}\"{}\"{close}", id(step), label(step));
    }
    for edge in &graph.edges {
        let (from, to) = edge.ends;
        let arrow = if edge.any { "-.->" } else { "-->" };
        let (from, to) = (id(&graph.steps[from]), id(&graph.steps[to]));
        let _ = writeln!(text, "  {from} {arrow} {to}");
    }
    classes(graph, &mut text);
    text
}

/// Words such as `end` mean something to Mermaid.
fn id(step: &GraphStep) -> String {
    format!("s_{}", step.name)
}

fn label(step: &GraphStep) -> String {
    let lines = [step.name.clone(), step.activity.clone()];
    let lines: Vec<_> = lines
        .into_iter()
        .chain(step.details())
        .map(|line| escape(&line))
        .collect();
    lines.join("<br/>")
}

/// Mermaid writes a character as `#number;`.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '<' | '>' | '&' | ';' | '`' | '\\' => {
                let _ = write!(escaped, "#{};", u32::from(c));
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

fn classes(graph: &Graph, text: &mut String) {
    let tolerant = graph.steps.iter().filter(|step| step.on_failure != "fail");
    for step in tolerant {
        let _ = writeln!(text, "  style {} stroke-dasharray:5 3", id(step));
    }
    for status in states(graph) {
        let (fill, stroke) = colours(status);
        let in_state = |step: &&GraphStep| step.state.is_some_and(|state| state.status == status);
        let steps: Vec<_> = graph.steps.iter().filter(in_state).map(id).collect();
        let _ = writeln!(
            text,
            "  classDef {status} fill:{fill},stroke:{stroke},color:#1f2328"
        );
        let _ = writeln!(text, "  class {} {status}", steps.join(","));
    }
}
