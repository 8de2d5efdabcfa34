//! HLS playlists as RFC 8216bis and Apple's authoring rules want them. Pure.

mod language;
mod multivariant;
mod rate;

use std::fmt::Write as _;

use super::renditions::Rendition;

pub use multivariant::{AudioEntry, Multivariant, PictureEntry, Variant};
pub use rate::{Rates, rates};

/// EXT-X-MAP outside I-frame playlists asks for version 6.
const VERSION: u32 = 6;

/// The media playlist of a rendition. `map` and the names of segments are relative to it.
#[must_use]
pub fn media_playlist(rendition: &Rendition, map: &str) -> String {
    let timescale = rendition.track.timescale;
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{}\n\
         #EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n\
         #EXT-X-MAP:URI=\"{map}\"\n",
        target_duration(rendition),
    );
    for segment in &rendition.segments {
        let duration = seconds(segment.duration_ticks, timescale);
        let name = segment.object.key.rsplit('/').next().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(text, "#EXTINF:{duration:.6},\n{name}\n");
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// The longest segment, rounded to whole seconds as EXTINF is compared with it; at least 1.
#[must_use]
pub fn target_duration(rendition: &Rendition) -> u64 {
    let timescale = rendition.track.timescale;
    let longest = rendition
        .segments
        .iter()
        .map(|segment| segment.duration_ticks)
        .max();
    let half = u64::from(timescale) / 2;
    ((longest.unwrap_or(0) + half) / u64::from(timescale.max(1))).max(1)
}

/// Ticks as seconds.
#[must_use]
pub fn seconds(ticks: u64, timescale: u32) -> f64 {
    // Ticks of any video fit the 53 bits of a float by far.
    ticks as f64 / f64::from(timescale.max(1))
}
