//! Media code: tools that run in child processes, and the pure parts they are made of.
//!
//! Times are **stream time** in nanoseconds (`_ns`): edit lists applied, 0 at the presentation's
//! start. Ticks (`_ticks`) count in a track's own timescale.

pub mod check;
mod colour;
pub mod cover;
mod demux;
pub mod encode_audio;
pub mod encode_video;
pub mod encoded;
pub mod fmp4;
pub mod footage;
mod frames;
pub mod gst;
mod isobmff;
mod last_samples;
mod letterbox;
mod overheard;
mod paint;
pub mod plan;
pub mod playlist;
pub mod preview;
pub mod probe;
pub mod raw_video;
pub mod renditions;
pub mod report;
pub mod sniff;
pub mod sprites;
pub mod still;
pub mod thumbnail;
mod tone;
mod vips;

/// Whether libvips starts and is new enough. Starts it.
pub(crate) fn is_libvips_usable() -> bool {
    vips::is_usable()
}

/// The version of libvips, whose change may change what it makes. Asking for it starts nothing.
pub(crate) fn vips_version() -> String {
    vips::version()
}
