use std::collections::HashMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use telecine_engine::id::StepId;
use telecine_engine::run::RecordedEvent;

use crate::cli::output;

/// Turns events into lines: `  12.3s  encode[1]     succeeded  (attempt 1, 8.1 s)`.
#[derive(Debug)]
pub(super) struct Lines {
    /// Times are counted from here.
    since: DateTime<Utc>,
    /// When each running step was claimed.
    claimed: HashMap<StepId, DateTime<Utc>>,
}

impl Lines {
    /// Lines whose times are counted from now.
    pub(super) fn new() -> Self {
        Self {
            since: Utc::now(),
            claimed: HashMap::new(),
        }
    }

    /// The line of an event. Every event has to be given, in order; those that change no state
    /// have no line, and checkpoints are too many to show.
    pub(super) fn of(&mut self, recorded: &RecordedEvent) -> Option<String> {
        let (kind, data) = (recorded.event.kind.as_str(), &recorded.event.data);
        let step = recorded.event.step.as_ref();
        if let Some(step) = step.filter(|_| kind == "step.claimed") {
            self.claimed.insert(step.clone(), recorded.at);
        }
        let what = what(kind, data)?;
        let subject = step.map_or_else(|| "job".to_owned(), ToString::to_string);
        let took = step.and_then(|step| self.took(step, kind, recorded.at));
        let details: Vec<String> = attempt(data)
            .into_iter()
            .chain(took)
            .chain(why(kind, data))
            .collect();
        let after = (recorded.at - self.since).as_seconds_f64().max(0.0);
        let line = match details.as_slice() {
            [] => format!("{after:>6.1}s  {subject:<12}  {what}"),
            _ => format!(
                "{after:>6.1}s  {subject:<12}  {what}  ({})",
                details.join(", ")
            ),
        };
        Some(line)
    }

    fn took(&mut self, step: &StepId, kind: &str, at: DateTime<Utc>) -> Option<String> {
        let ended = matches!(
            kind,
            "step.succeeded" | "step.failed" | "step.backoff" | "step.released"
        );
        let claimed = self.claimed.get(step).filter(|_| ended)?;
        let took = output::seconds((at - claimed).as_seconds_f64());
        self.claimed.remove(step);
        Some(took)
    }
}

/// What happened, for people.
fn what(kind: &str, data: &Value) -> Option<String> {
    let text = match kind {
        "step.claimed" => "started".to_owned(),
        "step.backoff" => format!(
            "failed, tried again in {}",
            output::seconds(data["after_s"].as_f64().unwrap_or_default())
        ),
        "step.lost" => "lost its worker, ready again".to_owned(),
        "step.released" => "given back".to_owned(),
        "step.checkpoint_dropped" => "goes back to the start".to_owned(),
        "group.opened" if data["items"] == 1 => "1 item".to_owned(),
        "group.opened" => format!("{} items", data["items"]),
        "publication.moved" => format!("published generation {}", data["generation"]),
        "run.reopened" => format!("is tried again, round {}", data["round"]),
        "run.cancel_requested" => {
            format!("cancel requested by {}", data["by"].as_str().unwrap_or("?"))
        }
        "step.checkpoint" | "step.ready" => return None,
        other => other.split_once('.')?.1.replace('_', " "),
    };
    Some(text)
}

fn attempt(data: &Value) -> Option<String> {
    let attempt = data["attempt"].as_u64()?;
    Some(match data["resumed_from"].as_u64() {
        Some(checkpoint) => format!("attempt {attempt}, from checkpoint {checkpoint}"),
        None => format!("attempt {attempt}"),
    })
}

fn why(kind: &str, data: &Value) -> Option<String> {
    let error = &data["error"];
    match (error["message"].as_str(), data["reason"].as_str()) {
        // The step that failed has said so already.
        (Some(_), _) if kind.starts_with("run.") => None,
        (Some(message), _) => Some(format!(
            "{}: {message}",
            error["code"].as_str().unwrap_or_default()
        )),
        (None, reason) => reason.map(str::to_owned).or_else(|| origin(data)),
    }
}

/// The step whose output was taken.
fn origin(data: &Value) -> Option<String> {
    let origin = &data["reused_from"];
    let (job, step) = (origin["job"].as_str()?, origin["step"].as_str()?);
    Some(format!("reused from {step} of {job}"))
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;
    use telecine_engine::run::Event;

    use super::*;

    fn line(lines: &mut Lines, after_ms: i64, kind: &str, data: Value) -> Option<String> {
        let event = Event {
            kind: kind.to_owned(),
            step: Some(StepId::item("encode", 1)),
            data,
        };
        let at = lines.since + TimeDelta::milliseconds(after_ms);
        lines.of(&RecordedEvent { seq: 1, at, event })
    }

    #[test]
    fn an_attempt_is_told_with_its_number_and_its_time() {
        let mut lines = Lines::new();
        assert_eq!(
            line(
                &mut lines,
                4200,
                "step.claimed",
                json!({"attempt": 2, "resumed_from": 7})
            )
            .unwrap(),
            "   4.2s  encode[1]     started  (attempt 2, from checkpoint 7)"
        );
        assert_eq!(
            line(&mut lines, 5000, "step.checkpoint", json!({"attempt": 2})),
            None
        );
        assert_eq!(
            line(&mut lines, 12_300, "step.succeeded", json!({"attempt": 2})).unwrap(),
            "  12.3s  encode[1]     succeeded  (attempt 2, 8.1 s)"
        );
    }

    #[test]
    fn a_failure_is_told_with_its_cause() {
        let mut lines = Lines::new();
        let error = json!({"code": "out_of_memory", "message": "no memory is left"});
        let data = json!({"attempt": 1, "error": error, "after_s": 2.06});
        assert_eq!(
            line(&mut lines, 500, "step.backoff", data).unwrap(),
            "   0.5s  encode[1]     failed, tried again in 2.1 s  \
             (attempt 1, out_of_memory: no memory is left)"
        );
    }
}
