//! What is done to an activity, and what is made of what it then does.

mod mutants;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use telecine_engine::activity::ErrorClass;
use telecine_engine::definition;
use telecine_engine::id::RunId;
use telecine_engine::run::{Failure, RunStatus, Snapshot};

use super::processes::GRACE;
use super::report::{Finding, Report, Trial};
use super::site::{Objects, Performance, Site, definition_for};
use super::{CheckError, Subject};
use crate::testing::rehearsal::{Moment, Plot, Seen, Twist};

/// A disturbed attempt gets ten times what an undisturbed one took, and this.
const SLACK: Duration = Duration::from_secs(20);

/// How soon an activity has to return after it was told to stop; the engine waits no longer.
const STOP: Duration = Duration::from_secs(5);

/// Checks one activity.
pub(super) async fn run(
    site: &Site,
    subject: &Subject,
    (input, sources): (Value, Option<PathBuf>),
    limit: Duration,
) -> Result<Report, CheckError> {
    let mut course = Course {
        site,
        subject,
        sources: sources.unwrap_or_else(|| site.path("sources")),
        input,
        limit,
        checkpoints: 0,
        published: BTreeSet::new(),
        report: Report {
            activity: subject.title(),
            trials: Vec::new(),
            findings: Vec::new(),
        },
    };
    if course.undisturbed().await? {
        course.repeated().await?;
        course.killed().await?;
        course.cancelled().await?;
        course.drained().await?;
        course.bad_inputs().await?;
        course.bad_sources().await?;
    }
    Ok(course.report)
}

struct Course<'a> {
    site: &'a Site,
    subject: &'a Subject,
    sources: PathBuf,
    input: Value,
    /// How long one process may work.
    limit: Duration,
    /// How many checkpoints an undisturbed attempt saves.
    checkpoints: u32,
    /// Names of which it has published a generation.
    published: BTreeSet<String>,
    report: Report,
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
        // Nobody can clear up after itself who was killed.
        if !done.hung {
            self.judge_leftovers(name)?;
        }
        self.tried(name, started);
        Ok(snapshot.run.status == RunStatus::Succeeded)
    }

    async fn repeated(&mut self) -> Result<(), CheckError> {
        let (name, started) = ("it runs again beside its own results", Instant::now());
        let before = self.site.objects()?;
        if let Some(run) = self.submit(&self.input.clone()).await? {
            self.perform(name, (&run, None)).await?;
            let snapshot = self.site.snapshot(&run).await?;
            self.judge_end(name, "fails_again", &snapshot);
            self.judge_overwritten(name, &before)?;
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
            self.site.clear("tmp")?;
            self.site.clear("cwd")?;
        }
        if plot.twist == Twist::Drain {
            self.judge_drain(name, &first);
        }
        let between = self.site.snapshot(&run).await?;
        if between.run.status.is_stopped() {
            self.judge_end(name, "fails_when_drained", &between);
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
        }
        self.judge_leftovers(name)
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
                let limit = self.limit;
                self.limit = limit.max(STOP * 3);
                let done = self.perform(name, (&run, Some(plot))).await?;
                self.limit = limit;
                self.judge_cancel(name, &done);
                self.judge_leftovers(name)?;
            }
            self.tried(name, started);
        }
        Ok(())
    }

    async fn drained(&mut self) -> Result<(), CheckError> {
        let (at, name) = match self.checkpoints {
            0 => (Moment::Start, "drained as it starts"),
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

    /// Gives it inputs that its schema refuses, and one with a field that nobody knows.
    async fn bad_inputs(&mut self) -> Result<(), CheckError> {
        let (name, started) = ("given bad input", Instant::now());
        for mutant in mutants::of(&self.input, &self.subject.input_schema) {
            let Some(run) = self.submit(&mutant.input).await? else {
                continue;
            };
            self.perform(name, (&run, None)).await?;
            let snapshot = self.site.snapshot(&run).await?;
            let refused = error_of(&snapshot).is_some_and(|e| e.code == "bad_activity_input");
            if !refused {
                self.find(mutant.finding, name, &mutant.what);
            }
        }
        self.site.clear("tmp")?;
        self.site.clear("cwd")?;
        self.tried(name, started);
        Ok(())
    }

    /// Takes its source away, empties it, and puts something else in its place.
    async fn bad_sources(&mut self) -> Result<(), CheckError> {
        let key = self.input.get("source").and_then(Value::as_str);
        let Some(key) = key.filter(|key| self.sources.join(key).is_file()) else {
            return Ok(());
        };
        let (key, whole) = (key.to_owned(), self.sources.join(key));
        let bad = self.site.path("sources");
        for (what, bytes) in bad_sources_of(&whole)? {
            let (name, started) = (format!("given {what} source"), Instant::now());
            let path = bad.join(&key);
            match bytes {
                Some(bytes) => std::fs::write(&path, bytes)?,
                None => drop(std::fs::remove_file(&path)),
            }
            let sources = std::mem::replace(&mut self.sources, bad.clone());
            if let Some(run) = self.submit(&self.input.clone()).await? {
                self.perform(&name, (&run, None)).await?;
                let snapshot = self.site.snapshot(&run).await?;
                self.judge_bad_source(&name, &snapshot);
            }
            self.sources = sources;
            self.tried(&name, started);
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
        act: (&RunId, Option<Plot>),
    ) -> Result<Performance, CheckError> {
        // Who has left a process behind once needs not be given time to clear up again.
        let patience = match self.found("leaves_processes") {
            true => Duration::ZERO,
            false => GRACE,
        };
        let limits = (self.limit, patience);
        let done = self.site.perform(self.subject, act, limits).await?;
        let published = done.seen.iter().filter_map(|(_, seen)| match seen {
            Seen::Published(name) => Some(name.clone()),
            _ => None,
        });
        self.published.extend(published);
        if done.hung {
            let message = format!("it did not end within {} s", self.limit.as_secs());
            self.find("hangs", name, &message);
        }
        if done.survivors > 0 {
            let message = format!("{} processes outlived it", done.survivors);
            self.find("leaves_processes", name, &message);
        }
        let errors = done.seen.iter().filter_map(|(_, seen)| match seen {
            Seen::Returned(error) => error.clone(),
            _ => None,
        });
        for error in errors.collect::<Vec<_>>() {
            if !is_snake_case(&error.code) {
                let message = format!("an error has the code {:?}", error.code);
                self.find("bad_error_code", name, &message);
            }
        }
        let snapshot = self.site.snapshot(act.0).await?;
        let said = self.site.stderr();
        if error_of(&snapshot).is_some_and(|error| error.code == "panic") {
            let panic = said.lines().find(|line| line.contains("panicked at"));
            self.find("panics", name, panic.unwrap_or("it panicked"));
        }
        Ok(done)
    }

    fn found(&self, id: &str) -> bool {
        let mut findings = self.report.findings.iter();
        findings.any(|finding| finding.id == id)
    }

    /// Whether readers find an object under a name that is published: the next publication replaces
    /// it, so it is nobody's artifact.
    fn is_published(&self, key: &str) -> bool {
        let below = |name: &String| format!("/{key}/").contains(&format!("/{name}/"));
        self.published.iter().any(below)
    }

    fn find(&mut self, id: &'static str, trial: &str, message: &str) {
        self.report.add(Finding::new(id, trial, message));
    }

    fn tried(&mut self, name: &str, started: Instant) {
        self.report.trials.push(Trial {
            name: name.to_owned(),
            wall_s: started.elapsed().as_secs_f64(),
        });
    }
}

/// Judgements.
impl Course<'_> {
    fn judge_end(&mut self, name: &str, id: &'static str, snapshot: &Snapshot) {
        if snapshot.run.status == RunStatus::Succeeded {
            return;
        }
        let message = match error_of(snapshot) {
            Some(error) => format!(
                "it failed: {} {}: {}",
                error.class, error.code, error.message
            ),
            None => format!("its job is {}", snapshot.run.status),
        };
        self.find(id, name, &message);
    }

    fn judge_progress(&mut self, name: &str, done: &Performance) {
        for (_, seen) in &done.seen {
            match seen {
                Seen::ProgressFell { from, to } => {
                    let message = format!("the counter of its progress fell from {from} to {to}");
                    self.find("progress_falls", name, &message);
                }
                Seen::BadPercent(percent) => {
                    self.find(
                        "bad_percent",
                        name,
                        &format!("it reported {percent} percent"),
                    );
                }
                _ => {}
            }
        }
    }

    fn judge_output(&mut self, name: &str, snapshot: &Snapshot) {
        let output = snapshot
            .steps
            .first()
            .and_then(|record| record.step.output.clone());
        let Some(output) = output else {
            return;
        };
        let misfits = definition::misfits(&self.subject.output_schema, &output);
        if let Some(misfit) = misfits.first() {
            let place = if misfit.pointer.is_empty() {
                "it"
            } else {
                misfit.pointer.as_str()
            };
            let message = format!("in its output, {place} {}", misfit.message);
            self.find("output_breaks_schema", name, &message);
        }
    }

    /// Every object that is listed is there, as it is listed.
    fn judge_artifacts(&mut self, name: &str, snapshot: &Snapshot) -> Result<(), CheckError> {
        let objects = self.site.objects()?;
        for artifact in snapshot.steps.iter().flat_map(|record| &record.artifacts) {
            let size = std::fs::metadata(self.site.path("media").join(&artifact.key));
            match objects.get(&artifact.key) {
                None => {
                    let message = format!("it listed {}, which is not in the store", artifact.key);
                    self.find("artifact_missing", name, &message);
                }
                Some(digest)
                    if *digest != artifact.sha256
                        || size.is_ok_and(|found| found.len() != artifact.size) =>
                {
                    let message = format!("{} is not what was listed", artifact.key);
                    self.find("artifact_differs", name, &message);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn judge_unlisted(
        &mut self,
        name: &str,
        snapshot: &Snapshot,
        before: &Objects,
    ) -> Result<(), CheckError> {
        let listed: Vec<_> = snapshot
            .steps
            .iter()
            .flat_map(|record| &record.artifacts)
            .collect();
        let unlisted = self.site.objects()?.into_keys().find(|key| {
            let is_listed = listed.iter().any(|artifact| artifact.key == *key);
            !before.contains_key(key) && !is_listed && !self.is_published(key)
        });
        if let Some(key) = unlisted {
            let message = format!("it stored {key} and listed it nowhere");
            self.find("unlisted_object", name, &message);
        }
        Ok(())
    }

    /// Nothing that was there has changed.
    fn judge_overwritten(&mut self, name: &str, before: &Objects) -> Result<(), CheckError> {
        let after = self.site.objects()?;
        let changed = before
            .iter()
            .find(|(key, digest)| after.get(*key) != Some(digest) && !self.is_published(key));
        if let Some((key, _)) = changed {
            let message = format!("{key}, which an earlier attempt had stored, is another now");
            self.find("object_overwritten", name, &message);
        }
        Ok(())
    }

    fn judge_drain(&mut self, name: &str, done: &Performance) {
        let saved = after_moment(done, &Seen::CheckpointSaved);
        if saved > 1 {
            let message = format!("it saved {saved} more checkpoints after its worker shut down");
            self.find("ignores_drain", name, &message);
        }
    }

    fn judge_resumption(&mut self, name: &str, first: &Performance, second: &Performance) {
        if count(first, &Seen::CheckpointSaved) == 0 {
            return;
        }
        if count(second, &Seen::CheckpointRead) == 0 {
            let message = "it had saved a checkpoint, and the next attempt did not ask for it";
            self.find("checkpoint_ignored", name, message);
        } else if self.checkpoints > 1 && count(second, &Seen::CheckpointSaved) >= self.checkpoints
        {
            let message = format!(
                "the next attempt saved {} checkpoints, like one that starts from the beginning",
                count(second, &Seen::CheckpointSaved)
            );
            self.find("work_redone", name, &message);
        }
    }

    fn judge_cancel(&mut self, name: &str, done: &Performance) {
        let told = moment(done, &Seen::Cancelled);
        let returned = done.seen.iter().find_map(|(at, seen)| match seen {
            Seen::Returned(_) => Some(*at),
            _ => None,
        });
        let late = match (told, returned) {
            (Some(told), Some(returned)) => returned.saturating_sub(told) > STOP,
            (Some(_), None) => true,
            (None, returned) => returned.is_none(),
        };
        if late {
            let message = format!("it did not return within {} s after that", STOP.as_secs());
            self.find("ignores_cancel", name, &message);
        }
    }

    fn judge_leftovers(&mut self, name: &str) -> Result<(), CheckError> {
        for (place, id, what) in [
            ("tmp", "leaves_files", "the directory for temporary files"),
            ("cwd", "leaves_files", "the working directory"),
            (
                "scratch/attempts",
                "leaves_scratch",
                "the scratch directory",
            ),
        ] {
            if let Some(left) = self.site.clear(place)? {
                let message = format!("{} stayed behind in {what}", left.display());
                self.find(id, name, &message);
            }
        }
        Ok(())
    }

    fn judge_bad_source(&mut self, name: &str, snapshot: &Snapshot) {
        let Some(error) = error_of(snapshot) else {
            return;
        };
        let message = format!(
            "it failed: {} {}: {}",
            error.class, error.code, error.message
        );
        match error.class {
            ErrorClass::Input | ErrorClass::Config => {}
            ErrorClass::Bug => self.find("bad_source_is_a_bug", name, &message),
            _ => self.find("bad_source_is_retried", name, &message),
        }
    }
}

/// What it is called, and what a source is replaced by; `None` takes it away.
type BadSource = (&'static str, Option<Vec<u8>>);

fn bad_sources_of(whole: &Path) -> std::io::Result<[BadSource; 4]> {
    let mut half = std::fs::read(whole)?;
    half.truncate(half.len() / 2);
    let text = b"this is a text, whatever its name says\n".repeat(64);
    Ok([
        ("a missing", None),
        ("an empty", Some(Vec::new())),
        ("another", Some(text)),
        ("half a", Some(half)),
    ])
}

fn error_of(snapshot: &Snapshot) -> Option<&Failure> {
    snapshot.steps.first()?.step.error.as_ref()
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
