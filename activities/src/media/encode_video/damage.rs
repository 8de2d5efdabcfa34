//! How many pictures of a chunk are not what they should be: the decoder refused them, or made up
//! a part of them.

use gstreamer as gst;

use crate::media::encoded::seconds;
use crate::media::overheard::{Overheard, Phrase};
use crate::tool::ToolError;

use super::spec::SourceFacts;

/// libav says so once for each picture that it makes up a part of; a decoder's base class says
/// twice that it was refused a packet.
const PHRASES: [Phrase; 2] = [
    Phrase {
        category: "libav",
        level: gst::DebugLevel::Info,
        begins: "concealing ",
    },
    Phrase {
        category: "videodecoder",
        level: gst::DebugLevel::Warning,
        begins: "error: ",
    },
];

/// Pictures after which a source that is mostly broken is given up: ten seconds of it.
const JUDGED_PICTURES: u64 = 250;

/// Pictures in a row for which AVI files have empty packets, to keep the picture in step: two in each
/// that libxvid makes.
const EMPTY_PACKETS: u64 = 3;

/// Counts the damage from the first picture that is used.
#[derive(Debug)]
pub(super) struct Damage {
    overheard: Overheard<2>,
    /// What was heard before that picture.
    before: [u64; 2],
    /// Length of a frame where all last equally long, so that a missing one leaves a gap.
    frame_ns: Option<u64>,
    /// Pictures that may be missing in a row.
    longest_gap: u64,
    last_ns: Option<i64>,
    seen: u64,
    missing: u64,
    first_ns: Option<i64>,
}

impl Damage {
    pub(super) fn listen(facts: &SourceFacts) -> Self {
        Self {
            overheard: Overheard::listen(&PHRASES),
            before: [0; 2],
            frame_ns: (!facts.variable_frame_rate).then(|| facts.frame_ns()),
            longest_gap: if facts.guessed_times {
                EMPTY_PACKETS
            } else {
                0
            },
            last_ns: None,
            seen: 0,
            missing: 0,
            first_ns: None,
        }
    }

    /// Notes a picture that is used.
    ///
    /// # Errors
    /// `source_damaged` if most of many are broken.
    pub(super) fn note(&mut self, at_ns: i64) -> Result<(), ToolError> {
        match self.last_ns {
            None => self.before = self.overheard.counts(),
            Some(last_ns) => self.missing += self.left_out(last_ns, at_ns),
        }
        self.last_ns = Some(at_ns);
        self.seen += 1;
        if self.first_ns.is_none() && self.broken() > 0 {
            self.first_ns = Some(at_ns);
        }
        if self.seen < JUDGED_PICTURES {
            return Ok(());
        }
        self.check()
    }

    /// What the user is told at the end of the chunk, if anything.
    ///
    /// # Errors
    /// `source_damaged` if most of it is broken.
    pub(super) fn summary(&self) -> Result<Option<String>, ToolError> {
        self.check()?;
        let broken = self.broken();
        let first_s = seconds(self.first_ns.unwrap_or(0).unsigned_abs());
        Ok((broken > 0).then(|| {
            format!(
                "damaged_pictures: {broken} of {} pictures are missing or partly made up, the \
                 first near second {first_s:.1}; export or upload the source again",
                self.seen + self.missing
            )
        }))
    }

    fn check(&self) -> Result<(), ToolError> {
        let (broken, all) = (self.broken(), self.seen + self.missing);
        if broken <= all / 2 {
            return Ok(());
        }
        Err(ToolError::input(
            "source_damaged",
            format!(
                "the video is mostly broken: {broken} of {all} pictures are missing or partly \
                 made up; export or upload the source again"
            ),
        ))
    }

    fn broken(&self) -> u64 {
        let counts = self.overheard.counts();
        let [concealed, refusals] = [0, 1].map(|n| counts[n] - self.before[n]);
        concealed + self.missing.max(refusals.div_ceil(2))
    }

    /// Pictures that are missing between two.
    fn left_out(&self, last_ns: i64, at_ns: i64) -> u64 {
        let gap_ns = u64::try_from(at_ns - last_ns).unwrap_or(0);
        let frame_ns = self.frame_ns.unwrap_or(u64::MAX / 2);
        let missing = ((gap_ns + frame_ns / 2) / frame_ns.max(1)).saturating_sub(1);
        if missing > self.longest_gap {
            missing
        } else {
            0
        }
    }
}
