use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use telecine_engine::id::StepId;
use telecine_engine::run::StepStatus;

use crate::cli::output;
use crate::document::{JobDocument, JobProgress, StepDocument, StepProgress};

/// Steps that get a bar: more would push what matters off the terminal.
const MAX_STEPS: usize = 16;
/// Drawing reads the whole job, so it rests for so many times as long as that took: a job of 100,000
/// steps is then drawn every few seconds, and a small one whenever it changes.
const REST: u32 = 10;

/// One bar for each running step, and one for the job.
#[derive(Debug)]
pub(super) struct Bars {
    screen: MultiProgress,
    steps: BTreeMap<StepId, ProgressBar>,
    total: ProgressBar,
    rest_until: Instant,
}

impl Bars {
    /// Bars on a terminal; nothing is drawn yet.
    pub(super) fn new(screen: &MultiProgress) -> Self {
        Self {
            screen: screen.clone(),
            steps: BTreeMap::new(),
            total: screen.add(bar("job")),
            rest_until: Instant::now(),
        }
    }

    /// Whether the job may be read for drawing again.
    pub(super) fn is_rested(&self) -> bool {
        Instant::now() >= self.rest_until
    }

    /// Draws a job that took so long to read.
    pub(super) fn draw(&mut self, job: &JobDocument, took: Duration) {
        self.rest_until = Instant::now() + took * REST;
        let running: Vec<&StepDocument> = job
            .steps
            .iter()
            .filter(|step| step.status == StepStatus::Running)
            .take(MAX_STEPS)
            .collect();
        let gone = |id: &StepId| !running.iter().any(|step| step.id == *id);
        for (_, bar) in self.steps.extract_if(.., |id, _| gone(id)) {
            self.screen.remove(&bar);
        }
        for step in running {
            self.draw_step(step);
        }
        self.draw_total(&job.progress);
    }

    fn draw_step(&mut self, step: &StepDocument) {
        let bar = self.steps.entry(step.id.clone()).or_insert_with(|| {
            let name = step.id.to_string();
            self.screen.insert_before(&self.total, bar(&name))
        });
        if let Some(progress) = &step.progress {
            bar.set_position(progress.percent.unwrap_or_default().round() as u64);
            bar.set_message(pace(progress));
        }
        bar.tick();
    }

    fn draw_total(&self, progress: &JobProgress) {
        self.total.set_position(progress.percent.round() as u64);
        self.total
            .set_message(left(progress.eta_s).unwrap_or_default());
        self.total.tick();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.steps.values().chain([&self.total]) {
            bar.finish_and_clear();
            self.screen.remove(bar);
        }
    }
}

fn pace(progress: &StepProgress) -> String {
    let fps = progress.fps.map(|fps| format!("{fps:.0} fps"));
    let speed = progress.speed.map(|speed| format!("{speed:.1}x"));
    let parts: Vec<String> = [fps, speed, left(progress.eta_s)]
        .into_iter()
        .flatten()
        .collect();
    parts.join("  ")
}

fn left(eta_s: Option<f64>) -> Option<String> {
    eta_s.map(|eta_s| format!("{} left", output::seconds(eta_s)))
}

fn bar(name: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:<12} {bar:30} {pos:>3} %  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(100)
        .with_style(style)
        .with_prefix(name.to_owned())
}
