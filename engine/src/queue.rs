//! Where steps wait until a worker has room for them, and in what order they leave.
//!
//! A step waits in one of three [`Queue`]s, with a [`Ticket`] that is written when it becomes ready
//! and never changed: its [`Kind`], which says what a worker needs to run it, and its rank, which says
//! when it is its turn among those of its queue. What a machine has left is a [`Room`];
//! [`Lines`] picks, for that room, the steps that go next.

mod lines;
mod room;

use std::collections::HashMap;
use std::fmt;
use std::sync::Once;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use lines::{Lines, Turns};
pub use room::{Capability, Free, Machine, Room};

use crate::definition::{Gpu, Requires};
use crate::id::{RunId, StepId};
use crate::machine::Changes;

/// How much waiting one point of priority is worth, in milliseconds: a step of priority 10 goes before
/// those of priority 0 whose jobs were submitted up to ten minutes before its own. Priorities are
/// bounded, so whatever waits is overtaken by a finite number of others: nothing starves.
pub const PRIORITY_POINT_MS: i64 = 60_000;

/// Where steps wait.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Queue {
    /// Somebody waits for it: six of ten free slots while all queues wait.
    #[serde(rename = "critical")]
    Critical,
    /// Everything else: three of ten.
    #[default]
    #[serde(rename = "default")]
    Default,
    /// Work on large sources, which takes hours: in slots of its own where a worker has some, else
    /// one of ten.
    #[serde(rename = "video:large")]
    VideoLarge,
}

impl Queue {
    /// Every queue, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Critical, Self::Default, Self::VideoLarge];

    /// Its name for people, in definitions, in JSON and in stores.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Default => "default",
            Self::VideoLarge => "video:large",
        }
    }

    /// Its name where a colon means something else.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::VideoLarge => "video-large",
            other => other.as_str(),
        }
    }

    /// The queue of that name, however it is spelt.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|queue| text == queue.as_str() || text == queue.slug())
    }

    /// Its share of the free slots while others wait as well.
    #[must_use]
    pub fn weight(self) -> i64 {
        match self {
            Self::Critical => 6,
            Self::Default => 3,
            Self::VideoLarge => 1,
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What makes two waiting steps the same to a worker: whoever can run one can run the other. There are
/// as many kinds as workflows write different steps, however many steps wait.
///
/// Stores keep it as text (its [`Display`](fmt::Display)) and do not look into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Where they wait.
    pub queue: Queue,
    /// `media.probe@1`.
    pub activity: String,
    /// What each takes of a machine.
    pub requires: Requires,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requires {
            cpu,
            memory_bytes,
            disk_bytes,
            gpu,
        } = self.requires;
        let (memory, disk) = (memory_bytes.unwrap_or(0), disk_bytes.unwrap_or(0));
        let gpu = gpu.as_str();
        write!(
            f,
            "{} {} {cpu} {memory} {disk} {gpu}",
            self.queue, self.activity
        )
    }
}

impl Kind {
    /// Reads what [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut word = || words.next();
        let kind = Self {
            queue: Queue::parse(word()?)?,
            activity: word()?.to_owned(),
            requires: Requires {
                cpu: word()?.parse().ok()?,
                memory_bytes: amount(word()?)?,
                disk_bytes: amount(word()?)?,
                gpu: Gpu::parse(word()?)?,
            },
        };
        words.next().is_none().then_some(kind)
    }

    /// As [`parse`](Self::parse), for a step that waits in a store: `None` for one that a newer release
    /// has written and will run, and a warning when the first of them is met.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        static WARNING: Once = Once::new();
        let kind = Self::parse(text);
        if kind.is_none() {
            WARNING.call_once(|| {
                tracing::warn!(
                    kind = text,
                    "a step waits that only a newer release can run"
                );
            });
        }
        kind
    }
}

/// 0 for an amount that is not known.
fn amount(text: &str) -> Option<Option<u64>> {
    let bytes: u64 = text.parse().ok()?;
    Some((bytes > 0).then_some(bytes))
}

/// What a ready step waits with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Who can run it.
    pub kind: Kind,
    /// The lowest goes first; see [`rank`].
    pub rank: i64,
}

/// The tickets of changes, as they are stored: the kind as text, and the rank.
#[derive(Debug, Default)]
pub struct Tickets<'a>(HashMap<(&'a RunId, &'a str), (String, i64)>);

impl<'a> Tickets<'a> {
    /// Those that the steps of changes wait with.
    #[must_use]
    pub fn of(changes: &'a [(RunId, Changes)]) -> Self {
        let all = changes.iter().flat_map(|(run, changes)| {
            let tickets = changes.tickets.iter();
            tickets.map(move |(node, ticket)| ((run, node.as_str()), ticket))
        });
        let stored = all.map(|(node, ticket)| (node, (ticket.kind.to_string(), ticket.rank)));
        Self(stored.collect())
    }

    /// That of the ready steps of a node.
    #[must_use]
    pub fn get<'s>(&'s self, run: &'s RunId, node: &'s str) -> Option<(&'s str, i64)> {
        let (kind, rank) = self.0.get(&(run, node))?;
        Some((kind, *rank))
    }
}

/// The rank of the steps of a job: when it was submitted, in milliseconds, moved into the past by its
/// priority. Counted from the submission of the job and not from when the step became ready, so that
/// jobs are finished in the order in which they came instead of all being begun.
#[must_use]
pub fn rank(submitted: DateTime<Utc>, priority: i32) -> i64 {
    submitted.timestamp_millis() - i64::from(priority) * PRIORITY_POINT_MS
}

/// A step that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its run.
    pub run: RunId,
    /// Which one.
    pub step: StepId,
    /// Place of its node in the definition, from 0.
    pub position: usize,
    /// What it waits with.
    pub ticket: Ticket,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_as_it_is_written() {
        let requires = Requires {
            cpu: 2,
            memory_bytes: Some(1 << 30),
            disk_bytes: None,
            gpu: Gpu::Required,
        };
        for queue in Queue::ALL {
            let kind = Kind {
                queue,
                activity: "video.encode@3".to_owned(),
                requires,
            };
            assert_eq!(Kind::parse(&kind.to_string()), Some(kind));
        }
        for text in [
            "",
            "default",
            "default a.b@1 1 0 0 none more",
            "x a.b@1 1 0 0 none",
        ] {
            assert_eq!(Kind::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn priority_is_worth_a_bounded_time_of_waiting() {
        let at = |minutes| DateTime::UNIX_EPOCH + chrono::TimeDelta::minutes(minutes);
        assert!(
            rank(at(9), 10) < rank(at(0), 0),
            "ten points are ten minutes"
        );
        assert!(rank(at(11), 10) > rank(at(0), 0));
        assert!(rank(at(0), 0) < rank(at(0), -1));
    }
}
