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
use std::sync::{Once, OnceLock};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use lines::{Lines, Turns};
pub use room::{Capability, Free, Machine, Prospect, Room};

use crate::definition::units::format_size;
use crate::definition::{Gpu, Requires, StepDef};
use crate::id::{RunId, StepId};
use crate::machine::Changes;
use crate::run::{Run, Step};

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
    /// Whether it takes all of a machine, whatever it requires: see [`Step::runs_alone`].
    pub alone: bool,
}

/// The last word of a kind that takes a machine for itself. A release that does not know the word leaves
/// such steps to others.
const ALONE: &str = "alone";

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
        )?;
        match self.alone {
            true => write!(f, " {ALONE}"),
            false => Ok(()),
        }
    }
}

impl Kind {
    /// That of the steps which a run's definition writes there, as long as they do not run alone. What
    /// the definition says of a step goes before what was asked for with the job.
    #[must_use]
    pub fn of(step: &StepDef, run: &Run) -> Self {
        Self {
            queue: step.queue.unwrap_or(run.queue),
            activity: step.activity.to_string(),
            requires: step.requires,
            alone: false,
        }
    }

    /// What a worker has to have, in a sentence for people: `the activity video.encode@1, cpu 2, memory
    /// 3GiB, gpu none`.
    #[must_use]
    pub fn needs(&self) -> String {
        let size = |name: &str, bytes: Option<u64>| {
            bytes.map_or_else(String::new, |bytes| {
                format!(", {name} {}", format_size(bytes))
            })
        };
        format!(
            "the activity {}, cpu {}{}{}, gpu {}",
            self.activity,
            self.requires.cpu,
            size("memory", self.requires.memory_bytes),
            size("disk", self.requires.disk_bytes),
            self.requires.gpu.as_str()
        )
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut word = || words.next();
        let mut kind = Self {
            queue: Queue::parse(word()?)?,
            activity: word()?.to_owned(),
            requires: Requires {
                cpu: word()?.parse().ok()?,
                memory_bytes: amount(word()?)?,
                disk_bytes: amount(word()?)?,
                gpu: Gpu::parse(word()?)?,
            },
            alone: false,
        };
        match (words.next(), words.next()) {
            (None, _) => Some(kind),
            (Some(ALONE), None) => {
                kind.alone = true;
                Some(kind)
            }
            _ => None,
        }
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

impl Ticket {
    /// That of a step of a node whose steps wait with this one.
    #[must_use]
    pub fn of(mut self, step: &Step) -> Self {
        self.kind.alone = step.runs_alone();
        self
    }
}

/// The tickets of changes, as they are stored: the kind as text, and the rank.
#[derive(Debug, Default)]
pub struct Tickets<'a>(HashMap<(&'a RunId, &'a str), Stored<'a>>);

/// The ticket of a node. Hardly any step runs alone.
#[derive(Debug)]
struct Stored<'a> {
    ticket: &'a Ticket,
    kind: String,
    alone: OnceLock<String>,
}

impl<'a> Tickets<'a> {
    /// Those that the steps of changes wait with.
    #[must_use]
    pub fn of(changes: &'a [(RunId, Changes)]) -> Self {
        let all = changes.iter().flat_map(|(run, changes)| {
            let tickets = changes.tickets.iter();
            tickets.map(move |(node, ticket)| ((run, node.as_str()), ticket))
        });
        let stored = all.map(|(node, ticket)| {
            let kind = ticket.kind.to_string();
            let alone = OnceLock::new();
            (
                node,
                Stored {
                    ticket,
                    kind,
                    alone,
                },
            )
        });
        Self(stored.collect())
    }

    /// That of a ready step.
    #[must_use]
    pub fn get<'s>(&'s self, run: &'s RunId, step: &'s Step) -> Option<(&'s str, i64)> {
        let stored = self.0.get(&(run, step.id.node.as_str()))?;
        let alone = || stored.ticket.clone().of(step).kind.to_string();
        let kind = match step.runs_alone() {
            true => stored.alone.get_or_init(alone),
            false => &stored.kind,
        };
        Some((kind, stored.ticket.rank))
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
        for (queue, alone) in Queue::ALL.into_iter().zip([false, true, true]) {
            let kind = Kind {
                queue,
                activity: "video.encode@3".to_owned(),
                requires,
                alone,
            };
            assert_eq!(Kind::parse(&kind.to_string()), Some(kind));
        }
        for text in [
            "",
            "default",
            "default a.b@1 1 0 0 none more",
            "default a.b@1 1 0 0 none alone more",
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
