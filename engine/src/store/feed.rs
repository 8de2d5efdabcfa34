//! The events of all runs, in one order.

use crate::id::RunId;
use crate::run::RecordedEvent;

/// A place in the feed of all events: behind one of them. Which numbers it has is the store's matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FeedPlace {
    /// Entries are in the order of this,
    pub commit: u64,
    /// then of this,
    pub entry: u64,
    /// and in an entry in the order of its parts.
    pub part: u64,
    /// Number of the event in its run.
    pub seq: u64,
}

/// An event of some run.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedEvent {
    /// The place behind it.
    pub place: FeedPlace,
    /// The run.
    pub run: RunId,
    /// What happened to it.
    pub recorded: RecordedEvent,
}

impl FeedEvent {
    /// An event of a part of the feed.
    #[must_use]
    pub fn of(part: FeedPlace, run: &RunId, recorded: RecordedEvent) -> Self {
        Self {
            place: FeedPlace {
                seq: recorded.seq,
                ..part
            },
            run: run.clone(),
            recorded,
        }
    }
}
