//! A job for people: what ran, what came out, and what would run again.

use std::fmt::Write as _;

use telecine_engine::retry::plan::Reason;
use telecine_engine::run::{RunStatus, StepStatus};

use super::exit::CliError;
use super::output::{self, Format, number};
use crate::cli::again;
use crate::document::{JobDocument, PlanDocument, PlannedStepDocument, StepDocument, json_name};

/// Prints a job.
pub(super) fn print(format: Format, document: &JobDocument) -> Result<(), CliError> {
    output::print_one(format, document, || text(document))
}

// Writing to a string cannot fail, so the results below are dropped.

fn text(document: &JobDocument) -> String {
    let mut text = format!(
        "{}  {}  {}{}\n",
        document.id,
        document.r#type,
        document.status,
        pace(document)
    );
    if let Some(source) = &document.source {
        let _ = writeln!(text, "source {source}");
    }
    if document.round > 1 {
        let _ = writeln!(text, "round {}", document.round);
    }
    let _ = write!(text, "\n{}", steps(&document.steps));
    if document.steps_total > document.steps.len() {
        let _ = writeln!(text, "... {} steps in all", document.steps_total);
    }
    for warning in &document.warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    if let Some(serde_json::Value::Object(output)) = &document.output {
        let _ = writeln!(text);
        for (name, value) in output.iter().filter(|(_, value)| !value.is_null()) {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    if let Some(error) = document
        .error
        .as_ref()
        .filter(|_| document.status == RunStatus::Cancelled)
    {
        let _ = writeln!(text, "\n{}", error.message);
    } else if let Some(error) = &document.error {
        let step = error
            .step
            .as_ref()
            .map(|step| format!(" in {step}"))
            .unwrap_or_default();
        let _ = writeln!(
            text,
            "\nfailed{step}: {} ({}, {})",
            error.message, error.class, error.code
        );
    }
    if let Some(plan) = &document.retry_plan {
        plan_text(plan, &mut text);
        let _ = writeln!(text, "{}", what_to_do(document, plan));
    }
    text
}

/// How long the job took, or how far it is.
fn pace(document: &JobDocument) -> String {
    match (document.started_at, document.ended_at) {
        (Some(started_at), Some(ended_at)) => {
            let wall = (ended_at - started_at).as_seconds_f64();
            format!(" after {}", output::seconds(wall))
        }
        (Some(_), None) => format!(" at {:.0} %", document.progress.percent),
        (None, _) => String::new(),
    }
}

fn steps(steps: &[StepDocument]) -> String {
    let mut table = output::table(&["step", "status", "attempts", "wall", "cpu", "note"]);
    for step in steps {
        let sum = |of: fn(&crate::document::AttemptDocument) -> Option<f64>| {
            // An empty sum of floats is -0.0.
            step.attempts.iter().filter_map(of).sum::<f64>() + 0.0
        };
        let ran = !step.attempts.is_empty();
        let time = |seconds: f64| {
            if ran {
                output::seconds(seconds)
            } else {
                String::new()
            }
        };
        table.add_row([
            step.id.to_string().into(),
            step.status.as_str().into(),
            number(step.attempts.len()),
            number(time(sum(|attempt| attempt.wall_s))),
            number(time(sum(|attempt| attempt.cpu_s))),
            note(step).into(),
        ]);
    }
    output::lines(&table)
}

/// Why a step is not simply done.
fn note(step: &StepDocument) -> String {
    if step.status == StepStatus::Succeeded {
        return String::new();
    }
    let error = step
        .attempts
        .last()
        .and_then(|attempt| attempt.error.as_ref());
    let code = error.map(|error| error.code.clone());
    step.reason.clone().or(code).unwrap_or_default()
}

fn plan_text(plan: &PlanDocument, text: &mut String) {
    let counts = &plan.summary;
    let _ = writeln!(
        text,
        "\nretry plan: {} kept, {} resumed, {} run again, {} left out, {} blocked",
        counts.reuse, counts.resume, counts.rerun, counts.skip, counts.blocked
    );
    let mut table = output::table(&["step", "action", "reason", "note"]);
    let waits = |step: &&PlannedStepDocument| step.reason == Reason::UpstreamBlocked;
    for step in plan.steps.iter().filter(|step| !waits(step)) {
        table.add_row([
            step.id.to_string(),
            json_name(&step.action),
            json_name(&step.reason),
            planned_note(step),
        ]);
    }
    text.push_str(&output::lines(&table));
    let waiting: Vec<String> = plan
        .steps
        .iter()
        .filter(waits)
        .map(|step| step.id.to_string())
        .collect();
    if !waiting.is_empty() {
        let _ = writeln!(text, "blocked by these: {}", waiting.join(", "));
    }
    if plan.steps_total > plan.steps.len() {
        let _ = writeln!(text, "... {} steps in all", plan.steps_total);
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "{warning}");
    }
}

/// What becomes of a plan, and who does it.
fn what_to_do(document: &JobDocument, plan: &PlanDocument) -> String {
    let error = document.error.as_ref();
    let failed_of = |code: &str| error.is_some_and(|error| error.code == code);
    let in_no_step = error.is_some_and(|error| error.step.is_none());
    match plan.executable {
        true => format!(
            "`{}` tells more, and `{}` executes this plan",
            again::other(&format!("plan show {}", document.id)),
            again::other(&format!("plan execute {}", document.id)),
        ),
        false if in_no_step && failed_of("bad_expression") => {
            "correct the output of the definition or the input, and run it again: that begins a new job".to_owned()
        }
        false => "this plan cannot be executed as it is".to_owned(),
    }
}

/// Where a step goes on, or which steps make it run again.
fn planned_note(step: &PlannedStepDocument) -> String {
    let checkpoint = step.checkpoint.map(|checkpoint| match checkpoint.covers_s {
        Some(span) if span.to_s - span.from_s >= 0.05 => format!(
            "from checkpoint {}, {:.1} to {:.1} s done",
            checkpoint.seq, span.from_s, span.to_s
        ),
        _ => format!("from checkpoint {}", checkpoint.seq),
    });
    let because: Vec<String> = step.because.iter().map(ToString::to_string).collect();
    checkpoint.unwrap_or_else(|| because.join(", "))
}
