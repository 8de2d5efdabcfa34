//! The media activities of telecine: probing, pictures, encoding, packaging, publishing.
//!
//! Media libraries run in child processes only: an activity (async, in the worker) drives a
//! [`Tool`](tool::Tool) (blocking, in a child of the same binary).

pub mod allocate;
pub mod audio;
pub mod child;
pub mod cover;
pub mod encode;
pub mod keys;
pub mod ladder;
pub mod lint;
pub mod media;
pub mod package;
pub mod picture;
pub mod plan_chunks;
mod prerequisites;
pub mod preview;
pub mod probe;
pub mod publish;
mod source;
pub mod sprites;
pub mod thumbnail;
pub mod tool;
pub mod validate;

use std::process::ExitCode;

use telecine_engine::activity::{RegisterError, Registry};

use crate::child::ToolHost;
use crate::media::check::CheckSet;
use crate::media::cover::Cover;
use crate::media::encode_audio::EncodeAudio;
use crate::media::encode_video::EncodeVideo;
use crate::media::preview::Preview;
use crate::media::probe::Probe;
use crate::media::sprites::Sprites;
use crate::media::thumbnail::Thumbnail;
use crate::tool::Tool;

pub use crate::prerequisites::{Prerequisite, prerequisites};

/// Adds every activity of this crate to a registry; their tools run on `host`.
///
/// # Errors
/// If one of them is registered already.
pub fn register(registry: &mut Registry, host: &ToolHost) -> Result<(), RegisterError> {
    let host = || host.clone();
    registry
        .register(probe::MediaProbe { host: host() })?
        .register(allocate::Allocate)?
        .register(cover::VideoCover { host: host() })?
        .register(preview::VideoPreview { host: host() })?
        .register(sprites::VideoSprites { host: host() })?
        .register(thumbnail::ImageThumbnail { host: host() })?
        .register(plan_chunks::PlanChunks)?
        .register(encode::VideoEncode { host: host() })?
        .register(audio::AudioEncode { host: host() })?
        .register(package::PackageHls)?
        .register(validate::Validate { host: host() })?
        .register(publish::Publish)?;
    Ok(())
}

/// The version of the media libraries, whose change may change what they make. Asking for it
/// loads nothing.
fn gstreamer_version() -> String {
    let (major, minor, micro, _) = gstreamer::version();
    format!("gstreamer {major}.{minor}.{micro}")
}

/// Serves one tool; see [`child::serve`].
type Serve = fn() -> ExitCode;

/// Every tool by the name on the command line of its process.
const TOOLS: &[(&str, Serve)] = &[
    (Probe::NAME, child::serve::<Probe>),
    (Cover::NAME, child::serve::<Cover>),
    (Preview::NAME, child::serve::<Preview>),
    (Sprites::NAME, child::serve::<Sprites>),
    (Thumbnail::NAME, child::serve::<Thumbnail>),
    (EncodeVideo::NAME, child::serve::<EncodeVideo>),
    (EncodeAudio::NAME, child::serve::<EncodeAudio>),
    (CheckSet::NAME, child::serve::<CheckSet>),
];

/// The names of the tools of this crate.
pub fn tool_names() -> impl Iterator<Item = &'static str> {
    TOOLS.iter().map(|(name, _)| *name)
}

/// Runs a tool as a child process does; the program calls this when it is started as
/// `telecine __tool NAME`. Fails for a name that is no tool's.
#[must_use]
pub fn run_tool(name: &str) -> ExitCode {
    match TOOLS.iter().find(|(tool, _)| *tool == name) {
        Some((_, serve)) => serve(),
        None => {
            eprintln!("telecine: there is no tool {name}");
            ExitCode::from(2)
        }
    }
}
