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
    /// What may be meant so, and is worth a look; each kind once.
    pub notes: Vec<Finding>,
}

/// Something that was tried.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Trial {
    /// What was done to the activity.
    pub name: String,
    /// How long it took.
    pub wall_s: f64,
    /// Whether the moment came for which the trial is named: an activity may end before.
    pub reached: bool,
}

/// Something about an activity that was found.
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

/// Every kind of finding and of note, with what to do about it.
const KINDS: &[(&str, &str)] = &[
    (
        "fails",
        "give the check an input that the activity can work on, or mend the error",
    ),
    (
        "ends_process",
        "return an `ActivityError`; what may abort or crash belongs into a `Tool`",
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
        "input_untyped",
        "let the schema of the input say what it must be, if it is not meant to be free",
    ),
    (
        "output_differs",
        "make the output of everything, also of what earlier attempts made; begin right behind the checkpoint; an encoder whose bytes depend on where it begins is checked with `--bytes-may-differ`",
    ),
    (
        "output_varies",
        "make it depend on the input alone if it can; raise `VERSION` whenever it may become another",
    ),
    (
        "prints",
        "use `ctx.warn`, `ctx.progress` or `eprintln!`: standard output belongs to the program, as in `-o json`",
    ),
    (
        "source_changed",
        "never write to what `ctx.source_file()` names: it is the user's own file",
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
        "put `ctx.attempt_tag()` into the name, or make the bytes depend on the input alone; delete nothing",
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
        "fails_when_mended",
        "take what the checkpoint names, without what `ctx.damaged()` names, and go on from there",
    ),
    (
        "mends_too_much",
        "make only the objects again that `ctx.damaged()` names, or leave `MENDS` as it is",
    ),
    (
        "not_mended",
        "leave the objects out that `ctx.damaged()` names, and make them again under other names",
    ),
    (
        "nothing_to_mend",
        "save a checkpoint that names every object of the output, or leave `MENDS` as it is",
    ),
    (
        "ignores_cancel",
        "return soon after `ctx.cancelled()` resolves; block no thread of the runtime, use `spawn_blocking`",
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
        "start other programs in a `Tool`: with the attempt ends its process, and what that has started",
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
        "bad_source_accepted",
        "look whether the source is what the activity works on; an error of class `input` says that it is not",
    ),
    (
        "processes_unseen",
        "check it on Linux too: without `/proc` nobody sees processes that outlive it",
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
        add_once(&mut self.findings, finding);
    }

    pub(super) fn note(&mut self, note: Finding) {
        add_once(&mut self.notes, note);
    }

    /// A line about a trial.
    pub(super) fn line(&self, trial: &Trial) -> String {
        let wrong = self.findings.iter().any(|found| found.trial == trial.name);
        let verdict = match (wrong, trial.reached) {
            (true, _) => "WRONG",
            (false, true) => "ok",
            (false, false) => "-",
        };
        let tail = if trial.reached { "" } else { "  not reached" };
        let Trial { name, wall_s, .. } = trial;
        format!("  {verdict:<6}{name:<42}{wall_s:>6.1} s{tail}")
    }
}

/// Of each kind, the first.
fn add_once(known: &mut Vec<Finding>, new: Finding) {
    if known.iter().all(|known| known.id != new.id) {
        known.push(new);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.activity)?;
        for trial in &self.trials {
            writeln!(f, "{}", self.line(trial))?;
        }
        let findings = self.findings.iter().map(|finding| ("", finding));
        let notes = self.notes.iter().map(|note| ("note: ", note));
        for (kind, finding) in findings.chain(notes) {
            writeln!(f, "\n{kind}{} ({})", finding.id, finding.trial)?;
            writeln!(f, "  {}\n  {}", finding.message, finding.advice)?;
        }
        match self.findings.len() {
            0 => writeln!(f, "\nnothing is wrong with it"),
            1 => writeln!(f, "\n1 finding"),
            count => writeln!(f, "\n{count} findings"),
        }
    }
}
