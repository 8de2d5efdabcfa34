use telecine_engine::activity::Registry;
use telecine_engine::definition::validate;

use super::*;

/// The activities do not matter to a picture: a stored definition is read without them.
fn graph(steps: &str) -> Graph {
    let text = format!(r#"{{"workflow": "t:x", "version": 1, "steps": {{{steps}}}}}"#);
    let definition = Definition::from_canonical(&text).expect("a definition");
    assert!(validate(&text, &Registry::default()).is_err());
    Graph::new(&definition, false)
}

fn every_sign() -> Graph {
    graph(
        r#""end": {"activity": "a.b@1"},
        "list": {"activity": "a.b@1", "for_each": "steps.end.output.items"},
        "maybe": {"activity": "a.b@1", "when": "steps.end.output.n < 3 && \"a\" != 'b'", "on_failure": "continue"},
        "last": {"activity": "a.b@1", "needs": {"end": "succeeded", "list": "succeeded", "maybe": "any"}}"#,
    )
}

#[test]
fn mermaid_tells_fan_outs_conditions_and_tolerated_failures() {
    assert_eq!(
        mermaid::draw(&every_sign()),
        r##"---
title: "t:x@1"
---
flowchart TD
  s_end["end<br/>a.b@1"]
  s_list[["list<br/>a.b@1<br/>for each of steps.end.output.items"]]
  s_maybe(["maybe<br/>a.b@1<br/>when steps.end.output.n #60; 3 #38;#38; #34;a#34; != 'b'<br/>on failure continue"])
  s_last["last<br/>a.b@1"]
  s_end --> s_list
  s_end --> s_maybe
  s_list --> s_last
  s_maybe -.-> s_last
  style s_maybe stroke-dasharray:5 3
"##
    );
}

#[test]
fn dot_tells_the_same() {
    let text = dot::draw(&every_sign());
    for part in [
        "digraph \"t:x\" {",
        r#""list" [label="list\na.b@1\nfor each of steps.end.output.items", peripheries=2];"#,
        r#"\"a\" != 'b'\non failure continue", style="rounded,filled,dashed"];"#,
        r#""end" -> "list";"#,
        r#""maybe" -> "last" [style=dashed];"#,
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(r#""end" -> "last""#), "{text}");
}

#[test]
fn a_picture_is_the_same_every_time_and_escapes_what_it_shows() {
    let text = svg::draw(&every_sign()).unwrap();
    assert_eq!(text, svg::draw(&every_sign()).unwrap());
    assert!(
        text.contains("when steps.end.output.n &lt; 3 &amp;&amp; &quot;a&quot;"),
        "{text}"
    );
    assert_eq!(
        text.matches("<path class=\"edge").count(),
        5,
        "four edges and the legend"
    );
    assert_eq!(text.matches("class=\"edge any\"").count(), 2);
    // One box each for three steps, three sheets for the fan-out, one in the legend.
    assert_eq!(text.matches("<rect class=\"box").count(), 7);
}

#[test]
fn states_of_a_job_are_written_and_coloured() {
    let mut graph = every_sign();
    for (step, status) in graph.steps.iter_mut().zip([
        StepStatus::Succeeded,
        StepStatus::Running,
        StepStatus::Skipped,
        StepStatus::Pending,
    ]) {
        let items = step.for_each.as_ref().map(|_| 14);
        step.state = Some(State {
            status,
            items,
            settled: 12,
        });
    }
    let (text, picture) = (mermaid::draw(&graph), svg::draw(&graph).unwrap());
    assert!(text.contains("running, 12 of 14\"]]"), "{text}");
    assert!(text.contains("class s_list running"), "{text}");
    assert!(picture.contains(">running, 12 of 14</text>"), "{picture}");
    assert!(picture.contains("fill:#d8f5e0"), "{picture}");
    assert!(dot::draw(&graph).contains("fillcolor=\"#d8f5e0\""));
}

#[test]
fn long_expressions_are_cut() {
    let long = format!("steps.a.output.{}", "é".repeat(80));
    let shown = shortened(&Expr::parse(&format!("'{long}'  !=  'x'")).unwrap());
    assert_eq!(shown.chars().count(), EXPRESSION_CHARS + 1);
    assert!(shown.ends_with('…'));
}
