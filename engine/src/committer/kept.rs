//! Views of runs as this process left them, so that the next command to a run reads nothing but its
//! revision. They are a memory and no truth: one whose revision is not the store's is thrown away, and
//! so is what was folded in a transaction that was not made.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use indexmap::IndexMap;

use crate::id::RunId;
use crate::machine::View;

/// What all of them may take, in bytes: 4,000 runs with inputs and outputs of a few kilobytes.
const BYTES: usize = 32 << 20;

#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Views>);

#[derive(Debug, Default)]
struct Views {
    of_runs: IndexMap<RunId, Weighed>,
    bytes: usize,
}

#[derive(Debug)]
struct Weighed {
    view: View,
    bytes: usize,
}

impl Kept {
    /// Takes the views of those of the runs that are at the revision that is asked for, and leaves the
    /// others in `runs`.
    pub(super) fn take(&self, runs: &mut BTreeMap<RunId, u64>) -> Vec<View> {
        let mut views = self.views();
        let mut taken = Vec::new();
        runs.retain(|run, revision| match views.remove(run) {
            Some(view) if view.run.revision == *revision => {
                taken.push(view);
                false
            }
            _ => true,
        });
        taken
    }

    /// Keeps views of what was committed.
    pub(super) fn put(&self, committed: impl Iterator<Item = View>) {
        let mut views = self.views();
        for view in committed.filter_map(View::keep) {
            views.put(view);
        }
    }

    fn views(&self) -> MutexGuard<'_, Views> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Views {
    fn remove(&mut self, run: &RunId) -> Option<View> {
        let Weighed { view, bytes } = self.of_runs.swap_remove(run)?;
        self.bytes -= bytes;
        Some(view)
    }

    /// Others make room, the longest kept first as far as that is known.
    fn put(&mut self, view: View) {
        let bytes = view.weight();
        if bytes > BYTES / 16 {
            return;
        }
        self.bytes += bytes;
        let run = view.run.id.clone();
        if let Some(before) = self.of_runs.insert(run, Weighed { view, bytes }) {
            self.bytes -= before.bytes;
        }
        while self.bytes > BYTES
            && let Some((_, oldest)) = self.of_runs.swap_remove_index(0)
        {
            self.bytes -= oldest.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::{DateTime, Utc};
    use serde_json::{Value, json};

    use super::*;
    use crate::definition::Definition;
    use crate::machine::{Command, Facts, decide, plan_run};
    use crate::queue::Queue;
    use crate::run::{Run, RunStatus, StoreUrls};

    /// A run of one step as it is committed when it has begun.
    fn begun(input: Value) -> View {
        let text = r#"{"workflow": "t:x", "version": 1, "steps": {"a": {"activity": "t.a@1"}}}"#;
        let definition = Definition::from_canonical(text).unwrap();
        let at = DateTime::<Utc>::UNIX_EPOCH;
        let run = Run {
            id: RunId::generate(),
            workflow: definition.name.clone(),
            version: 1,
            definition: String::new(),
            status: RunStatus::Queued,
            round: 1,
            revision: 0,
            events: 0,
            input,
            fingerprint: String::new(),
            stores: StoreUrls {
                source: String::new(),
                media: String::new(),
            },
            queue: Queue::Default,
            priority: 0,
            labels: BTreeMap::new(),
            output: None,
            error: None,
            created_at: at,
            started_at: None,
            ended_at: None,
        };
        let new = plan_run(run, &definition, at);
        let mut view = View::created(new, Arc::new(definition));
        decide(&mut view, &Command::Start, &Facts::default()).unwrap();
        view.take_follow_ups();
        let _ = view.flush();
        view
    }

    fn take(kept: &Kept, view: &View, revision: u64) -> Option<View> {
        let mut runs = BTreeMap::from([(view.run.id.clone(), revision)]);
        let taken = kept.take(&mut runs).pop();
        assert_eq!(taken.is_none(), runs.contains_key(&view.run.id));
        taken
    }

    #[test]
    fn a_view_is_given_once_and_at_its_revision_only() {
        let (kept, view) = (Kept::default(), begun(json!({})));
        let revision = view.run.revision;
        kept.put([view.clone()].into_iter());
        assert!(take(&kept, &view, revision).is_some());
        assert!(take(&kept, &view, revision).is_none(), "it was taken");
        kept.put([view.clone()].into_iter());
        assert!(take(&kept, &view, revision + 1).is_none(), "it is stale");
        assert!(take(&kept, &view, revision).is_none(), "and thrown away");
    }

    #[test]
    fn runs_that_stopped_and_what_was_not_written_are_not_kept() {
        let kept = Kept::default();
        let mut stopped = begun(json!({}));
        stopped.run.status = RunStatus::Cancelled;
        let mut unwritten = begun(json!({}));
        let cancel = Command::Cancel {
            by: "a test".to_owned(),
            reason: None,
        };
        decide(&mut unwritten, &cancel, &Facts::default()).unwrap();
        unwritten.run.status = RunStatus::Running;
        for view in [stopped, unwritten] {
            kept.put([view.clone()].into_iter());
            assert!(take(&kept, &view, view.run.revision).is_none());
        }
    }

    #[test]
    fn all_of_them_take_no_more_than_their_share_of_memory() {
        let kept = Kept::default();
        let large = json!({"text": "x".repeat(1 << 20)});
        let views: Vec<View> = (0..64).map(|_| begun(large.clone())).collect();
        kept.put(views.iter().cloned());
        let bytes = kept.views().bytes;
        assert!((BYTES / 2..=BYTES).contains(&bytes), "{bytes}");
        let last = views.last().unwrap();
        assert!(take(&kept, last, last.run.revision).is_some());
        let left: usize = kept.views().of_runs.values().map(|it| it.bytes).sum();
        assert_eq!(kept.views().bytes, left);
    }
}
