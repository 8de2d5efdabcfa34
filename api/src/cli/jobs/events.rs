use std::io::{self, ErrorKind, Write as _};
use std::time::Duration;

use serde_json::Value;
use telecine_engine::id::{RunId, StepId};
use telecine_engine::run::RecordedEvent;

use super::header;
use crate::app::App;
use crate::cli::exit::{CliError, Exit};
use crate::cli::output::{self, Format};

/// Events read and printed at a time: a history may have hundreds of thousands.
pub(super) const PAGE: usize = 1000;
/// How often the database is looked at for changes.
const LOOK: Duration = Duration::from_millis(200);
/// Characters of one fact in a table; JSON has all of them.
const FACT_CHARS: usize = 200;

/// Which events of a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Only those with a higher number.
    pub(super) after: u64,
    /// At most so many.
    pub(super) limit: Option<usize>,
    /// Also those to come, until the job stops.
    pub(super) follow: bool,
}

/// Prints the history of a job, page by page.
pub(super) async fn print(
    app: &App,
    job: &RunId,
    wanted: Wanted,
    format: Format,
) -> Result<Exit, CliError> {
    let mut history = History {
        app,
        job,
        after: wanted.after,
        left: wanted.limit.unwrap_or(usize::MAX),
        rows: Rows::new(format),
    };
    let read = history.rows.begin()? && history.until_over(wanted.follow).await?;
    if read {
        history.rows.end()?;
    }
    Ok(Exit::Success)
}

struct History<'a> {
    app: &'a App,
    job: &'a RunId,
    after: u64,
    left: usize,
    rows: Rows,
}

impl History<'_> {
    /// Prints events until there are no more; whether somebody still reads.
    async fn until_over(&mut self, follow: bool) -> Result<bool, CliError> {
        let mut changes = None;
        loop {
            let now = self.app.store().change_counter().await?;
            if changes != Some(now) {
                // Asked before the events are read, so that none of a stopped job is missed.
                let stopped = header(self.app, self.job).await?.status.is_stopped();
                if !self.pages().await? {
                    return Ok(false);
                }
                if stopped || !follow {
                    return Ok(true);
                }
                changes = Some(now);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Prints what is there; whether somebody still reads.
    async fn pages(&mut self) -> Result<bool, CliError> {
        while self.left > 0 {
            let size = self.left.min(PAGE);
            let page = self.app.store().events(self.job, self.after, size).await?;
            let Some(last) = page.last() else { break };
            self.after = last.seq;
            self.left -= page.len();
            if !self.rows.print(&page)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Events on standard output as they come: lines of a table, one JSON array, or JSON lines.
pub(super) struct Rows {
    format: Format,
    printed: usize,
}

impl Rows {
    pub(super) fn new(format: Format) -> Self {
        Self { format, printed: 0 }
    }

    /// Begins; like what follows, it says whether somebody still reads.
    pub(super) fn begin(&self) -> Result<bool, CliError> {
        write(match self.format {
            Format::Table => "   SEQ  TIME                     STEP            EVENT\n",
            Format::Json => "[",
            Format::Jsonl => "",
        })
    }

    pub(super) fn print(&mut self, events: &[RecordedEvent]) -> Result<bool, CliError> {
        let mut text = String::new();
        for event in events {
            match self.format {
                Format::Table => text.push_str(&line(event)),
                Format::Json => {
                    text.push_str(if self.printed == 0 { "\n" } else { ",\n" });
                    text.push_str(&json(event)?);
                }
                Format::Jsonl => text.push_str(&format!("{}\n", json(event)?)),
            }
            self.printed += 1;
        }
        write(&text)
    }

    pub(super) fn end(&self) -> Result<bool, CliError> {
        write(match self.format {
            Format::Json if self.printed > 0 => "\n]\n",
            Format::Json => "]\n",
            Format::Table | Format::Jsonl => "",
        })
    }
}

/// Writes to standard output; `false` if nobody reads any more (`| head`).
fn write(text: &str) -> Result<bool, CliError> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(CliError::failed(format!(
            "cannot write to standard output: {error}"
        ))),
    }
}

fn json(event: &RecordedEvent) -> Result<String, CliError> {
    serde_json::to_string(event)
        .map_err(|e| CliError::failed(format!("cannot write the answer as JSON: {e}")))
}

/// `     7  2026-11-21 07:30:01.250  encode[1]       step.claimed  attempt=1 worker=ses_...`
fn line(recorded: &RecordedEvent) -> String {
    let event = &recorded.event;
    let step = event.step.as_ref().map(StepId::to_string);
    let line = format!(
        "{:>6}  {}  {:<14}  {}  {}",
        recorded.seq,
        recorded.at.format("%Y-%m-%d %H:%M:%S%.3f"),
        step.unwrap_or_default(),
        event.kind,
        facts(&event.data)
    );
    let line = output::printable(line.trim_end()).replace('\n', " ");
    format!("{line}\n")
}

/// The facts of an event: `attempt=1 error=disk_full: the disk is full`.
fn facts(data: &Value) -> String {
    let members = data.as_object().into_iter().flatten();
    let facts = members.filter(|(_, value)| !value.is_null());
    let facts = facts.map(|(name, value)| format!("{name}={}", fact(value)));
    facts.collect::<Vec<_>>().join(" ")
}

fn fact(value: &Value) -> String {
    let text = match (&value["code"], &value["message"], value) {
        (Value::String(code), Value::String(message), _) => format!("{code}: {message}"),
        (_, _, Value::String(text)) => text.clone(),
        _ => value.to_string(),
    };
    match text.char_indices().nth(FACT_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;
    use telecine_engine::run::Event;

    use super::*;

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        let error = json!({"class": "input", "code": "bad", "message": "two\nlines\u{1b}[2J"});
        let recorded = RecordedEvent {
            seq: 7,
            at: DateTime::from_timestamp_millis(1_500).unwrap(),
            event: Event {
                kind: "step.failed".to_owned(),
                step: Some(StepId::item("encode", 1)),
                data: json!({"attempt": 1, "set": null, "error": error}),
            },
        };
        assert_eq!(
            line(&recorded),
            "     7  1970-01-01 00:00:01.500  encode[1]       step.failed  \
             attempt=1 error=bad: two lines [2J\n"
        );
    }
}
