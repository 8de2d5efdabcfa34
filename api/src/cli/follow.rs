//! Shows what happens to a job while it happens: bars on a terminal, a line per transition
//! elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::Utc;
use indicatif::{ProgressBar, ProgressStyle};
use telecine_engine::id::{RunId, StepId};
use telecine_engine::run::{RecordedEvent, Step, StepStatus};

use super::Session;
use super::exit::CliError;
use super::output::{self, Format};
use crate::app::App;
use crate::document::JobProgress;

/// How often the database is looked at for changes.
const LOOK: Duration = Duration::from_millis(200);
/// Events read at a time.
const EVENTS: usize = 1000;

/// Follows one job.
#[derive(Debug)]
pub(super) struct Follower<'a> {
    app: &'a App,
    job: &'a RunId,
    session: &'a Session,
    seen: u64,
    changes: Option<i64>,
    bars: BTreeMap<StepId, ProgressBar>,
    total: Option<ProgressBar>,
}

impl<'a> Follower<'a> {
    /// Follows a job from now on.
    pub(super) fn new(app: &'a App, job: &'a RunId, session: &'a Session) -> Self {
        let (bars, total) = (BTreeMap::new(), None);
        Self {
            app,
            job,
            session,
            seen: 0,
            changes: None,
            bars,
            total,
        }
    }

    /// Shows the job until it stops.
    pub(super) async fn until_stopped(&mut self) -> Result<(), CliError> {
        loop {
            let changes = self.app.store().change_counter().await?;
            if self.changes.replace(changes) != Some(changes) && self.show().await? {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes the bars away.
    pub(super) fn finish(&mut self) {
        for bar in std::mem::take(&mut self.bars)
            .into_values()
            .chain(self.total.take())
        {
            bar.finish_and_clear();
        }
    }

    /// Shows what is new; whether the job has stopped.
    async fn show(&mut self) -> Result<bool, CliError> {
        let run = super::jobs::header(self.app, self.job).await?;
        self.show_events().await?;
        if self.session.console.is_interactive() {
            self.draw().await?;
        }
        Ok(run.status.is_stopped())
    }

    async fn show_events(&mut self) -> Result<(), CliError> {
        loop {
            let events = self.app.store().events(self.job, self.seen, EVENTS).await?;
            for event in &events {
                self.seen = event.seq;
                self.show_event(event)?;
            }
            if events.len() < EVENTS {
                return Ok(());
            }
        }
    }

    fn show_event(&self, event: &RecordedEvent) -> Result<(), CliError> {
        if self.session.format == Format::Jsonl {
            output::print_one(Format::Jsonl, event, String::new)?;
        }
        if !self.session.console.is_interactive()
            && let Some(line) = line(event)
        {
            self.session.console.note(&line);
        }
        Ok(())
    }

    async fn draw(&mut self) -> Result<(), CliError> {
        let sources = super::jobs::sources(self.app, self.job).await?;
        let running = sources.snapshot.steps.iter().map(|record| &record.step);
        let running: Vec<&Step> = running
            .filter(|step| step.status == StepStatus::Running)
            .collect();
        self.bars.retain(|id, bar| {
            let keep = running.iter().any(|step| step.id == *id);
            if !keep {
                bar.finish_and_clear();
            }
            keep
        });
        self.draw_total(&crate::document::JobDocument::complete(&sources).progress);
        for step in running {
            self.draw_step(step);
        }
        Ok(())
    }

    fn draw_total(&mut self, progress: &JobProgress) {
        let bars = self.session.console.bars();
        let total = self.total.get_or_insert_with(|| bars.add(bar("job")));
        total.set_position(progress.percent.round() as u64);
        let left = progress
            .eta_s
            .map(|eta| format!("{} left", output::seconds(eta)));
        total.set_message(left.unwrap_or_default());
    }

    fn draw_step(&mut self, step: &Step) {
        let bars = self.session.console.bars();
        let bar = self
            .bars
            .entry(step.id.clone())
            .or_insert_with(|| bars.add(bar(&step.id.to_string())));
        let progress = step.progress.unwrap_or_default();
        bar.set_position(progress.percent.unwrap_or_default().round() as u64);
        let fps = progress.fps.map(|fps| format!("{fps:.0} fps"));
        let speed = progress.speed.map(|speed| format!("{speed:.1}x"));
        let left = progress
            .eta_s
            .map(|eta| format!("{} left", output::seconds(eta)));
        let parts: Vec<String> = [fps, speed, left].into_iter().flatten().collect();
        bar.set_message(parts.join("  "));
    }
}

impl Drop for Follower<'_> {
    fn drop(&mut self) {
        self.finish();
    }
}

fn bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>12} {bar:30} {pos:>3} %  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(100).with_style(style);
    bar.set_prefix(name.to_owned());
    bar
}

/// One transition as a line: when, what, which step, and why. Checkpoints are too many to show.
fn line(event: &RecordedEvent) -> Option<String> {
    let kind = event.event.kind.as_str();
    if matches!(kind, "step.checkpoint" | "step.ready" | "group.opened") {
        return None;
    }
    let step = event.event.step.as_ref().map(ToString::to_string);
    let (what, subject) = match kind.split_once('.') {
        Some(("step", what)) => (what, step.unwrap_or_default()),
        _ => (kind, String::new()),
    };
    let why = event.event.data["error"]["message"].as_str();
    let why = why
        .or(event.event.data["reason"].as_str())
        .map(|why| format!("  {why}"));
    let time = event.at.with_timezone(&Utc).format("%H:%M:%S%.3f");
    let line = format!("{time}  {subject:<12} {what}{}", why.unwrap_or_default());
    Some(line.trim_end().to_owned())
}
