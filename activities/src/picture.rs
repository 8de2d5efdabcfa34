//! What cover and preview have in common: a picture of a video in the media store.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::objects::Artifact;

use crate::media::report::Size;

/// A picture of a video, still or moving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// Where it is, under a name that belongs to the attempt that made it.
    pub object: Artifact,
    /// Size of the picture; of each picture, if it moves.
    pub size: Size,
    /// Time of its first frame in the video.
    pub at_ns: u64,
    /// Number of frames: 1 for a still.
    pub frames: u32,
}

/// Seconds as nanoseconds; at least 0, and what is no number is 0.
pub(crate) fn nanoseconds(seconds: f64) -> u64 {
    // A float that is too large or too small becomes the nearest number of the type.
    (seconds * 1e9).round() as u64
}

#[cfg(test)]
mod tests {
    use super::nanoseconds;

    #[test]
    fn no_number_of_seconds_overflows() {
        for (seconds, expected) in [
            (1.5, 1_500_000_000),
            (-1.0, 0),
            (f64::NAN, 0),
            (f64::INFINITY, u64::MAX),
        ] {
            assert_eq!(nanoseconds(seconds), expected, "{seconds}");
        }
    }
}
