//! What is done to an activity, and what is made of what it then does.

mod judge;
mod mutants;
mod outcome;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use telecine_engine::id::RunId;
use telecine_engine::run::{Failure, RunStatus, Snapshot};

use super::processes::{GRACE, can_be_seen};
use super::report::{Finding, Report, Trial};
use super::site::{Act, Limits, Performance, Site, definition_for};
use super::{CheckError, Source, Subject};
use crate::testing::rehearsal::{Moment, Plot, Seen, Twist};
use outcome::{Difference, Outcome};

/// A disturbed attempt gets ten times what an undisturbed one took, and this.
const SLACK: Duration = Duration::from_secs(20);

/// How soon an activity has to return after it was told to stop; the engine waits no longer.
const STOP: Duration = Duration::from_secs(5);

/// How long a drained activity gets to reach its next checkpoint, and one that saves none to end.
const TO_CHECKPOINT: Duration = Duration::from_secs(20);
const WITHOUT_CHECKPOINT: Duration = Duration::from_secs(2);

/// One activity under examination.
pub(super) struct Course<'a> {
    site: &'a Site,
    subject: &'a Subject,
    told: &'a (dyn Fn(&str) + Sync),
    source: Option<Source>,
    /// Whether objects may have other bytes when the run was disturbed.
    bytes_may_differ: bool,
    /// The directory of sources.
    sources: PathBuf,
    input: Value,
    /// How long one process may work.
    limit: Duration,
    /// How many checkpoints an undisturbed attempt saves.
    checkpoints: u32,
    /// What an undisturbed run came to, what another did, and where their outputs differ.
    usual: Option<Outcome>,
    again: Option<Outcome>,
    varying: Vec<Difference>,
    /// Names of which it was given a generation, and of which it has published one.
    allocated: BTreeSet<String>,
    published: BTreeSet<String>,
    /// Whether the moment of the trial that is on has come.
    reached: bool,
    report: Report,
}

impl<'a> Course<'a> {
    /// Of an activity with that input; `told` hears of each trial.
    pub(super) fn new(
        site: &'a Site,
        subject: &'a Subject,
        (input, source): (Value, Option<Source>),
        told: &'a (dyn Fn(&str) + Sync),
    ) -> Self {
        Self {
            site,
            subject,
            told,
            source,
            bytes_may_differ: false,
            sources: site.path("sources"),
            input,
            limit: Duration::ZERO,
            checkpoints: 0,
            usual: None,
            again: None,
            varying: Vec::new(),
            allocated: BTreeSet::new(),
            published: BTreeSet::new(),
            reached: true,
            report: Report {
                activity: subject.title(),
                trials: Vec::new(),
                findings: Vec::new(),
                notes: Vec::new(),
            },
        }
    }

    /// Lets objects have other bytes when the run was disturbed.
    pub(super) fn bytes_may_differ(mut self, may_differ: bool) -> Self {
        self.bytes_may_differ = may_differ;
        self
    }

    /// Checks it; an undisturbed attempt may take so long.
    pub(super) async fn run(mut self, limit: Duration) -> Result<Report, CheckError> {
        self.limit = limit;
        if !can_be_seen() {
            self.note("processes_unseen", "all", "there is no `/proc` here");
        }
        if self.undisturbed().await? {
            self.repeated().await?;
            self.killed().await?;
            self.mended().await?;
            self.cancelled().await?;
            self.drained().await?;
            self.bad_inputs().await?;
            self.bad_sources().await?;
        }
        Ok(self.report)
    }
}

impl Course<'_> {
    /// Runs the activity as it is meant to; whether it makes sense to go on.
    async fn undisturbed(&mut self) -> Result<bool, CheckError> {
        let (name, started) = ("it runs", Instant::now());
        let before = self.site.objects()?;
        if let Err(refused) = definition_for(self.subject, &self.input) {
            let message =
                format!("a workflow with this input is refused as it is written: {refused}");
            self.find("fails", name, &message);
            self.tried(name, started);
            return Ok(false);
        }
        let Some(run) = self.submit(&self.input.clone()).await? else {
            return Ok(false);
        };
        let done = self.perform(name, (&run, None)).await?;
        self.limit = started.elapsed() * 10 + SLACK;
        self.checkpoints = count(&done, &Seen::CheckpointSaved);
        let snapshot = self.site.snapshot(&run).await?;
        self.judge_end(name, "fails", &snapshot);
        self.judge_progress(name, &done);
        self.judge_output(name, &snapshot);
        self.judge_artifacts(name, &snapshot)?;
        self.judge_unlisted(name, &snapshot, &before)?;
        self.judge_leftovers(name, &done)?;
        self.usual = Outcome::of(&snapshot, &[&done]);
        self.tried(name, started);
        Ok(snapshot.run.status == RunStatus::Succeeded)
    }

    async fn repeated(&mut self) -> Result<(), CheckError> {
        let (name, started) = ("it runs again beside its own results", Instant::now());
        let before = self.site.objects()?;
        if let Some(run) = self.submit(&self.input.clone()).await? {
            let done = self.perform(name, (&run, None)).await?;
            let snapshot = self.site.snapshot(&run).await?;
            self.judge_end(name, "fails_again", &snapshot);
            self.judge_overwritten(name, &before)?;
            self.again = Outcome::of(&snapshot, &[&done]);
            self.judge_variation(name);
        }
        self.tried(name, started);
        Ok(())
    }

    /// Kills the process at several moments, and lets another go on.
    async fn killed(&mut self) -> Result<(), CheckError> {
        let mut moments = vec![(Moment::Start, "killed as it starts".to_owned())];
        for n in self.middle_checkpoints() {
            moments.push((
                Moment::Checkpoint(n),
                format!("killed after checkpoint {n}"),
            ));
        }
        moments.push((Moment::End, "killed as it returns".to_owned()));
        for (at, name) in moments {
            let started = Instant::now();
            let plot = Plot {
                at,
                twist: Twist::Hold,
            };
            self.broken_off(&name, plot).await?;
            self.tried(&name, started);
        }
        Ok(())
    }

    /// The first checkpoint, and one in the middle.
    fn middle_checkpoints(&self) -> Vec<u32> {
        let mut numbers = vec![1, self.checkpoints / 2];
        numbers.retain(|n| (1..=self.checkpoints).contains(n));
        numbers.dedup();
        numbers
    }

    /// Breaks an attempt off, lets another go on, and judges both.
    async fn broken_off(&mut self, name: &str, plot: Plot) -> Result<(), CheckError> {
        let Some(run) = self.submit(&self.input.clone()).await? else {
            return Ok(());
        };
        let first = self.perform(name, (&run, Some(plot))).await?;
        if plot.twist == Twist::Hold {
            // Nobody can clear up after itself who was killed.
            self.clear()?;
        }
        let failing = match plot.twist {
            Twist::Drain => "fails_when_drained",
            Twist::Hold | Twist::Cancel => "fails_again",
        };
        if plot.twist == Twist::Drain {
            self.judge_drain(name, &first);
        }
        let between = self.site.snapshot(&run).await?;
        if between.run.status.is_stopped() {
            self.judge_end(name, failing, &between);
            self.judge_outcome(name, Outcome::of(&between, &[&first]));
            return Ok(());
        }
        let before = self.site.objects()?;
        self.judge_artifacts(name, &between)?;
        let second = self.perform(name, (&run, None)).await?;
        let after = self.site.snapshot(&run).await?;
        self.judge_end(name, "fails_when_resumed", &after);
        self.judge_artifacts(name, &after)?;
        self.judge_overwritten(name, &before)?;
        if after.run.status == RunStatus::Succeeded {
            self.judge_resumption(name, &first, &second);
            self.judge_outcome(name, Outcome::of(&after, &[&first, &second]));
        }
        self.judge_leftovers(name, &second)
    }

    /// Takes an object away from a run that has made everything, and lets it make that again.
    async fn mended(&mut self) -> Result<(), CheckError> {
        let (name, started) = ("told that an object is lost", Instant::now());
        if !self.subject.mends {
            return Ok(());
        }
        let Some(run) = self.submit(&self.input.clone()).await? else {
            return Ok(());
        };
        let plot = Plot {
            at: Moment::End,
            twist: Twist::Hold,
        };
        let first = self.perform(name, (&run, Some(plot))).await?;
        self.clear()?;
        let between = self.site.snapshot(&run).await?;
        let made = between.steps.iter().flat_map(|record| &record.artifacts);
        let made: Vec<&str> = made.map(|artifact| artifact.key.as_str()).collect();
        match made.get(made.len() / 2) {
            Some(lost) => self.mends(name, (&run, lost), &first).await?,
            None => {
                let message = "it says that it mends, and its checkpoints name no object";
                self.find("nothing_to_mend", name, message);
            }
        }
        self.tried(name, started);
        Ok(())
    }

    async fn mends(
        &mut self,
        name: &str,
        (run, lost): (&RunId, &str),
        first: &Performance,
    ) -> Result<(), CheckError> {
        self.site.lose(lost)?;
        let before = self.site.objects()?;
        let act = Act {
            run,
            plot: None,
            lost: Some(lost),
        };
        let second = self.act(name, act).await?;
        let after = self.site.snapshot(run).await?;
        self.judge_end(name, "fails_when_mended", &after);
        self.judge_overwritten(name, &before)?;
        self.judge_mending(name, &before, (lost, &after))?;
        if after.run.status == RunStatus::Succeeded {
            self.judge_outcome(name, Outcome::of(&after, &[first, &second]));
        }
        self.judge_leftovers(name, &second)
    }

    async fn cancelled(&mut self) -> Result<(), CheckError> {
        let mut moments = vec![(Moment::Start, "cancelled as it starts")];
        if self.checkpoints > 0 {
            moments.push((Moment::Checkpoint(1), "cancelled after checkpoint 1"));
        }
        for (at, name) in moments {
            let started = Instant::now();
            if let Some(run) = self.submit(&self.input.clone()).await? {
                let plot = Plot {
                    at,
                    twist: Twist::Cancel,
                };
                let done = self.perform(name, (&run, Some(plot))).await?;
                self.judge_cancel(name, &done);
                self.judge_leftovers(name, &done)?;
            }
            self.tried(name, started);
        }
        Ok(())
    }

    async fn drained(&mut self) -> Result<(), CheckError> {
        // It may save one checkpoint more: there have to be two, or nobody sees that it goes on.
        let (at, name) = match self.checkpoints {
            0..=2 => (Moment::Start, "drained as it starts"),
            _ => (Moment::Checkpoint(1), "drained after checkpoint 1"),
        };
        let started = Instant::now();
        let plot = Plot {
            at,
            twist: Twist::Drain,
        };
        self.broken_off(name, plot).await?;
        self.tried(name, started);
        Ok(())
    }

    /// Gives it an input with a field that nobody knows, and looks for fields that may be anything.
    async fn bad_inputs(&mut self) -> Result<(), CheckError> {
        let (name, started) = ("given bad input", Instant::now());
        if let Some(misspelt) = mutants::misspelt(&self.input)
            && let Some(run) = self.submit(&misspelt).await?
        {
            self.perform(name, (&run, None)).await?;
            let snapshot = self.site.snapshot(&run).await?;
            if error_of(&snapshot).is_none_or(|error| error.code != "bad_activity_input") {
                let field = mutants::UNKNOWN;
                let message = format!("it accepted an input with the unknown field `{field}`");
                self.find("unknown_fields_accepted", name, &message);
            }
        }
        for field in mutants::free_fields(&self.input, &self.subject.input_schema) {
            let message = format!("its schema allows anything for `{field}`");
            self.note("input_untyped", name, &message);
        }
        self.clear()?;
        self.tried(name, started);
        Ok(())
    }

    /// Takes its source away, empties it, and puts something else in its place.
    async fn bad_sources(&mut self) -> Result<(), CheckError> {
        let Some(source) = self.source.take() else {
            return Ok(());
        };
        self.sources = self.site.path("bad_sources");
        let file = source.copy.file_name().unwrap_or_default();
        let path = self.sources.join(file);
        for bad in BadSource::ALL {
            let (name, started) = (format!("given {} source", bad.article()), Instant::now());
            bad.put(&source.original, &path)?;
            if let Some(run) = self.submit(&self.input.clone()).await? {
                self.perform(&name, (&run, None)).await?;
                let snapshot = self.site.snapshot(&run).await?;
                self.judge_bad_source(&name, &snapshot);
            }
            self.clear()?;
            self.tried(&name, started);
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), CheckError> {
        for directory in ["tmp", "cwd", "home"] {
            self.site.clear(directory)?;
        }
        Ok(())
    }

    async fn submit(&self, input: &Value) -> Result<Option<RunId>, CheckError> {
        self.site.submit(self.subject, input, &self.sources).await
    }

    /// Lets a process work, and judges what is wrong whatever the trial is about.
    async fn perform(
        &mut self,
        name: &str,
        (run, plot): (&RunId, Option<Plot>),
    ) -> Result<Performance, CheckError> {
        let lost = None;
        self.act(name, Act { run, plot, lost }).await
    }

    async fn act(&mut self, name: &str, act: Act<'_>) -> Result<Performance, CheckError> {
        let Act { run, plot, .. } = act;
        let limits = self.limits(plot);
        let done = self.site.perform(self.subject, act, limits).await?;
        if plot.is_some() {
            self.reached = moment(&done, &Seen::Reached).is_some();
        }
        for (_, seen) in &done.seen {
            match seen {
                Seen::Allocated(name) => self.allocated.insert(name.clone()),
                Seen::Published(name) => self.published.insert(name.clone()),
                _ => continue,
            };
        }
        self.judge_process(name, &done, limits);
        self.judge_codes(name, &done);
        let snapshot = self.site.snapshot(run).await?;
        self.judge_death(name, (&done, plot), &snapshot);
        self.judge_source(name)?;
        Ok(done)
    }

    fn limits(&self, plot: Option<Plot>) -> Limits {
        let grace = match self.checkpoints {
            0 => WITHOUT_CHECKPOINT,
            _ => TO_CHECKPOINT,
        };
        let is_told = plot.is_some_and(|plot| plot.twist != Twist::Hold);
        Limits {
            work: match is_told {
                true => self.limit.max(grace + STOP * 3),
                false => self.limit,
            },
            // Who has left a process behind once needs not be given time to clear up again.
            patience: match self.found("leaves_processes") {
                true => Duration::ZERO,
                false => GRACE,
            },
            grace,
        }
    }

    fn found(&self, id: &str) -> bool {
        let mut findings = self.report.findings.iter();
        findings.any(|finding| finding.id == id)
    }

    /// Whether readers find an object under a name that is published: the next publication replaces
    /// it, so it is nobody's artifact.
    fn is_published(&self, key: &str) -> bool {
        is_below(&self.published, key)
    }

    /// Whether an object may be a claim on a generation, for other databases to see: such are nobody's
    /// artifacts either.
    fn is_claimed(&self, key: &str) -> bool {
        is_below(&self.allocated, key)
    }

    fn find(&mut self, id: &'static str, trial: &str, message: &str) {
        self.report.add(Finding::new(id, trial, message));
    }

    fn note(&mut self, id: &'static str, trial: &str, message: &str) {
        self.report.note(Finding::new(id, trial, message));
    }

    fn tried(&mut self, name: &str, started: Instant) {
        let trial = Trial {
            name: name.to_owned(),
            wall_s: started.elapsed().as_secs_f64(),
            reached: std::mem::replace(&mut self.reached, true),
        };
        (self.told)(&self.report.line(&trial));
        self.report.trials.push(trial);
    }
}

/// What a source is replaced by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BadSource {
    Missing,
    Empty,
    Text,
    Half,
}

impl BadSource {
    const ALL: [Self; 4] = [Self::Missing, Self::Empty, Self::Text, Self::Half];

    fn article(self) -> &'static str {
        match self {
            Self::Missing => "a missing",
            Self::Empty => "an empty",
            Self::Text => "another",
            Self::Half => "half a",
        }
    }

    /// Puts it where the source is expected.
    fn put(self, whole: &Path, at: &Path) -> std::io::Result<()> {
        match self {
            Self::Missing => Ok(()),
            Self::Empty => std::fs::write(at, ""),
            Self::Text => {
                let text = b"this is a text, whatever its name says\n".repeat(64);
                std::fs::write(at, text)
            }
            Self::Half => {
                let size = std::fs::copy(whole, at)?;
                let file = std::fs::OpenOptions::new().write(true).open(at)?;
                file.set_len(size / 2)
            }
        }
    }
}

fn is_below(names: &BTreeSet<String>, key: &str) -> bool {
    let mut names = names.iter();
    names.any(|name| format!("/{key}/").contains(&format!("/{name}/")))
}

fn error_of(snapshot: &Snapshot) -> Option<&Failure> {
    snapshot.steps.first()?.step.error.as_deref()
}

fn count(done: &Performance, wanted: &Seen) -> u32 {
    let matching = done.seen.iter().filter(|(_, seen)| seen == wanted);
    u32::try_from(matching.count()).unwrap_or(u32::MAX)
}

/// When something was seen first.
fn moment(done: &Performance, wanted: &Seen) -> Option<Duration> {
    let found = done.seen.iter().find(|(_, seen)| seen == wanted);
    found.map(|(at, _)| *at)
}

/// How often something was seen after the moment of the plot.
fn after_moment(done: &Performance, wanted: &Seen) -> usize {
    let after = done
        .seen
        .iter()
        .skip_while(|(_, seen)| *seen != Seen::Reached);
    after.filter(|(_, seen)| seen == wanted).count()
}

fn is_snake_case(code: &str) -> bool {
    code.starts_with(|c: char| c.is_ascii_lowercase())
        && code
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
