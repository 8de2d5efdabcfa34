//! The audio tracks of a source.

use gstreamer as gst;

use super::{Source, describe, language, of_kind};
use crate::media::demux::Kind;
use crate::media::frames;
use crate::media::report::AudioTrack;
use crate::tool::ToolError;

use super::packets::StreamLog;

/// Every audio track that can be decoded, in the order of the file.
///
/// # Errors
/// `codec_unsupported` if there is sound, but none of it can be decoded.
pub(super) fn describe(
    source: &Source,
    streams: &[StreamLog],
    warnings: &mut Vec<String>,
) -> Result<Vec<AudioTrack>, ToolError> {
    let (known, unknown): (Vec<_>, Vec<_>) = of_kind(streams, Kind::Audio)
        .filter(|stream| stream.packets > 0)
        .partition(|stream| frames::is_decodable(&stream.caps));
    let names: Vec<String> = unknown
        .iter()
        .map(|stream| describe::codec(&stream.caps))
        .collect();
    if let (true, Some(name)) = (known.is_empty(), names.first()) {
        return Err(frames::codec_unsupported(name));
    }
    for (stream, name) in unknown.iter().zip(names) {
        warnings.push(format!(
            "track_unread: audio track {} is left out: no installed decoder reads {name}",
            stream.index + 1
        ));
    }
    let tracks: Vec<AudioTrack> = known.iter().map(|s| track(source, s)).collect();
    if tracks.len() > 1 {
        let languages: Vec<&str> = tracks.iter().map(|t| &*t.language).collect();
        warnings.push(format!(
            "several_tracks: the source has {} audio tracks ({})",
            tracks.len(),
            languages.join(", ")
        ));
    }
    Ok(tracks)
}

fn track(source: &Source, stream: &StreamLog) -> AudioTrack {
    let known = source.track(stream);
    let channels = describe::count(&stream.caps, "channels");
    let tagged = stream.tags.get::<gst::tags::LanguageCode>();
    let language = known
        .and_then(|track| track.language.clone())
        .or_else(|| tagged.map(|tag| tag.get().to_owned()))
        .unwrap_or_default();
    AudioTrack {
        index: stream.index,
        origin_ns: stream.origin_ns,
        codec: describe::codec(&stream.caps),
        channels,
        layout: describe::layout(channels).map(str::to_owned),
        sample_rate: describe::count(&stream.caps, "rate"),
        language: language::three_letters(&language),
        default: known.map_or(stream.selected, |track| track.enabled),
        start_ns: stream.start_ns.unwrap_or(0),
        end_ns: stream.end_ns,
    }
}
