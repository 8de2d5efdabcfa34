//! Pages of runs: which are looked at for one, and where the next begins.

use chrono::{DateTime, TimeDelta, Utc};

use crate::id::RunId;
use crate::run::{Run, RunStatus};

/// Runs that are looked at for one page at most. A filter that nearly nothing fits is answered with a
/// short page, or an empty one, after some 20 ms instead of reading all runs that there are.
pub const RUNS_LOOKED_AT: usize = 10_000;

/// By how much the clock of whoever made a run's id may differ from that of the database, which says when the run was
/// created.
const CLOCKS_APART: TimeDelta = TimeDelta::days(1);

/// Sorts behind every id.
const NEWEST: &str = "~";

/// Filter of [`Store::list_runs`](super::Store::list_runs), newest first.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Only this state.
    pub status: Option<RunStatus>,
    /// Only this workflow.
    pub workflow: Option<String>,
    /// Only runs with this label.
    pub label: Option<(String, String)>,
    /// Only runs whose input or output says that this is the identity of their media.
    pub hash: Option<String>,
    /// Only runs that were submitted later.
    pub created_after: Option<DateTime<Utc>>,
    /// Only runs older than this id.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: usize,
}

/// Runs of a list, newest first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunPage {
    /// Those that fit.
    pub runs: Vec<Run>,
    /// Runs older than this one are in the next page; `None` if there are no more. Where few runs fit, a
    /// page may have fewer runs than were asked for, or none, although there is a next one.
    pub before: Option<RunId>,
}

/// How the runs are found that a filter may let through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Path {
    /// All of them.
    All,
    /// Those of a workflow.
    Workflow(String),
    /// Those with a tag: see [`RunFilter::tags`].
    Tag(String),
}

impl RunFilter {
    /// What the runs are tagged with that fit: `=hash` and `name=value`. Names of labels have no `=`.
    #[must_use]
    pub fn tags(&self) -> Vec<String> {
        let hash = self.hash.iter().map(|hash| format!("={hash}"));
        let label = self.label.iter();
        hash.chain(label.map(|(name, value)| format!("{name}={value}")))
            .collect()
    }

    /// The way with the fewest runs on it. A run that stopped without success is tagged with its state.
    #[must_use]
    pub fn path(&self) -> Path {
        let status = self.status.filter(|status| {
            matches!(
                status,
                RunStatus::Held | RunStatus::Failed | RunStatus::Cancelled
            )
        });
        let status = status.map(|status| status.as_str().to_owned());
        let tag = self.tags().into_iter().next().or(status);
        match (tag, &self.workflow) {
            (Some(tag), _) => Path::Tag(tag),
            (None, Some(workflow)) => Path::Workflow(workflow.clone()),
            (None, None) => Path::All,
        }
    }
}

/// The next runs to look at on a [`Path`]: the newest between two ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Older than this id.
    pub before: RunId,
    /// Newer than this one.
    pub after: RunId,
    /// At most so many.
    pub limit: usize,
}

/// A page in the making: a store looks, and looks again until [`Paging::look`] has no more.
#[derive(Debug)]
pub struct Paging {
    limit: usize,
    after: RunId,
    before: Option<RunId>,
    looked_at: usize,
    wanted: usize,
    over: bool,
    runs: Vec<Run>,
}

impl Paging {
    /// A page of the runs that fit a filter.
    #[must_use]
    pub fn new(filter: &RunFilter) -> Self {
        let after = filter.created_after.map(|at| at - CLOCKS_APART);
        Self {
            limit: filter.limit,
            after: RunId::first_of(after.unwrap_or(DateTime::UNIX_EPOCH)),
            before: filter.before.clone(),
            looked_at: 0,
            wanted: 0,
            over: false,
            runs: Vec::new(),
        }
    }

    /// Where to look next; `None` when the page is done. Each look is wider than the one before: nobody
    /// knows how few fit.
    pub fn look(&mut self) -> Option<Look> {
        // One more than is shown tells whether there is a next page.
        let missing = self.limit.saturating_add(1).saturating_sub(self.runs.len());
        let left = RUNS_LOOKED_AT - self.looked_at;
        self.wanted = missing.max(self.looked_at * 3).min(left);
        let done = self.over || missing == 0 || left == 0;
        (!done).then(|| Look {
            before: self
                .before
                .clone()
                .unwrap_or_else(|| RunId::from(NEWEST.to_owned())),
            after: self.after.clone(),
            limit: self.wanted,
        })
    }

    /// How many of the runs of a look are of use at most.
    #[must_use]
    pub fn missing(&self) -> usize {
        self.limit.saturating_add(1) - self.runs.len()
    }

    /// Adds what a look saw, and those of it that fit.
    pub fn add(&mut self, seen: &[RunId], fitting: Vec<Run>) {
        self.looked_at += seen.len();
        self.over = seen.len() < self.wanted;
        self.before = seen.last().cloned().or(self.before.take());
        self.runs.extend(fitting);
    }

    /// The page.
    #[must_use]
    pub fn page(mut self) -> RunPage {
        let more = self.runs.len() > self.limit;
        self.runs.truncate(self.limit);
        let last = self.runs.last().map(|run| run.id.clone());
        RunPage {
            before: match (more, self.over) {
                (true, _) => last,
                (false, true) => None,
                (false, false) => self.before,
            },
            runs: self.runs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> Vec<RunId> {
        let mut ids: Vec<_> = (0..count).map(|_| RunId::generate()).collect();
        ids.reverse();
        ids
    }

    #[test]
    fn a_filter_that_nothing_fits_looks_at_so_many_runs_and_says_where_to_go_on() {
        let all = ids(RUNS_LOOKED_AT + 1);
        let mut paging = Paging::new(&RunFilter {
            limit: 100,
            ..RunFilter::default()
        });
        let mut looks = 0;
        while let Some(look) = paging.look() {
            let from = all.iter().position(|id| *id < look.before).unwrap();
            let to = (from + look.limit).min(all.len());
            paging.add(&all[from..to], Vec::new());
            looks += 1;
        }
        assert!(looks < 7, "{looks} looks");
        let page = paging.page();
        assert_eq!(page.before.as_ref(), Some(&all[RUNS_LOOKED_AT - 1]));
        assert!(page.runs.is_empty());
    }

    #[test]
    fn the_end_of_the_list_is_the_end() {
        let mut paging = Paging::new(&RunFilter {
            limit: 2,
            ..RunFilter::default()
        });
        assert_eq!(paging.look().unwrap().limit, 3);
        paging.add(&ids(1), Vec::new());
        assert_eq!(paging.look(), None);
        assert_eq!(paging.page(), RunPage::default());
    }

    #[test]
    fn the_narrowest_way_is_taken() {
        let mut filter = RunFilter {
            status: Some(RunStatus::Running),
            ..RunFilter::default()
        };
        assert_eq!(filter.path(), Path::All);
        filter.workflow = Some("a:b".to_owned());
        assert_eq!(filter.path(), Path::Workflow("a:b".to_owned()));
        filter.status = Some(RunStatus::Failed);
        assert_eq!(filter.path(), Path::Tag("failed".to_owned()));
        filter.label = Some(("k".to_owned(), "v".to_owned()));
        assert_eq!(filter.path(), Path::Tag("k=v".to_owned()));
        filter.hash = Some("00".to_owned());
        assert_eq!(filter.path(), Path::Tag("=00".to_owned()));
    }
}
