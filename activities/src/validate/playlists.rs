//! Reads the playlists of a set back and compares them with what is in its segments.

use m3u8_rs::{MasterPlaylist, MediaPlaylist, Playlist, VariantStream};
use sha2::{Digest as _, Sha256};
use telecine_engine::activity::{ActivityError, Context, ErrorClass};
use telecine_engine::objects::Artifact;

use super::{invalid, small_object};
use crate::keys::{TrackKind, track_file};
use crate::media::playlist::{rates, seconds};
use crate::media::renditions::Rendition;
use crate::package::{PackagedSet, tracks};

/// `EXT-X-MAP` needs this version (RFC 8216, section 7).
const LOWEST_VERSION: usize = 6;

/// How far EXTINF may be from the ticks: it is read back as a 32-bit float.
const EXTINF_TOLERANCE_S: f64 = 0.001;

/// A shorter last segment makes players stumble.
const SHORTEST_LAST_S: f64 = 0.5;

/// How far stated rates may be from measured ones, in percent (Apple's authoring rules).
const RATE_TOLERANCE_PERCENT: u64 = 10;

/// The video renditions and the audio rendition of a set.
type Renditions<'a> = (&'a [Rendition], Option<&'a Rendition>);

/// Checks the files that packaging wrote, and what they say about the renditions.
pub(super) async fn check(
    ctx: &Context,
    set: &PackagedSet,
    renditions: Renditions<'_>,
) -> Result<(), ActivityError> {
    for file in &set.files {
        check_digest(ctx, file).await?;
    }
    let (video, audio) = renditions;
    for (kind, rendition) in tracks(video, audio) {
        let path = track_file(kind, &rendition.track.name, "playlist.m3u8");
        let playlist = read(ctx, &format!("{}/{path}", set.prefix)).await?;
        let Playlist::MediaPlaylist(playlist) = playlist else {
            return Err(invalid(
                "media_playlist",
                format!("{path} is no media playlist"),
            ));
        };
        check_media(&playlist, rendition)
            .map_err(|(rule, what)| invalid(rule, format!("{path}: {what}")))?;
    }
    let master = read(ctx, &format!("{}/master.m3u8", set.prefix)).await?;
    let Playlist::MasterPlaylist(master) = master else {
        return Err(invalid(
            "multivariant_playlist",
            "master.m3u8 is a media playlist",
        ));
    };
    check_multivariant(&master, renditions)
        .map_err(|(rule, what)| invalid(rule, format!("master.m3u8: {what}")))
}

async fn read(ctx: &Context, key: &str) -> Result<Playlist, ActivityError> {
    let bytes = small_object(ctx, key).await?;
    m3u8_rs::parse_playlist_res(&bytes)
        .map_err(|_| invalid("playlist_readable", format!("{key} is no playlist")))
}

async fn check_digest(ctx: &Context, file: &Artifact) -> Result<(), ActivityError> {
    let bytes = small_object(ctx, &file.key).await?;
    let digest = Sha256::digest(&bytes);
    let found: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if found == file.sha256 {
        return Ok(());
    }
    Err(ActivityError::new(
        ErrorClass::Dependency,
        "object_corrupt",
        format!(
            "the stored object {} does not hold the bytes that were written",
            file.key
        ),
    ))
}

/// A rule, and how it is broken.
type Broken = (&'static str, String);

fn holds(rule: &'static str, holds: bool, what: impl Into<String>) -> Result<(), Broken> {
    if holds {
        Ok(())
    } else {
        Err((rule, what.into()))
    }
}

fn check_media(playlist: &MediaPlaylist, rendition: &Rendition) -> Result<(), Broken> {
    holds(
        "version",
        playlist.version >= Some(LOWEST_VERSION),
        "EXT-X-VERSION is too low",
    )?;
    holds("endlist", playlist.end_list, "EXT-X-ENDLIST is missing")?;
    holds(
        "independent_segments",
        playlist.independent_segments,
        "EXT-X-INDEPENDENT-SEGMENTS is missing",
    )?;
    let map = playlist
        .segments
        .first()
        .and_then(|first| first.map.as_ref());
    holds(
        "map",
        map.is_some_and(|map| map.uri == "init.mp4"),
        "EXT-X-MAP is missing",
    )?;
    holds(
        "segment_count",
        playlist.segments.len() == rendition.segments.len(),
        "it has another number of segments than were encoded",
    )?;
    check_entries(playlist, rendition)?;
    let last = playlist.segments.last().map_or(0.0, |last| last.duration);
    holds(
        "last_segment",
        f64::from(last) >= SHORTEST_LAST_S || playlist.segments.len() == 1,
        "the last segment is shorter than 0.5 s",
    )
}

fn check_entries(playlist: &MediaPlaylist, rendition: &Rendition) -> Result<(), Broken> {
    for (entry, segment) in playlist.segments.iter().zip(&rendition.segments) {
        let name = segment.object.key.rsplit('/').next();
        holds(
            "segment_uri",
            Some(&*entry.uri) == name,
            format!("{} is unknown", entry.uri),
        )?;
        let recorded = seconds(segment.duration_ticks, rendition.track.timescale);
        let stated = f64::from(entry.duration);
        holds(
            "extinf",
            (stated - recorded).abs() <= EXTINF_TOLERANCE_S,
            format!("{} lasts {recorded:.6} s, not {stated:.6} s", entry.uri),
        )?;
        holds(
            "target_duration",
            stated.round() <= playlist.target_duration as f64,
            format!("{} is longer than the target duration", entry.uri),
        )?;
    }
    Ok(())
}

fn check_multivariant(
    master: &MasterPlaylist,
    (video, audio): Renditions<'_>,
) -> Result<(), Broken> {
    holds(
        "independent_segments",
        master.independent_segments,
        "EXT-X-INDEPENDENT-SEGMENTS is missing",
    )?;
    holds(
        "variants",
        master.variants.len() == video.len(),
        "it has another number of variants than were encoded",
    )?;
    for rendition in video {
        let path = track_file(TrackKind::Video, &rendition.track.name, "playlist.m3u8");
        let variant = master.variants.iter().find(|variant| variant.uri == path);
        let variant = variant.ok_or_else(|| ("variants", format!("{path} is missing")))?;
        check_variant(variant, rendition, audio)?;
    }
    check_audio_group(master, audio)
}

fn check_variant(
    variant: &VariantStream,
    rendition: &Rendition,
    audio: Option<&Rendition>,
) -> Result<(), Broken> {
    let path = &variant.uri;
    let sound = audio.map(rates);
    let measured = rates(rendition);
    let peak = measured.peak + sound.map_or(0, |sound| sound.peak);
    let average = measured.average + sound.map_or(0, |sound| sound.average);
    holds(
        "bandwidth",
        is_near(variant.bandwidth, peak),
        format!("BANDWIDTH of {path}"),
    )?;
    holds(
        "average_bandwidth",
        variant
            .average_bandwidth
            .is_some_and(|stated| is_near(stated, average)),
        format!("AVERAGE-BANDWIDTH of {path}"),
    )?;
    let codecs: Vec<&str> = [Some(rendition), audio]
        .iter()
        .flatten()
        .map(|rendition| rendition.track.codecs.as_str())
        .collect();
    let stated = variant.codecs.as_deref();
    holds(
        "codecs",
        stated == Some(&codecs.join(",")),
        format!("CODECS of {path}"),
    )?;
    let size = rendition.track.video.as_ref().map(|facts| facts.size);
    let same = variant.resolution.zip(size).is_some_and(|(stated, size)| {
        (stated.width, stated.height) == (size.width.into(), size.height.into())
    });
    holds("resolution", same, format!("RESOLUTION of {path}"))?;
    holds(
        "audio_group",
        variant.audio.is_some() == audio.is_some(),
        format!("AUDIO of {path}"),
    )
}

fn is_near(stated: u64, measured: u64) -> bool {
    stated.abs_diff(measured) * 100 <= measured * RATE_TOLERANCE_PERCENT
}

/// One default rendition, in the group that all variants name.
fn check_audio_group(master: &MasterPlaylist, audio: Option<&Rendition>) -> Result<(), Broken> {
    let defaults = master.alternatives.iter().filter(|media| media.default);
    holds(
        "audio_group",
        defaults.count() == usize::from(audio.is_some()),
        "there is not exactly one default audio rendition",
    )?;
    let Some(audio) = audio else {
        return Ok(());
    };
    let path = track_file(TrackKind::Audio, &audio.track.name, "playlist.m3u8");
    let channels = audio
        .track
        .audio
        .as_ref()
        .map(|facts| facts.channels.to_string());
    let listed = master
        .alternatives
        .iter()
        .find(|media| media.uri.as_deref() == Some(&*path));
    let named = master
        .variants
        .iter()
        .all(|variant| variant.audio.as_deref() == listed.map(|media| media.group_id.as_str()));
    holds(
        "audio_group",
        named && listed.is_some_and(|media| media.language.is_some() && media.channels == channels),
        format!("{path} is not in the group with its language and channels"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::playlist::{AudioEntry, Multivariant, Variant, media_playlist};
    use crate::media::renditions::{AudioFacts, Segment, Track, VideoFacts};
    use crate::media::report::{Ratio, Size};

    const SIZE: Size = Size {
        width: 640,
        height: 360,
    };
    const RATE: Ratio = Ratio { num: 25, den: 1 };

    fn rendition(name: &str, codecs: &str, timescale: u32) -> Rendition {
        let segment = |number: u32| Segment {
            number,
            start_ticks: u64::from(number - 1) * 6 * u64::from(timescale),
            duration_ticks: 6 * u64::from(timescale),
            samples: 150,
            object: Artifact {
                key: format!("p/seg_{number:05}_00000001.m4s"),
                size: 600_000,
                sha256: String::new(),
                media_type: String::new(),
            },
        };
        Rendition {
            track: Track {
                name: name.to_owned(),
                codecs: codecs.to_owned(),
                timescale,
                init_base64: String::new(),
                video: None,
                audio: None,
            },
            segments: (1..=3).map(segment).collect(),
        }
    }

    fn video() -> Rendition {
        let mut video = rendition("r360_h264", "avc1.64001e", 90_000);
        video.track.video = Some(VideoFacts {
            size: SIZE,
            frame_rate: RATE,
        });
        video
    }

    fn audio() -> Rendition {
        let mut audio = rendition("und_aac_2ch", "mp4a.40.2", 48_000);
        audio.track.audio = Some(AudioFacts {
            channels: 2,
            sample_rate: 48_000,
            language: "und".to_owned(),
        });
        audio
    }

    fn media(text: &str) -> MediaPlaylist {
        m3u8_rs::parse_media_playlist_res(text.as_bytes()).unwrap()
    }

    fn rule_of_media(change: impl Fn(&str) -> String) -> Option<&'static str> {
        let text = change(&media_playlist(&video(), "init.mp4"));
        check_media(&media(&text), &video())
            .err()
            .map(|(rule, _)| rule)
    }

    fn multivariant() -> String {
        let both = rates(&video()).peak + rates(&audio()).peak;
        let set = Multivariant {
            variants: vec![Variant {
                uri: "video/r360_h264/playlist.m3u8".to_owned(),
                bandwidth: both,
                average_bandwidth: both,
                codecs: "avc1.64001e,mp4a.40.2".to_owned(),
                resolution: SIZE,
                frame_rate: RATE,
            }],
            audio: Some(AudioEntry {
                uri: "audio/und_aac_2ch/playlist.m3u8".to_owned(),
                language: "und".to_owned(),
                channels: 2,
            }),
        };
        set.render("")
    }

    fn rule_of_multivariant(change: impl Fn(&str) -> String) -> Option<&'static str> {
        let text = change(&multivariant());
        let master = m3u8_rs::parse_master_playlist_res(text.as_bytes()).unwrap();
        let (video, audio) = (video(), audio());
        let checked = check_multivariant(&master, (std::slice::from_ref(&video), Some(&audio)));
        checked.err().map(|(rule, _)| rule)
    }

    #[test]
    fn written_playlists_break_no_rule() {
        assert_eq!(rule_of_media(str::to_owned), None);
        assert_eq!(rule_of_multivariant(str::to_owned), None);
    }

    #[test]
    fn each_mistake_in_a_media_playlist_breaks_its_rule() {
        for (from, to, rule) in [
            ("VERSION:6", "VERSION:3", "version"),
            ("#EXT-X-ENDLIST", "", "endlist"),
            ("#EXT-X-INDEPENDENT-SEGMENTS", "", "independent_segments"),
            ("init.mp4", "other.mp4", "map"),
            (
                "#EXTINF:6.000000,\nseg_00002_00000001.m4s\n",
                "",
                "segment_count",
            ),
            ("seg_00002", "seg_00009", "segment_uri"),
            ("EXTINF:6.0000", "EXTINF:5.9000", "extinf"),
            ("TARGETDURATION:6", "TARGETDURATION:5", "target_duration"),
        ] {
            assert_eq!(
                rule_of_media(|text| text.replace(from, to)),
                Some(rule),
                "{from}"
            );
        }
    }

    #[test]
    fn each_mistake_in_the_multivariant_playlist_breaks_its_rule() {
        for (from, to, rule) in [
            ("#EXT-X-INDEPENDENT-SEGMENTS", "", "independent_segments"),
            ("r360_h264", "r480_h264", "variants"),
            (":BANDWIDTH=", ":BANDWIDTH=9", "bandwidth"),
            (
                "AVERAGE-BANDWIDTH=",
                "AVERAGE-BANDWIDTH=9",
                "average_bandwidth",
            ),
            ("avc1.64001e", "avc1.64001f", "codecs"),
            ("640x360", "640x350", "resolution"),
            (",AUDIO=\"audio\"", "", "audio_group"),
            ("DEFAULT=YES", "DEFAULT=NO", "audio_group"),
            ("CHANNELS=\"2\"", "CHANNELS=\"6\"", "audio_group"),
        ] {
            assert_eq!(
                rule_of_multivariant(|text| text.replace(from, to)),
                Some(rule),
                "{from}"
            );
        }
    }
}
