use std::collections::BTreeSet;
use std::time::Duration;

use telecine_engine::activity::ErrorClass;
use telecine_engine::definition;
use telecine_engine::run::{RunStatus, Snapshot};
use telecine_engine::worker::ATTEMPTS;

use super::super::site::{Limits, Objects, Performance};
use super::super::{CheckError, Source};
use super::outcome::{Difference, Outcome, objects_in};
use super::{Course, STOP, after_moment, count, error_of, is_snake_case, moment};
use crate::testing::rehearsal::{Plot, Seen, Twist};

/// How long an attempt takes at most to learn that its run was cancelled: the engine looks every two
/// seconds.
const ARRIVES: Duration = Duration::from_secs(3);

impl Course<'_> {
    pub(super) fn judge_end(&mut self, name: &str, id: &'static str, snapshot: &Snapshot) {
        let is_explained = self.found("ends_process") && !snapshot.run.status.is_stopped();
        if snapshot.run.status == RunStatus::Succeeded || is_explained {
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

    pub(super) fn judge_progress(&mut self, name: &str, done: &Performance) {
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

    pub(super) fn judge_output(&mut self, name: &str, snapshot: &Snapshot) {
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
    pub(super) fn judge_artifacts(
        &mut self,
        name: &str,
        snapshot: &Snapshot,
    ) -> Result<(), CheckError> {
        let given: BTreeSet<_> = objects_in(&self.input).into_iter().map(|o| o.key).collect();
        let output = snapshot
            .steps
            .first()
            .and_then(|record| record.step.output.as_ref());
        let told = output.map(objects_in).unwrap_or_default();
        let told = told
            .into_iter()
            .filter(|object| !given.contains(&object.key));
        let listed = snapshot.steps.iter().flat_map(|record| &record.artifacts);
        let there = self.site.objects()?;
        let said = told.map(|object| ("its output names", object));
        for (who, object) in listed
            .map(|object| ("it listed", object.artifact.clone()))
            .chain(said)
        {
            let key = &object.key;
            match there.get(key) {
                None => {
                    let message = format!("{who} {key}, which is not in the store");
                    self.find("artifact_missing", name, &message);
                }
                Some(found) if (found.size, &found.sha256) != (object.size, &object.sha256) => {
                    let message = format!("{who} {key}, which has another size or other bytes");
                    self.find("artifact_differs", name, &message);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// One object was made again, and the output names no other that is not there.
    pub(super) fn judge_mending(
        &mut self,
        name: &str,
        before: &Objects,
        (lost, snapshot): (&str, &Snapshot),
    ) -> Result<(), CheckError> {
        let there = self.site.objects()?;
        let again = there.keys().filter(|key| !before.contains_key(*key));
        let again = again.filter(|key| !self.is_published(key) && !self.is_claimed(key));
        let count = again.count();
        if count > 1 {
            let message = format!("{lost} was lost, and it made {count} objects again");
            self.find("mends_too_much", name, &message);
        }
        let output = snapshot.steps.first();
        let output = output.and_then(|record| record.step.output.as_ref());
        let named = output.map(objects_in).unwrap_or_default();
        if named
            .iter()
            .any(|object| object.key == lost && !there.contains_key(lost))
        {
            let message = format!("its output still names {lost}, which is not in the store");
            self.find("not_mended", name, &message);
        }
        Ok(())
    }

    pub(super) fn judge_unlisted(
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
            !before.contains_key(key)
                && !is_listed
                && !self.is_published(key)
                && !self.is_claimed(key)
        });
        if let Some(key) = unlisted {
            let message = format!("it stored {key} and listed it nowhere");
            self.find("unlisted_object", name, &message);
        }
        Ok(())
    }

    /// Nothing that was there has changed.
    pub(super) fn judge_overwritten(
        &mut self,
        name: &str,
        before: &Objects,
    ) -> Result<(), CheckError> {
        let after = self.site.objects()?;
        let changed = before
            .iter()
            .find(|(key, object)| after.get(*key) != Some(object) && !self.is_published(key));
        if let Some((key, _)) = changed {
            let now = if after.contains_key(key) {
                "is another"
            } else {
                "is gone"
            };
            let message = format!("{key}, which an earlier attempt had stored, {now} now");
            self.find("object_overwritten", name, &message);
        }
        Ok(())
    }

    pub(super) fn judge_drain(&mut self, name: &str, done: &Performance) {
        let saved = after_moment(done, &Seen::CheckpointSaved);
        let limit = self.limits(None).grace + STOP;
        if saved > 1 {
            let message = format!("it saved {saved} more checkpoints after its worker shut down");
            self.find("ignores_drain", name, &message);
        } else if let Some(told) = moment(done, &Seen::Reached)
            && is_late(done, told, limit)
        {
            let message = format!("it did not return within {} s after that", limit.as_secs());
            self.find("ignores_drain", name, &message);
        }
    }

    pub(super) fn judge_resumption(
        &mut self,
        name: &str,
        first: &Performance,
        second: &Performance,
    ) {
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

    pub(super) fn judge_cancel(&mut self, name: &str, done: &Performance) {
        // Who keeps a whole process from hearing of it is told when the news is due.
        let due = moment(done, &Seen::Reached).map(|reached| reached + ARRIVES);
        let told = moment(done, &Seen::Cancelled).or(due);
        if told.is_some_and(|told| is_late(done, told, STOP)) {
            let message = format!("it did not return within {} s after that", STOP.as_secs());
            self.find("ignores_cancel", name, &message);
        }
    }

    /// What it wrote where nobody should. Nobody can clear up after itself who was killed.
    pub(super) fn judge_leftovers(
        &mut self,
        name: &str,
        done: &Performance,
    ) -> Result<(), CheckError> {
        let attempts = format!("scratch/{ATTEMPTS}");
        let was_killed = done.hung || self.found("ends_process");
        for (place, id, what) in [
            ("tmp", "leaves_files", "the directory for temporary files"),
            ("cwd", "leaves_files", "the working directory"),
            ("home", "leaves_files", "the home directory"),
            (&attempts, "leaves_scratch", "the scratch directory"),
        ] {
            let left = self.site.clear(place)?;
            if let Some(left) = left.filter(|_| !was_killed) {
                let message = format!("{} stayed behind in {what}", left.display());
                self.find(id, name, &message);
            }
        }
        Ok(())
    }

    /// What is wrong with a process whatever its attempt came to.
    pub(super) fn judge_process(&mut self, name: &str, done: &Performance, limits: Limits) {
        if done.hung {
            let message = format!("it did not end within {} s", limits.work.as_secs());
            self.find("hangs", name, &message);
        }
        if done.survivors > 0 {
            let message = format!("{} processes outlived it", done.survivors);
            self.find("leaves_processes", name, &message);
        }
        if let Some(line) = &done.printed {
            self.find("prints", name, &format!("it printed {line:?}"));
        }
    }

    pub(super) fn judge_codes(&mut self, name: &str, done: &Performance) {
        let errors = done.seen.iter().filter_map(|(_, seen)| match seen {
            Seen::Returned(Some(error)) if !is_snake_case(&error.code) => Some(&error.code),
            _ => None,
        });
        for code in errors {
            self.find(
                "bad_error_code",
                name,
                &format!("an error has the code {code:?}"),
            );
        }
    }

    /// An attempt that panicked, or took its process with it.
    pub(super) fn judge_death(
        &mut self,
        name: &str,
        (done, plot): (&Performance, Option<Plot>),
        snapshot: &Snapshot,
    ) {
        if let Some(error) = error_of(snapshot).filter(|error| error.code == "panic") {
            let said = self.site.stderr();
            let place = said.lines().find(|line| line.contains("panicked at"));
            let message = match place.and_then(|line| line.split("panicked at ").nth(1)) {
                Some(place) => format!("{}, at {}", error.message, place.trim_end_matches(':')),
                None => error.message.clone(),
            };
            return self.find("panics", name, &message);
        }
        let is_held = plot.is_some_and(|plot| plot.twist == Twist::Hold) && self.reached;
        let is_over = |seen: &Seen| matches!(seen, Seen::Returned(_) | Seen::Abandoned);
        let began = done
            .seen
            .iter()
            .any(|(_, seen)| matches!(seen, Seen::Began(_)));
        if began && !is_held && !done.hung && !done.seen.iter().any(|(_, seen)| is_over(seen)) {
            let message = format!("its process ended during the attempt: {}", done.status);
            self.find("ends_process", name, &message);
        }
    }

    /// Its source is as it was.
    pub(super) fn judge_source(&mut self, name: &str) -> Result<(), CheckError> {
        let mended = self.source.as_mut().map(Source::mend).transpose()?;
        if let Some(what) = mended.flatten() {
            self.find("source_changed", name, what);
        }
        Ok(())
    }

    /// Two undisturbed runs came to the same.
    pub(super) fn judge_variation(&mut self, name: &str) {
        if let (Some(usual), Some(again)) = (&self.usual, &self.again) {
            self.varying = again.differences(usual);
        }
        // Of generations, each run has its own.
        let allocates = !self.allocated.is_empty();
        if let Some(first) = self.varying.first().filter(|_| !allocates) {
            let message = format!("with the same input, {}", first.told());
            self.note("output_varies", name, &message);
        }
    }

    /// A disturbed run came to the same as one that was not disturbed.
    pub(super) fn judge_outcome(&mut self, name: &str, outcome: Option<Outcome>) {
        let known = self.usual.clone().zip(self.again.as_ref());
        let (Some(mut outcome), Some((mut usual, again))) = (outcome, known) else {
            return;
        };
        if self.bytes_may_differ {
            (outcome, usual) = (outcome.without_bytes(), usual.without_bytes());
        }
        let is_new = |found: &Difference| !self.varying.iter().any(|place| found.is_within(place));
        let message = match outcome.differences(&usual).into_iter().find(is_new) {
            Some(difference) => Some(format!("it succeeded, but {}", difference.told())),
            None => outcome
                .unlisted(&usual, again)
                .map(|key| format!("it succeeded, but {key} is not among the objects of its step")),
        };
        if let Some(message) = message {
            self.find("output_differs", name, &message);
        }
    }

    pub(super) fn judge_bad_source(&mut self, name: &str, snapshot: &Snapshot) {
        let Some(error) = error_of(snapshot) else {
            if snapshot.run.status == RunStatus::Succeeded {
                self.note("bad_source_accepted", name, "it succeeded all the same");
            }
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

/// Whether the activity was still at work so long after it was told to stop.
fn is_late(done: &Performance, told: Duration, limit: Duration) -> bool {
    let returned = done.seen.iter().find_map(|(at, seen)| match seen {
        Seen::Returned(_) => Some(*at),
        _ => None,
    });
    let was_given_up = done.hung || moment(done, &Seen::Abandoned).is_some();
    returned.map_or(was_given_up, |returned| {
        returned.saturating_sub(told) > limit
    })
}
