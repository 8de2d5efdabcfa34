//! Shows what happens to a job while it happens: a line per transition, and bars on a terminal.

mod bars;
mod lines;

use std::time::{Duration, Instant};

use telecine_engine::id::RunId;
use telecine_engine::run::RecordedEvent;

use super::Session;
use super::exit::CliError;
use super::jobs;
use super::output::{self, Format};
use crate::app::App;
use bars::Bars;
use lines::Lines;

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
    /// Number of the last event that was shown.
    seen: u64,
    changes: Option<i64>,
    lines: Lines,
    bars: Option<Bars>,
}

impl<'a> Follower<'a> {
    /// Follows a job. What happened to it before is not told in lines again, but `-o jsonl` prints
    /// the whole history.
    pub(super) async fn join(
        app: &'a App,
        job: &'a RunId,
        session: &'a Session,
    ) -> Result<Self, CliError> {
        let console = &session.console;
        let mut follower = Self {
            app,
            job,
            session,
            seen: 0,
            changes: None,
            lines: Lines::new(),
            bars: console.is_interactive().then(|| Bars::new(console.bars())),
        };
        follower.show_events(false).await?;
        Ok(follower)
    }

    /// Shows the job until it stops. May be dropped and called again.
    pub(super) async fn until_stopped(&mut self) -> Result<(), CliError> {
        loop {
            let changes = self.app.store().change_counter().await?;
            if self.changes != Some(changes) {
                if self.show().await? {
                    return Ok(());
                }
                self.changes = Some(changes);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Shows what is new; whether the job has stopped.
    async fn show(&mut self) -> Result<bool, CliError> {
        let run = jobs::header(self.app, self.job).await?;
        self.show_events(true).await?;
        self.draw().await?;
        Ok(run.status.is_stopped())
    }

    async fn show_events(&mut self, live: bool) -> Result<(), CliError> {
        loop {
            let events = self.app.store().events(self.job, self.seen, EVENTS).await?;
            for event in &events {
                self.seen = event.seq;
                self.show_event(event, live)?;
            }
            if events.len() < EVENTS {
                return Ok(());
            }
        }
    }

    fn show_event(&mut self, event: &RecordedEvent, live: bool) -> Result<(), CliError> {
        let jsonl = self.session.format == Format::Jsonl;
        let line = self.lines.of(event).filter(|_| live && !jsonl);
        if let Some(line) = line {
            self.session.console.note(&line);
        }
        if jsonl {
            output::print_one(Format::Jsonl, event, String::new)?;
        }
        Ok(())
    }

    async fn draw(&mut self) -> Result<(), CliError> {
        if let Some(bars) = self.bars.as_mut().filter(|bars| bars.is_rested()) {
            let started = Instant::now();
            let document = jobs::document(self.app, self.job).await?;
            bars.draw(&document, started.elapsed());
        }
        Ok(())
    }
}
