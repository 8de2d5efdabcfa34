//! The cover of a video: one upright JPEG.
//!
//! Without a time, several pictures from all over the video are looked at and the best one is
//! taken. See [`choice`](self::choice) for where they are, and [`looks`](self::looks) for what is
//! good.

mod choice;
mod looks;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::footage::{self, Footage};
use super::report::Size;
use super::vips::Image;
use crate::tool::{Emitter, Tool, ToolError};

pub use choice::Choice;

/// The largest edge of a cover, in pixels.
pub const MAX_EDGE: u32 = 8192;

/// Makes a cover.
#[derive(Debug)]
pub struct Cover;

/// What a cover is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CoverSpec {
    /// The video.
    pub footage: Footage,
    /// The time of the picture; `None` chooses the best of several.
    pub at_ns: Option<u64>,
    /// The longest edge, in pixels; a smaller video is not enlarged.
    pub max_edge: u32,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// The file to be written.
    pub out: PathBuf,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoverMade {
    /// Size of the picture.
    pub size: Size,
    /// Time of the frame that it shows.
    pub at_ns: u64,
    /// How it was chosen; `None` if its time was given.
    pub choice: Option<Choice>,
    /// Length of the file.
    pub bytes: u64,
}

impl Tool for Cover {
    const NAME: &'static str = "cover";
    type Spec = CoverSpec;
    type Event = ();
    type Output = CoverMade;

    /// # Errors
    /// Class `input`: `bad_option`, `no_frames`, and those of sniffing and decoding.
    fn run(spec: CoverSpec, emit: &Emitter<()>) -> Result<CoverMade, ToolError> {
        check(&spec)?;
        let mut reader = spec.footage.open()?;
        let (frame, choice) = match spec.at_ns {
            Some(at_ns) => (reader.at(spec.footage.inside(at_ns, emit))?, None),
            None => {
                let (frame, choice) = choice::choose(&mut reader, &spec.footage, emit)?;
                (frame, Some(choice))
            }
        };
        let edge = spec.max_edge;
        let within = Size {
            width: edge,
            height: edge,
        };
        let picture = spec.footage.painter(within).paint(&frame)?;
        let jpeg = Image::from_rgb(picture.size, &picture.bytes)?
            .encode("jpg", &format!("Q={},optimize_coding=true", spec.quality))?;
        Ok(CoverMade {
            size: picture.size,
            at_ns: frame.time_ns,
            choice,
            bytes: footage::write(&spec.out, &jpeg)?,
        })
    }
}

fn check(spec: &CoverSpec) -> Result<(), ToolError> {
    if !(1..=MAX_EDGE).contains(&spec.max_edge) {
        return Err(footage::bad_option(format!(
            "the longest edge of a cover must be 1 to {MAX_EDGE} pixels"
        )));
    }
    if !(1..=100).contains(&spec.quality) {
        return Err(footage::bad_option(
            "the quality of a cover must be 1 to 100",
        ));
    }
    Ok(())
}
