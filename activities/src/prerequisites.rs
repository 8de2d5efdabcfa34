//! What has to be installed for the media tools to work.

use crate::media::{self, gst};

/// One thing that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prerequisite {
    /// What it is for.
    pub name: String,
    /// Whether it is there.
    pub ok: bool,
    /// What was found, or is missing.
    pub found: String,
    /// The Debian package that brings it.
    pub package: &'static str,
}

/// Purpose, GStreamer element, and the Debian package that brings the element.
const ELEMENTS: [(&str, &str, &str); 9] = [
    ("MP4 and MOV", "qtdemux", "gstreamer1.0-plugins-good"),
    (
        "Matroska and WebM",
        "matroskademux",
        "gstreamer1.0-plugins-good",
    ),
    ("MPEG-TS", "tsdemux", "gstreamer1.0-plugins-bad"),
    ("H.264 parsing", "h264parse", "gstreamer1.0-plugins-bad"),
    ("H.264 decoding", "avdec_h264", "gstreamer1.0-libav"),
    ("H.264 encoding", "x264enc", "gstreamer1.0-plugins-ugly"),
    ("AAC encoding", "avenc_aac", "gstreamer1.0-libav"),
    ("scaling", "videoconvertscale", "gstreamer1.0-plugins-base"),
    ("deinterlacing", "deinterlace", "gstreamer1.0-plugins-good"),
];

/// Looks for everything that the tools need.
#[must_use]
pub fn prerequisites() -> Vec<Prerequisite> {
    if let Err(error) = gst::init() {
        return vec![Prerequisite {
            name: "GStreamer".to_owned(),
            ok: false,
            found: error.message,
            package: "libgstreamer1.0-0",
        }];
    }
    let version = crate::gstreamer_version();
    let gstreamer = Prerequisite {
        name: "GStreamer 1.22 or newer".to_owned(),
        ok: gstreamer::version() >= (1, 22, 0, 0),
        found: version,
        package: "libgstreamer1.0-0",
    };
    [gstreamer, libvips()]
        .into_iter()
        .chain(ELEMENTS.iter().map(element))
        .collect()
}

fn libvips() -> Prerequisite {
    let ok = media::is_libvips_usable();
    let version = media::vips_version();
    Prerequisite {
        name: "libvips 8.14 or newer".to_owned(),
        ok,
        found: match ok {
            true => version,
            false => format!("{version} does not start or is too old"),
        },
        package: "libvips42",
    }
}

fn element((name, element, package): &(&str, &str, &'static str)) -> Prerequisite {
    let ok = gstreamer::ElementFactory::find(element).is_some();
    let found = if ok {
        (*element).to_owned()
    } else {
        format!("no element {element}")
    };
    Prerequisite {
        name: (*name).to_owned(),
        ok,
        found,
        package,
    }
}
