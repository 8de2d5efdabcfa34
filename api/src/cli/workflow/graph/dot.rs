use std::fmt::Write as _;

use super::{Graph, GraphStep, colours};

// Writing to a string cannot fail, so the results below are dropped.

/// The graph in the language of Graphviz.
pub(super) fn draw(graph: &Graph) -> String {
    let mut text = format!(
        "digraph {} {{\n  label={};\n  labelloc=t;\n  \
         node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"];\n",
        quoted(&graph.workflow),
        quoted(&graph.title())
    );
    for step in &graph.steps {
        let _ = writeln!(text, "  {} [{}];", quoted(&step.name), attributes(step));
    }
    for edge in &graph.edges {
        let style = if edge.any { " [style=dashed]" } else { "" };
        let _ = writeln!(
            text,
            "  {} -> {}{style};",
            quoted(&edge.from),
            quoted(&edge.to)
        );
    }
    text.push_str("}\n");
    text
}

fn attributes(step: &GraphStep) -> String {
    let lines = [step.name.clone(), step.activity.clone()];
    let lines: Vec<_> = lines.into_iter().chain(step.details()).collect();
    let mut attributes = format!("label={}", quoted(&lines.join("\n")));
    if step.for_each.is_some() {
        attributes.push_str(", peripheries=2");
    }
    if step.on_failure != "fail" {
        attributes.push_str(", style=\"rounded,filled,dashed\"");
    }
    if let Some(state) = step.state {
        let (fill, stroke) = colours(state.status);
        let _ = write!(attributes, ", fillcolor=\"{fill}\", color=\"{stroke}\"");
    }
    attributes
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    let text = text.replace('\n', "\\n");
    format!("\"{}\"", text.replace(char::is_control, " "))
}
