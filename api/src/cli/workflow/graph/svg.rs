use std::fmt::Write as _;

use super::layout::{Placed, Point, Size, place};
use super::{Edge, Graph, GraphStep, colours, states};

/// Space around the picture.
const MARGIN: f64 = 24.0;
/// Height of the title.
const TITLE: f64 = 34.0;
/// Height of a line of text.
const LINE: f64 = 17.0;
/// Space between a box and its text.
const PADDING: f64 = 10.0;
/// Width of a character of 12 px. A monospace font, because its widths are known here: 0.6 em in
/// the common ones.
const CHARACTER: f64 = 7.25;
/// Characters of a line, where it can be broken.
const LINE_CHARS: usize = 30;
/// How far the sheets behind a fan-out stand out.
const SHEET: f64 = 5.0;
/// Width of an entry of the legend.
const ENTRY: f64 = 96.0;

const STYLE: &str = "text{font:12px 'DejaVu Sans Mono',Menlo,Consolas,monospace;fill:#57606a}\
.name{font-weight:bold;font-size:13px;fill:#1f2328}.title{font-weight:bold;font-size:15px;fill:#1f2328}\
.box{fill:#fff;stroke:#57606a;stroke-width:1.4}.tolerant{stroke-dasharray:5 3}\
.edge{fill:none;stroke:#8c959f;stroke-width:1.4}.any{stroke-dasharray:4 4}";

// Writing to a string cannot fail, so the results below are dropped.

/// The graph as a picture of its own; `None` if it is too large.
pub(super) fn draw(graph: &Graph) -> Option<String> {
    let texts: Vec<Vec<String>> = graph.steps.iter().map(lines).collect();
    let sizes: Vec<Size> = texts.iter().map(|lines| size(lines)).collect();
    let places: Vec<Size> = graph
        .steps
        .iter()
        .zip(&sizes)
        .map(|(step, size)| with_sheets(step, *size))
        .collect();
    let ends: Vec<_> = graph.edges.iter().map(|edge| edge.ends).collect();
    let placed = place(&places, &ends)?;
    let legend = legend(graph);
    let width = [
        placed.size.width,
        legend.width,
        measure(&graph.title()) * 1.3,
    ]
    .into_iter()
    .fold(0.0, f64::max);
    let inset = (width - placed.size.width) / 2.0;
    let mut text = head(graph, width, placed.size.height + legend.height);
    let _ = writeln!(
        text,
        r#"<g transform="translate({} {})">"#,
        number(MARGIN + inset),
        number(MARGIN + TITLE)
    );
    for (edge, points) in graph.edges.iter().zip(&placed.edges) {
        text.push_str(&arrow(edge, points));
    }
    for (at, step) in graph.steps.iter().enumerate() {
        text.push_str(&boxed(step, &texts[at], (placed.boxes[at], sizes[at])));
    }
    text.push_str("</g>\n");
    text.push_str(&legend.at(&placed));
    text.push_str("</svg>\n");
    Some(text)
}

fn head(graph: &Graph, width: f64, height: f64) -> String {
    let (width, height) = (width + 2.0 * MARGIN, height + 2.0 * MARGIN + TITLE);
    let title = escape(&graph.title());
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" role="img">
<title>{title}</title>
<style>{STYLE}</style>
<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#8c959f"/></marker></defs>
<rect width="{w}" height="{h}" fill="#ffffff"/>
<text class="title" x="{x}" y="{y}">{title}</text>
"##,
        w = number(width),
        h = number(height),
        x = number(MARGIN),
        y = number(MARGIN + 14.0),
    )
}

/// What is written in a box.
fn lines(step: &GraphStep) -> Vec<String> {
    let name = [step.name.clone(), step.activity.clone()];
    let details = step.details();
    let wrapped = details.iter().flat_map(|detail| wrapped(detail));
    name.into_iter().chain(wrapped).collect()
}

/// A detail as lines of about [`LINE_CHARS`], broken at blanks.
fn wrapped(detail: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in detail.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < LINE_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            // Blanks that begin a line are not drawn, but these are.
            Some(_) => lines.push(format!("\u{a0}\u{a0}{word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

fn size(lines: &[String]) -> Size {
    let widest = lines.iter().map(|line| measure(line)).fold(0.0, f64::max);
    Size {
        width: (widest * 1.05).max(110.0) + 2.0 * PADDING,
        height: lines.len() as f64 * LINE + 1.4 * PADDING,
    }
}

/// The place that a box takes with the sheets that stand out behind it, above and to its right.
fn with_sheets(step: &GraphStep, size: Size) -> Size {
    let out = if step.for_each.is_some() {
        2.0 * SHEET
    } else {
        0.0
    };
    Size {
        width: size.width + out,
        height: size.height + out,
    }
}

fn measure(text: &str) -> f64 {
    text.chars().count() as f64 * CHARACTER
}

/// A box with its text; a fan-out looks like several boxes behind each other.
fn boxed(step: &GraphStep, lines: &[String], (corner, size): (Point, Size)) -> String {
    let mut text = format!("<g><title>{}</title>\n", escape(&whole(step)));
    let corner = Point {
        y: corner.y + with_sheets(step, size).height - size.height,
        ..corner
    };
    let style = step.state.map_or_else(String::new, |state| {
        let (fill, stroke) = colours(state.status);
        format!(r#" style="fill:{fill};stroke:{stroke}""#)
    });
    let tolerant = if step.on_failure == "fail" {
        ""
    } else {
        " tolerant"
    };
    let sheets: &[f64] = if step.for_each.is_some() {
        &[2.0, 1.0, 0.0]
    } else {
        &[0.0]
    };
    for sheet in sheets {
        let _ = writeln!(
            text,
            r#"<rect class="box{tolerant}"{style} x="{}" y="{}" width="{}" height="{}" rx="7"/>"#,
            number(corner.x + sheet * SHEET),
            number(corner.y - sheet * SHEET),
            number(size.width),
            number(size.height)
        );
    }
    for (at, line) in lines.iter().enumerate() {
        let class = if at == 0 { r#" class="name""# } else { "" };
        let _ = writeln!(
            text,
            r#"<text{class} x="{}" y="{}">{}</text>"#,
            number(corner.x + PADDING),
            number(corner.y + PADDING * 0.4 + LINE * (at as f64 + 0.9)),
            escape(line)
        );
    }
    text.push_str("</g>\n");
    text
}

/// What a pointer on a box shows: the expressions in full.
fn whole(step: &GraphStep) -> String {
    let mut lines = vec![step.name.clone()];
    lines.extend(
        step.for_each
            .as_ref()
            .map(|list| format!("for each of {}", list.text())),
    );
    lines.extend(
        step.when
            .as_ref()
            .map(|condition| format!("when {}", condition.text())),
    );
    lines.join("\n")
}

/// An edge: straight down through layers, curved between them.
fn arrow(edge: &Edge, points: &[Point]) -> String {
    let mut path = String::new();
    for (at, point) in points.iter().enumerate() {
        let (x, y) = (number(point.x), number(point.y));
        if at == 0 {
            let _ = write!(path, "M{x} {y}");
        } else if at % 2 == 1 {
            // A line of no length would turn the arrow.
            if *point != points[at - 1] {
                let _ = write!(path, "L{x} {y}");
            }
        } else {
            let from = points[at - 1];
            let middle = number(f64::midpoint(from.y, point.y));
            let _ = write!(path, "C{} {middle} {x} {middle} {x} {y}", number(from.x));
        }
    }
    let any = if edge.any { " any" } else { "" };
    format!(
        "<path class=\"edge{any}\" d=\"{path}\" marker-end=\"url(#arrow)\"><title>{} to {}</title></path>\n",
        edge.from, edge.to
    )
}

/// What signs of a picture mean, as far as they are in it.
struct Legend {
    entries: Vec<(String, String)>,
    width: f64,
    height: f64,
}

fn legend(graph: &Graph) -> Legend {
    let mut entries = Vec::new();
    for status in states(graph) {
        let (fill, stroke) = colours(status);
        let style = format!(r#" style="fill:{fill};stroke:{stroke}""#);
        entries.push((format!(r#"<rect class="box"{style} "#), status.to_string()));
    }
    if graph.steps.iter().any(|step| step.on_failure != "fail") {
        let swatch = r#"<rect class="box tolerant" "#.to_owned();
        entries.push((swatch, "its failure fails nothing else".to_owned()));
    }
    if graph.edges.iter().any(|edge| edge.any) {
        let text = "runs also after a step that was skipped".to_owned();
        entries.push((String::new(), text));
    }
    let widths = entries.iter().map(|(_, text)| entry_width(text));
    Legend {
        width: widths.sum(),
        height: if entries.is_empty() { 0.0 } else { 2.0 * LINE },
        entries,
    }
}

fn entry_width(text: &str) -> f64 {
    (measure(text) + 48.0).max(ENTRY)
}

impl Legend {
    fn at(&self, placed: &Placed) -> String {
        let y = MARGIN + TITLE + placed.size.height + self.height;
        let mut x = MARGIN;
        let mut text = String::new();
        for (swatch, meaning) in &self.entries {
            let (left, top) = (number(x), number(y - 11.0));
            if swatch.is_empty() {
                let (right, middle) = (number(x + 22.0), number(y - 4.0));
                let _ = writeln!(
                    text,
                    r#"<path class="edge any" d="M{left} {middle}H{right}" marker-end="url(#arrow)"/>"#
                );
            } else {
                let _ = writeln!(
                    text,
                    r#"{swatch}x="{left}" y="{top}" width="22" height="14" rx="4"/>"#
                );
            }
            let _ = writeln!(
                text,
                r#"<text x="{}" y="{}">{}</text>"#,
                number(x + 29.0),
                number(y),
                escape(meaning)
            );
            x += entry_width(meaning);
        }
        text
    }
}

/// A length with one decimal at most: the same on every machine.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push('\n'),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}
