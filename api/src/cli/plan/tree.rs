//! A retry plan for people: a tree with colours on a terminal, a line per step elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};

use clap::builder::styling::{AnsiColor, Effects, Style};
use telecine_engine::retry::adoption::{Change, DefinitionChanges};
use telecine_engine::retry::plan::{Action, PlannedStep, RetryPlan};

use crate::cli::output::{self, printable};
use crate::document::json_name;

/// Groups of one fan-out that are shown; whoever wants all asks for JSON.
const GROUPS_SHOWN: usize = 50;
/// Causes that are named of a step that has many.
const CAUSES_SHOWN: usize = 3;
/// Characters of a note: a message may have thousands.
const NOTE_CHARS: usize = 160;

/// How a plan is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// With branches, and a fan-out as a branch of its own.
    pub(super) tree: bool,
    /// Actions in colours.
    pub(super) colours: bool,
}

impl Look {
    /// As standard output takes it.
    pub(super) fn of_stdout() -> Self {
        let tree = io::stdout().is_terminal();
        Self {
            tree,
            colours: output::colours(tree),
        }
    }
}

/// The steps of a plan, those of a fan-out that do the same in one line: `encode[0..40]`.
pub(super) fn steps(planned: &[PlannedStep], look: Look) -> String {
    let nodes: Vec<_> = planned
        .chunk_by(|a, b| a.id.node == b.id.node)
        .map(groups)
        .collect();
    let mut rows = Vec::new();
    for (at, groups) in nodes.iter().enumerate() {
        let branch = Branch {
            is_last: at + 1 == nodes.len(),
            drawn: look.tree,
        };
        rows.extend(rows_of(groups, branch));
    }
    draw(&rows, look)
}

/// Steps of one node that do the same for the same reason, one behind the other.
#[derive(Debug)]
struct Group<'a> {
    steps: &'a [PlannedStep],
    note: String,
}

impl Group<'_> {
    /// `package`, `encode[3]`, `encode[0..40]`.
    fn name(&self) -> String {
        let items = self.steps.first().zip(self.steps.last());
        match items.and_then(|(first, last)| Some((first.id.item?, last.id.item?, first))) {
            Some((from, to, first)) if from < to => format!("{}[{from}..{to}]", first.id.node),
            _ => self
                .steps
                .first()
                .map(|it| it.id.to_string())
                .unwrap_or_default(),
        }
    }
}

fn groups(node: &[PlannedStep]) -> Vec<Group<'_>> {
    let does = |step: &PlannedStep| (step.action, step.reason);
    let follows = |a: &PlannedStep, b: &PlannedStep| b.id.item == a.id.item.map(|item| item + 1);
    let alike = |a: &PlannedStep, b: &PlannedStep| {
        does(a) == does(b) && follows(a, b) && note(a) == note(b)
    };
    let groups = node.chunk_by(alike).map(|steps| Group {
        steps,
        note: steps.first().map(note).unwrap_or_default(),
    });
    groups.collect()
}

/// Where in the tree a node hangs.
#[derive(Debug, Clone, Copy)]
struct Branch {
    is_last: bool,
    drawn: bool,
}

impl Branch {
    fn lead(self) -> &'static str {
        match self {
            Self { drawn: false, .. } => "",
            Self { is_last: true, .. } => "└─ ",
            Self { is_last: false, .. } => "├─ ",
        }
    }

    /// What goes on before the branches of this one.
    fn trunk(self) -> &'static str {
        match self {
            Self { drawn: false, .. } => "",
            Self { is_last: true, .. } => "   ",
            Self { is_last: false, .. } => "│  ",
        }
    }
}

/// A line of the tree.
#[derive(Debug)]
struct Row {
    lead: String,
    /// `None` for what has its actions below.
    action: Option<Action>,
    name: String,
    reason: String,
    note: String,
}

impl Row {
    fn of(lead: String, group: &Group<'_>) -> Self {
        let first = group.steps.first();
        Self {
            lead,
            action: first.map(|step| step.action),
            name: group.name(),
            reason: first
                .map(|step| json_name(&step.reason))
                .unwrap_or_default(),
            note: group.note.clone(),
        }
    }

    /// A line that only says something.
    fn saying(lead: String, name: String, note: String) -> Self {
        Self {
            lead,
            action: None,
            name,
            reason: String::new(),
            note,
        }
    }
}

fn rows_of(groups: &[Group<'_>], branch: Branch) -> Vec<Row> {
    if let [only] = groups {
        return vec![Row::of(branch.lead().to_owned(), only)];
    }
    let mut rows = Vec::new();
    if branch.drawn {
        let steps: usize = groups.iter().map(|group| group.steps.len()).sum();
        let node = groups.first().and_then(|group| group.steps.first());
        let node = node.map(|step| step.id.node.clone()).unwrap_or_default();
        rows.push(Row::saying(
            branch.lead().to_owned(),
            node,
            format!("{steps} steps"),
        ));
    }
    let left_out = groups.len().saturating_sub(GROUPS_SHOWN);
    let shown = groups.len() - left_out;
    for (at, group) in groups.iter().take(shown).enumerate() {
        let inner = Branch {
            is_last: left_out == 0 && at + 1 == shown,
            ..branch
        };
        rows.push(Row::of(
            format!("{}{}", branch.trunk(), inner.lead()),
            group,
        ));
    }
    if left_out > 0 {
        let inner = Branch {
            is_last: true,
            ..branch
        };
        let rest = groups.iter().skip(shown).map(|group| group.steps.len());
        let rest: usize = rest.sum();
        let lead = format!("{}{}", branch.trunk(), inner.lead());
        rows.push(Row::saying(lead, format!("... {rest} more"), String::new()));
    }
    rows
}

/// What another definition does to the steps, a line for each.
pub(super) fn changes(changes: &DefinitionChanges) -> String {
    let mut text = format!("goes on with {}\n", changes.definition);
    for step in &changes.steps {
        let parts: Vec<_> = step.parts.iter().map(json_name).collect();
        let note = match (step.change, step.objects) {
            (Change::Changed, _) => format!("  {}", parts.join(", ")),
            (Change::Removed, objects @ 1..) => {
                format!("  its {objects} objects are not needed any more")
            }
            _ => String::new(),
        };
        let _ = writeln!(text, "  {:7}  {}{note}", json_name(&step.change), step.step);
    }
    if !changes.input.is_empty() {
        let _ = writeln!(
            text,
            "  input    {}: set by its defaults",
            changes.input.join(", ")
        );
    }
    text
}

/// Lines with their columns one below the other.
fn draw(rows: &[Row], look: Look) -> String {
    let width = |of: fn(&Row) -> usize| rows.iter().map(of).max().unwrap_or_default();
    let chars = |text: &str| text.chars().count();
    let action_width = width(|row| row.action.map_or(0, |action| json_name(&action).len()));
    let name_width = width(|row| row.lead.chars().count() + row.name.chars().count());
    let reason_width = width(|row| row.reason.chars().count());
    let mut text = String::new();
    for row in rows {
        let action = row.action.map(|it| json_name(&it)).unwrap_or_default();
        let style = row
            .action
            .filter(|_| look.colours)
            .map(style)
            .unwrap_or_default();
        let pad = action_width - chars(&action);
        let (on, off) = (style.render(), style.render_reset());
        let reason_pad = reason_width - chars(&row.reason);
        // The action is behind the branches and before the names, which are of one width together.
        let line = match row.action {
            Some(_) => {
                let name_pad = name_width - chars(&row.lead) - chars(&row.name);
                format!(
                    "{}{on}{action}{off}{:pad$}  {}{:name_pad$}  {}{:reason_pad$}  {}",
                    row.lead, "", row.name, "", row.reason, "", row.note
                )
            }
            None => format!("{}{}  {}", row.lead, row.name, row.note),
        };
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

fn style(action: Action) -> Style {
    match action {
        Action::Reuse => AnsiColor::Green.on_default(),
        Action::Resume => AnsiColor::Cyan.on_default(),
        Action::Rerun => AnsiColor::Yellow.on_default(),
        Action::Skip => Style::new().effects(Effects::DIMMED),
        Action::Blocked => AnsiColor::Red.on_default().effects(Effects::BOLD),
    }
}

/// What else is to be said of a step, in one line.
fn note(step: &PlannedStep) -> String {
    let checkpoint = step.checkpoint.filter(|_| step.damaged.is_empty());
    let mut parts = Vec::new();
    parts.extend(made_again(&step.damaged));
    parts.extend(checkpoint.as_ref().map(from_checkpoint));
    parts.extend(step.why.clone());
    let error = step.error.as_ref();
    parts.extend(error.map(|error| format!("{}: {}", error.code, error.message)));
    parts.extend(causes(step).map(|causes| format!("after {causes}")));
    one_line(&parts.join("; "))
}

/// What is lost and made again, and nothing else.
fn made_again(damaged: &[String]) -> Option<String> {
    match damaged {
        [] => None,
        [only] => Some(format!("makes {only} again")),
        more => Some(format!("makes {} objects again", more.len())),
    }
}

/// Where a step goes on.
pub(super) fn from_checkpoint(checkpoint: &telecine_engine::run::CheckpointHead) -> String {
    match checkpoint.covers_s {
        Some(span) if span.to_s - span.from_s >= 0.05 => format!(
            "from checkpoint {}, {:.1} to {:.1} s done",
            checkpoint.seq, span.from_s, span.to_s
        ),
        _ => format!("from checkpoint {}", checkpoint.seq),
    }
}

/// The steps that are the cause.
fn causes(step: &PlannedStep) -> Option<String> {
    let named = step
        .because
        .iter()
        .take(CAUSES_SHOWN)
        .map(ToString::to_string);
    let named: Vec<_> = named.collect();
    let more = match step.because.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!named.is_empty()).then(|| format!("{}{more}", named.join(", ")))
}

/// A text that may come from a media file, made fit for one line of a table.
pub(super) fn one_line(text: &str) -> String {
    let text = line(text);
    match text.chars().count() > NOTE_CHARS {
        true => text.chars().take(NOTE_CHARS).chain("...".chars()).collect(),
        false => text,
    }
}

/// The same for a line of its own: it ends with what to do.
pub(super) fn line(text: &str) -> String {
    let text = text.replace('\n', " ");
    printable(&text).into_owned()
}

/// What a plan comes to, in a sentence.
pub(super) fn summary(plan: &RetryPlan) -> String {
    let counts = &plan.summary;
    let mut text = format!(
        "{} kept, {} resumed, {} run again, {} left out, {} blocked",
        counts.reuse, counts.resume, counts.rerun, counts.skip, counts.blocked
    );
    if counts.saved.wall_s > 0.0 {
        let _ = write!(text, "; saves {}", output::seconds(counts.saved.wall_s));
    }
    if let Some(estimate) = &counts.estimate {
        let (half, most) = (estimate.wall_s.p50, estimate.wall_s.p90);
        let (half, most) = (output::seconds(half), output::seconds(most));
        let _ = write!(
            text,
            "; takes about {half}, nine times in ten less than {most}"
        );
        let _ = match estimate.basis.unknown {
            0 => Ok(()),
            1 => write!(text, ", and one step of which nothing is known"),
            more => write!(text, ", and {more} steps of which nothing is known"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn planned(steps: Value) -> Vec<PlannedStep> {
        serde_json::from_value(steps).expect("planned steps")
    }

    /// A fan-out of 42 chunks, of which the last but one failed.
    fn fan_out() -> Vec<PlannedStep> {
        let mut steps = vec![json!({"id": "probe", "action": "reuse", "reason": "succeeded"})];
        steps.extend((0..42).map(|item| {
            let id = format!("encode[{item}]");
            match item {
                40 => json!({
                    "id": id, "action": "resume", "reason": "failed_retryable",
                    "error": {"class": "resource", "code": "out_of_memory", "message": "no\n\u{1b}[2J", "step": null},
                    "checkpoint": {"seq": 61, "attempt": 3, "covers_s": [0.0, 366.0]},
                }),
                _ => json!({"id": id, "action": "reuse", "reason": "succeeded"}),
            }
        }));
        steps.push(json!({
            "id": "package", "action": "rerun", "reason": "upstream_changed",
            "because": ["encode[40]", "a", "b", "c"],
        }));
        planned(json!(steps))
    }

    #[test]
    fn elsewhere_than_on_a_terminal_each_group_is_a_plain_line() {
        let look = Look {
            tree: false,
            colours: false,
        };
        let expected = "\
reuse   probe          succeeded
reuse   encode[0..39]  succeeded
resume  encode[40]     failed_retryable  from checkpoint 61, 0.0 to 366.0 s done; out_of_memory: no  [2J
reuse   encode[41]     succeeded
rerun   package        upstream_changed  after encode[40], a, b and 1 more
";
        assert_eq!(steps(&fan_out(), look), expected);
    }

    #[test]
    fn on_a_terminal_a_fan_out_is_a_branch_and_actions_have_colours() {
        let look = Look {
            tree: true,
            colours: false,
        };
        let drawn = steps(&fan_out(), look);
        let expected = "\
├─ reuse   probe             succeeded
├─ encode  42 steps
│  ├─ reuse   encode[0..39]  succeeded
│  ├─ resume  encode[40]     failed_retryable  from checkpoint 61, 0.0 to 366.0 s done; out_of_memory: no  [2J
│  └─ reuse   encode[41]     succeeded
└─ rerun   package           upstream_changed  after encode[40], a, b and 1 more
";
        assert_eq!(drawn, expected);
        let coloured = steps(
            &fan_out(),
            Look {
                colours: true,
                ..look
            },
        );
        assert!(
            coloured.contains("├─ \u{1b}[32mreuse\u{1b}[0m   probe"),
            "{coloured}"
        );
        assert!(
            !coloured.contains("[2J\u{1b}") && !coloured.contains("\u{1b}[2J"),
            "{coloured}"
        );
    }

    #[test]
    fn a_long_fan_out_is_cut_short() {
        let steps_of = (0..1000).map(|item| {
            let action = if item % 2 == 0 { "rerun" } else { "reuse" };
            json!({"id": format!("e[{item}]"), "action": action, "reason": "succeeded"})
        });
        let planned = planned(steps_of.collect());
        let look = Look {
            tree: true,
            colours: false,
        };
        let drawn = steps(&planned, look);
        assert_eq!(drawn.lines().count(), GROUPS_SHOWN + 2);
        assert!(drawn.ends_with("   └─ ... 950 more\n"), "{drawn}");
    }
}
