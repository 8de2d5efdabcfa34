//! Which demuxer opens a file, told by its first bytes.

use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::super::super::tool::ToolError;
use super::{Failure, Pipeline, element, failure};

/// How long the type of a local file may take to find; it takes milliseconds.
const TYPE_TIMEOUT: gst::ClockTime = gst::ClockTime::from_seconds(20);

/// Real containers and their demuxers. Playlists and manifests are missing on purpose: they name
/// other files and addresses.
const DEMUXERS: &[(&str, &str)] = &[
    ("video/quicktime", "qtdemux"),
    ("audio/x-m4a", "qtdemux"),
    ("application/x-3gp", "qtdemux"),
    ("video/x-matroska", "matroskademux"),
    ("video/x-matroska-3d", "matroskademux"),
    ("audio/x-matroska", "matroskademux"),
    ("video/webm", "matroskademux"),
    ("audio/webm", "matroskademux"),
    ("video/mpegts", "tsdemux"),
    ("video/mpeg", "mpegpsdemux"),
    ("video/x-cdxa", "mpegpsdemux"),
    ("video/x-msvideo", "avidemux"),
    ("video/x-flv", "flvdemux"),
    ("application/ogg", "oggdemux"),
    ("video/ogg", "oggdemux"),
    ("audio/ogg", "oggdemux"),
    ("video/x-ms-asf", "asfdemux"),
    ("application/mxf", "mxfdemux"),
];

/// Formats that hold one audio stream and are opened by parsers.
const BARE_AUDIO: &[&str] = &[
    "application/x-apetag",
    "application/x-id3",
    "audio/AMR",
    "audio/AMR-WB",
    "audio/mpeg",
    "audio/x-ac3",
    "audio/x-aiff",
    "audio/x-au",
    "audio/x-caf",
    "audio/x-dts",
    "audio/x-eac3",
    "audio/x-flac",
    "audio/x-wav",
    "audio/x-wavpack",
];

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    /// Its streams come out of this demuxer.
    Demuxed(&'static str),
    /// It is one audio stream.
    Bare,
}

/// Finds how to open a file.
///
/// # Errors
/// `input` if it is no media file that is supported.
pub(super) fn container_of(path: &Path) -> Result<Container, ToolError> {
    let caps = media_type(path)?;
    let name = caps.structure(0).map_or("", |s| s.name().as_str());
    if BARE_AUDIO.contains(&name) {
        return Ok(Container::Bare);
    }
    DEMUXERS
        .iter()
        .find(|(media_type, _)| *media_type == name)
        .map(|(_, demuxer)| Container::Demuxed(demuxer))
        .ok_or_else(|| {
            ToolError::input(
                "container_unsupported",
                format!("the source is {name}, which is no container of video or audio that is supported"),
            )
        })
}

fn media_type(path: &Path) -> Result<gst::Caps, ToolError> {
    let failure = Failure::default();
    let pipeline = Pipeline::new(&failure, failure::sort_source_error);
    let source = file_source(path)?;
    let finder = element("typefind")?;
    pipeline.chain(&[&source, &finder, &element("fakesink")?])?;
    let started = pipeline.0.set_state(gst::State::Paused);
    let settled = pipeline.0.state(TYPE_TIMEOUT).0;
    failure.check()?;
    started.and(settled).map_err(super::bug)?;
    finder
        .property::<Option<gst::Caps>>("caps")
        .ok_or_else(|| ToolError::input("not_media", "the source is no media file that is known"))
}

/// A source element that reads one local file.
pub(super) fn file_source(path: &Path) -> Result<gst::Element, ToolError> {
    let source = element("filesrc")?;
    source.set_property("location", path);
    Ok(source)
}
