//! Views of runs as this process left them, so that the next command to a run reads nothing but its
//! revision, and mostly not even [that](super::assumed). They are a memory and no truth: one whose revision is not the store's is thrown away, and
//! so is what was folded in a transaction that was not made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use indexmap::{IndexMap, IndexSet};

use crate::id::RunId;
use crate::machine::View;

/// What all of them may take, in bytes: 4,000 runs with inputs and outputs of a few kilobytes.
const BYTES: usize = 32 << 20;
/// Runs of which it is remembered that something else changes them too.
const SHARED: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Views>);

#[derive(Debug, Default)]
struct Views {
    of_runs: IndexMap<RunId, Weighed>,
    bytes: usize,
    /// Runs that were not at the revision of their view when they were last locked: other processes change them, or
    /// attempts that write checkpoints.
    shared: IndexSet<RunId>,
    /// Revisions that were assumed where something was not so.
    doubted: IndexMap<RunId, u64>,
}

#[derive(Debug)]
struct Weighed {
    view: View,
    bytes: usize,
}

impl Kept {
    /// The revisions at which the views of runs are; none, if there is one that is not kept, or one that something
    /// else changes too.
    pub(super) fn revisions(&self, runs: &BTreeSet<RunId>) -> Option<BTreeMap<RunId, u64>> {
        let views = self.views();
        let revision = |run: &RunId| {
            let kept = views.of_runs.get(run)?;
            (!views.shared.contains(run)).then(|| (run.clone(), kept.view.run.revision))
        };
        runs.iter().map(revision).collect()
    }

    /// Notes that one of these may not be at its revision. Which it is shows when they are locked.
    pub(super) fn doubt(&self, runs: &BTreeMap<RunId, u64>) {
        let mut views = self.views();
        for (run, revision) in runs {
            views.doubted.insert(run.clone(), *revision);
            if views.doubted.len() > SHARED {
                views.doubted.swap_remove_index(0);
            }
        }
    }

    /// Takes the views of those of the runs that are at the revision that is asked for, and leaves the
    /// others in `runs`.
    pub(super) fn take(&self, runs: &mut BTreeMap<RunId, u64>) -> Vec<View> {
        let mut views = self.views();
        let mut taken = Vec::new();
        runs.retain(|run, revision| {
            let kept = views.remove(run);
            let known = kept.as_ref().map(|view| view.run.revision);
            let known = known.or(views.doubted.swap_remove(run));
            match known {
                Some(known) if known == *revision => views.unshare(run),
                Some(_) => views.share(run),
                None => {}
            }
            let current = kept.filter(|view| view.run.revision == *revision);
            let is_stale = current.is_none();
            taken.extend(current);
            is_stale
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

    fn unshare(&mut self, run: &RunId) {
        self.shared.swap_remove(run);
    }

    fn share(&mut self, run: &RunId) {
        self.shared.insert(run.clone());
        if self.shared.len() > SHARED {
            self.shared.swap_remove_index(0);
        }
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
    fn revisions_are_told_of_runs_that_nobody_else_changes() {
        let (kept, mine, shared) = (Kept::default(), begun(json!({})), begun(json!({})));
        kept.put([mine.clone(), shared.clone()].into_iter());
        let revisions = |views: &[&View]| {
            kept.revisions(&views.iter().map(|view| view.run.id.clone()).collect())
        };
        let both = revisions(&[&mine, &shared]).unwrap();
        assert_eq!(both[&shared.run.id], shared.run.revision);
        assert_eq!(revisions(&[&begun(json!({}))]), None, "it is not kept");
        assert!(take(&kept, &shared, shared.run.revision + 1).is_none());
        kept.put([shared.clone()].into_iter());
        assert_eq!(revisions(&[&mine, &shared]), None);
        assert!(revisions(&[&mine]).is_some());
        assert!(take(&kept, &shared, shared.run.revision).is_some());
        kept.put([shared.clone()].into_iter());
        assert!(
            revisions(&[&mine, &shared]).is_some(),
            "nobody did any more"
        );
    }

    #[test]
    fn of_runs_in_doubt_those_are_shared_that_had_changed() {
        let (kept, mine, shared) = (Kept::default(), begun(json!({})), begun(json!({})));
        let all = || [mine.clone(), shared.clone()].into_iter();
        kept.put(all());
        let id = |view: &View| view.run.id.clone();
        let assumed = kept
            .revisions(&all().map(|view| id(&view)).collect())
            .unwrap();
        let _ = kept.take(&mut assumed.clone());
        kept.doubt(&assumed);
        let mut locked = assumed;
        *locked.get_mut(&shared.run.id).unwrap() += 1;
        assert!(kept.take(&mut locked).is_empty());
        kept.put(all());
        assert!(kept.revisions(&[id(&mine)].into()).is_some());
        assert_eq!(kept.revisions(&[id(&shared)].into()), None);
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
