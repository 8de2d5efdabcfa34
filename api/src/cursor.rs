//! Where a page of a list ended: opaque to callers, and of one list only.

use std::fmt;
use std::str::FromStr;

use telecine_engine::id::{RunId, StepId};
use telecine_engine::store::FeedPlace;

/// The place behind the last entry of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// A job, in a list of them.
    Job(RunId),
    /// The number of an event, in the history of a job.
    Event(u64),
    /// A place in the history of all jobs.
    Feed(FeedPlace),
    /// A step, among those of a job.
    Step(StepId),
    /// How many there were before, among the artifacts of a step.
    Artifact(usize),
    /// How many there were before, among the steps of a retry plan.
    PlannedStep(usize),
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Job(job) => format!("j{job}"),
            Self::Event(seq) => format!("e{seq}"),
            Self::Feed(FeedPlace {
                commit,
                entry,
                part,
                seq,
            }) => format!("f{commit}.{entry}.{part}.{seq}"),
            Self::Step(step) => format!("s{step}"),
            Self::Artifact(before) => format!("a{before}"),
            Self::PlannedStep(before) => format!("p{before}"),
        };
        text.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text that no page ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadCursor;

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let bytes = decode(text).ok_or(BadCursor)?;
        let text = String::from_utf8(bytes).map_err(|_| BadCursor)?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_id = |id: &&str| id.starts_with(RunId::PREFIX) && id.bytes().all(is_plain);
        match text.split_at_checked(1) {
            Some(("j", id)) if is_id(&id) => Ok(Self::Job(RunId::from(id.to_owned()))),
            Some(("e", seq)) => seq.parse().map(Self::Event).map_err(|_| BadCursor),
            Some(("f", place)) => feed_place(place).map(Self::Feed).ok_or(BadCursor),
            Some(("s", step)) if !step.chars().any(char::is_control) => {
                step.parse().map(Self::Step).map_err(|_| BadCursor)
            }
            Some(("a", before)) => before.parse().map(Self::Artifact).map_err(|_| BadCursor),
            Some(("p", before)) => before.parse().map(Self::PlannedStep).map_err(|_| BadCursor),
            _ => Err(BadCursor),
        }
    }
}

fn feed_place(text: &str) -> Option<FeedPlace> {
    let numbers: Result<Vec<u64>, _> = text.split('.').map(str::parse).collect();
    let [commit, entry, part, seq] = numbers.ok()?.try_into().ok()?;
    Some(FeedPlace {
        commit,
        entry,
        part,
        seq,
    })
}

fn decode(hex: &str) -> Option<Vec<u8>> {
    let even = hex.is_ascii() && hex.len().is_multiple_of(2);
    let pairs = (0..hex.len()).step_by(2);
    let bytes = pairs.map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok());
    even.then(|| bytes.collect()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_given() {
        for cursor in [
            Cursor::Job(RunId::generate()),
            Cursor::Event(7),
            Cursor::Feed(FeedPlace {
                commit: 7,
                entry: 8,
                part: 9,
                seq: u64::MAX,
            }),
            Cursor::Step(StepId::item("encode", 99)),
            Cursor::Step(StepId::single("package")),
            Cursor::Artifact(100),
            Cursor::PlannedStep(100),
        ] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            "6",
            "zz",
            "é",
            "6a",
            "6a6f6c64",
            "65",
            "6578",
            "7a31",
            "6a6a6f625f00",
            "7300",
            "73",
            "61",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(BadCursor), "{text}");
        }
    }
}
