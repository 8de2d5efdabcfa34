use std::fmt;

use serde::Serialize;

/// What the conformance kit found about an activity.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// `area.verb@1`.
    pub activity: String,
    /// What was tried, in order.
    pub trials: Vec<Trial>,
    /// What it got wrong; each kind once.
    pub findings: Vec<Finding>,
}

/// Something that was tried.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Trial {
    /// What was done to the activity.
    pub name: String,
    /// How long it took.
    pub wall_s: f64,
}

/// Something that an activity got wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Stable and `snake_case`; listed in `docs/reference/activity-check.md`.
    pub id: &'static str,
    /// The trial that showed it.
    pub trial: String,
    /// What happened.
    pub message: String,
    /// What to do.
    pub advice: &'static str,
}

/// Every kind of finding, with what to do about it.
const KINDS: &[(&str, &str)] = &[
    (
        "fails",
        "give the check an input that the activity can work on, or mend the error",
    ),
    (
        "hangs",
        "report progress, look at `ctx.cancelled()`, and give everything that waits a limit",
    ),
    (
        "panics",
        "return an `ActivityError` instead; a panic is a bug in the eyes of the engine",
    ),
    (
        "bad_error_code",
        "write codes in snake_case: they are matched by retry rules and programs",
    ),
    (
        "output_breaks_schema",
        "derive `JsonSchema` for what is serialised, with the same serde attributes",
    ),
    (
        "unknown_fields_accepted",
        "write `#[serde(deny_unknown_fields)]` on the input: a misspelt option is an error then",
    ),
    (
        "bad_input_accepted",
        "let the schema of the input say what it must be",
    ),
    (
        "artifact_missing",
        "store the object before it is listed, and never delete it",
    ),
    (
        "artifact_differs",
        "list an object only when its bytes are final, with their own size and SHA-256",
    ),
    (
        "unlisted_object",
        "use `ctx.put_file` or `ctx.put_bytes`, or name the object in a checkpoint: others are swept",
    ),
    (
        "object_overwritten",
        "put `ctx.attempt_tag()` into the name, or make the bytes depend on the input alone",
    ),
    (
        "progress_falls",
        "count work from the start of the attempt, and never downwards",
    ),
    ("bad_percent", "report a percentage from 0 to 100, or none"),
    (
        "fails_again",
        "let the activity find its own traces in the store, or those of another job",
    ),
    (
        "fails_when_resumed",
        "a step may run again after any instruction: begin from the checkpoint and nothing else",
    ),
    (
        "checkpoint_ignored",
        "read `ctx.checkpoint()` before anything else, or save none",
    ),
    ("work_redone", "begin after what the checkpoint covers"),
    (
        "ignores_cancel",
        "return soon after `ctx.cancelled()` resolves, and block no thread of the runtime",
    ),
    (
        "ignores_drain",
        "call `ctx.check_stop()?` after each checkpoint",
    ),
    (
        "fails_when_drained",
        "return `ActivityError::cancelled()` when the worker shuts down",
    ),
    (
        "leaves_processes",
        "run other programs with `ToolHost`, which ends them with the attempt",
    ),
    ("leaves_files", "write to `ctx.scratch()` only"),
    (
        "leaves_scratch",
        "write nothing any more once the attempt has returned",
    ),
    (
        "bad_source_is_a_bug",
        "return an error of class `input` for a source that is missing or broken",
    ),
    (
        "bad_source_is_retried",
        "return an error of class `input`: trying a broken source again cannot help",
    ),
];

impl Finding {
    pub(super) fn new(id: &'static str, trial: &str, message: impl Into<String>) -> Self {
        let advice = KINDS.iter().find(|(kind, _)| *kind == id);
        Self {
            id,
            trial: trial.to_owned(),
            message: message.into(),
            advice: advice.map_or("", |(_, advice)| advice),
        }
    }
}

impl Report {
    /// Whether nothing was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// For tests: panics with the whole report unless it is clean.
    ///
    /// # Panics
    /// If there is a finding.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "\n{self}");
    }

    pub(super) fn add(&mut self, finding: Finding) {
        if self.findings.iter().all(|known| known.id != finding.id) {
            self.findings.push(finding);
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.activity)?;
        for trial in &self.trials {
            let wrong = self.findings.iter().any(|found| found.trial == trial.name);
            let verdict = if wrong { "WRONG" } else { "ok" };
            writeln!(f, "  {verdict:<6}{:<42}{:>6.1} s", trial.name, trial.wall_s)?;
        }
        for finding in &self.findings {
            writeln!(f, "\n{} ({})", finding.id, finding.trial)?;
            writeln!(f, "  {}\n  {}", finding.message, finding.advice)?;
        }
        match self.findings.len() {
            0 => writeln!(f, "\nnothing is wrong with it"),
            1 => writeln!(f, "\n1 finding"),
            count => writeln!(f, "\n{count} findings"),
        }
    }
}
