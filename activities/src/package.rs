//! `video.package_hls`: headers and playlists over the segments that were encoded.
//!
//! Everything it writes is a pure function of its input, so it writes under fixed names: a second
//! attempt on the same input writes the same bytes. In a later round of the run the input may name
//! other segments, and the playlists then change with it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{Activity, ActivityError, Context, Progress};
use telecine_engine::objects::Artifact;

use crate::keys::{TrackKind, track_file};
use crate::media::playlist::{
    AudioEntry, Multivariant, PictureEntry, Rates, Variant, media_playlist, rates, seconds,
};
use crate::media::renditions::{Rendition, Track};
use crate::media::report::Ratio;

/// MIME type of playlists.
pub const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

/// See the module.
#[derive(Debug)]
pub struct PackageHls;

/// Input of [`PackageHls`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Key prefix of the generation: `videos/ab/ab12.../g1`.
    #[schemars(extend("x-telecine-place" = true))]
    prefix: String,
    /// Output of each chunk of `video.encode`, in order of time; empty without video.
    chunks: Vec<EncodedChunk>,
    /// Output of `audio.encode`; `null` if there is no sound.
    audio: Option<Rendition>,
}

/// One chunk as `video.encode` leaves it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EncodedChunk {
    /// Every rendition of the chunk, largest first.
    pub renditions: Vec<Rendition>,
}

/// Output of [`PackageHls`]: a set that can be validated and published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackagedSet {
    /// Key prefix of the generation.
    pub prefix: String,
    /// The multivariant playlist, relative to the generation.
    pub multivariant: Multivariant,
    /// Headers and playlists that were written.
    pub files: Vec<Artifact>,
    /// Number of segments of each video rendition; of the sound, without video.
    pub segments: u32,
    /// Duration in seconds: of the video, else of the sound.
    pub duration_s: f64,
    /// Bytes of all segments.
    pub size_bytes: u64,
}

impl Activity for PackageHls {
    const NAME: &'static str = "video.package_hls";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str =
        "Writes the headers and playlists of an HLS set (CMAF) over encoded segments.";
    type Input = Input;
    type Output = PackagedSet;

    async fn run(&self, ctx: &Context, input: Input) -> Result<PackagedSet, ActivityError> {
        let video = join_chunks(&input.chunks)?;
        if video.is_empty() && input.audio.is_none() {
            return Err(invalid("there is no rendition".to_owned()));
        }
        let mut files = Vec::new();
        for (kind, rendition) in tracks(&video, input.audio.as_ref()) {
            files.extend(write_track(ctx, &input.prefix, kind, rendition).await?);
            ctx.progress(Progress {
                counter: files.len() as u64,
                ..Progress::default()
            });
        }
        let multivariant = multivariant(&video, input.audio.as_ref());
        let key = format!("{}/master.m3u8", input.prefix);
        files.push(
            ctx.put_bytes(&key, multivariant.render(), PLAYLIST_TYPE)
                .await?,
        );
        Ok(describe(
            input.prefix,
            multivariant,
            files,
            (&video, input.audio.as_ref()),
        ))
    }
}

/// Every track with the directory it belongs to.
pub(crate) fn tracks<'a>(
    video: &'a [Rendition],
    audio: Option<&'a Rendition>,
) -> impl Iterator<Item = (TrackKind, &'a Rendition)> {
    let video = video.iter().map(|rendition| (TrackKind::Video, rendition));
    video.chain(audio.map(|rendition| (TrackKind::Audio, rendition)))
}

async fn write_track(
    ctx: &Context,
    prefix: &str,
    kind: TrackKind,
    rendition: &Rendition,
) -> Result<[Artifact; 2], ActivityError> {
    let key = |file| format!("{prefix}/{}", track_file(kind, &rendition.track.name, file));
    let header = BASE64
        .decode(&rendition.track.init_base64)
        .map_err(|error| {
            ActivityError::bug(
                "bad_header",
                format!("the header of a rendition is no base64: {error}"),
            )
        })?;
    let mime = format!("{}/mp4", kind.as_str());
    Ok([
        ctx.put_bytes(&key("init.mp4"), header, &mime).await?,
        ctx.put_bytes(
            &key("playlist.m3u8"),
            media_playlist(rendition, "init.mp4"),
            PLAYLIST_TYPE,
        )
        .await?,
    ])
}

/// Joins the chunks of each rendition, and checks that they fit; no chunks are no renditions.
///
/// # Errors
/// `package_invalid` (class `bug`), naming the rule.
pub(crate) fn join_chunks(chunks: &[EncodedChunk]) -> Result<Vec<Rendition>, ActivityError> {
    let mut order = Vec::new();
    let mut joined: BTreeMap<&str, Rendition> = BTreeMap::new();
    for rendition in chunks.iter().flat_map(|chunk| &chunk.renditions) {
        let name = rendition.track.name.as_str();
        match joined.get_mut(name) {
            None => {
                order.push(name);
                joined.insert(name, rendition.clone());
            }
            Some(whole) => append(whole, rendition)?,
        }
    }
    let renditions: Vec<Rendition> = order
        .iter()
        .filter_map(|name| joined.remove(name))
        .collect();
    if !chunks.is_empty() {
        check_aligned(&renditions)?;
    }
    Ok(renditions)
}

fn append(whole: &mut Rendition, next: &Rendition) -> Result<(), ActivityError> {
    let name = &whole.track.name;
    if !same_encoding(&whole.track, &next.track) {
        return Err(invalid(format!(
            "the chunks of {name} have different headers"
        )));
    }
    if let (Some(last), Some(first)) = (whole.segments.last(), next.segments.first()) {
        let follows = first.number == last.number + 1
            && first.start_ticks == last.start_ticks + last.duration_ticks;
        if !follows {
            return Err(invalid(format!(
                "segment {} of {name} does not begin where segment {} ends",
                first.number, last.number
            )));
        }
    }
    whole.segments.extend(next.segments.iter().cloned());
    Ok(())
}

fn same_encoding(a: &Track, b: &Track) -> bool {
    (&a.init_base64, &a.codecs, a.timescale) == (&b.init_base64, &b.codecs, b.timescale)
}

/// All renditions cut at the same ticks, from 0 on, without gaps.
fn check_aligned(renditions: &[Rendition]) -> Result<(), ActivityError> {
    let Some(first) = renditions.first() else {
        return Err(invalid("there is no rendition".to_owned()));
    };
    let mut expected = 0;
    for segment in &first.segments {
        if segment.start_ticks != expected || segment.duration_ticks == 0 {
            return Err(invalid(format!("segment {} leaves a gap", segment.number)));
        }
        expected += segment.duration_ticks;
    }
    let grid = |rendition: &Rendition| -> Vec<(u32, u64, u64)> {
        let segments = rendition.segments.iter();
        segments
            .map(|s| (s.number, s.start_ticks, s.duration_ticks))
            .collect()
    };
    for other in &renditions[1..] {
        if other.track.timescale != first.track.timescale || grid(other) != grid(first) {
            return Err(invalid(format!(
                "{} and {} are not cut at the same times",
                first.track.name, other.track.name
            )));
        }
    }
    Ok(())
}

fn invalid(message: String) -> ActivityError {
    ActivityError::bug("package_invalid", message)
}

fn multivariant(video: &[Rendition], audio: Option<&Rendition>) -> Multivariant {
    if video.is_empty() {
        return Multivariant {
            variants: audio.map(sound_alone).into_iter().collect(),
            audio: None,
        };
    }
    let sound = audio.map(|audio| (rates(audio), audio.track.codecs.as_str()));
    Multivariant {
        variants: video
            .iter()
            .filter_map(|rendition| variant(rendition, sound))
            .collect(),
        audio: audio.and_then(audio_entry),
    }
}

/// The variant of a set without video: the audio rendition itself.
fn sound_alone(rendition: &Rendition) -> Variant {
    let Rates { peak, average } = rates(rendition);
    Variant {
        uri: track_file(TrackKind::Audio, &rendition.track.name, "playlist.m3u8"),
        bandwidth: peak,
        average_bandwidth: average,
        codecs: rendition.track.codecs.clone(),
        picture: None,
    }
}

fn variant(rendition: &Rendition, sound: Option<(Rates, &str)>) -> Option<Variant> {
    let Rates { peak, average } = rates(rendition);
    let facts = rendition.track.video.as_ref()?;
    let (audio, codecs) = match sound {
        Some((audio, codecs)) => (audio, format!("{},{codecs}", rendition.track.codecs)),
        None => (
            Rates {
                peak: 0,
                average: 0,
            },
            rendition.track.codecs.clone(),
        ),
    };
    Some(Variant {
        uri: track_file(TrackKind::Video, &rendition.track.name, "playlist.m3u8"),
        bandwidth: peak + audio.peak,
        average_bandwidth: average + audio.average,
        codecs,
        picture: Some(PictureEntry {
            resolution: facts.size,
            frame_rate: shown_rate(rendition, facts.frame_rate),
        }),
    })
}

/// The rate that the file states, unless what its frames show is more than 1 % off: containers
/// state any rate for a video whose rate varies.
fn shown_rate(rendition: &Rendition, stated: Ratio) -> Ratio {
    let ticks: u64 = rendition.segments.iter().map(|s| s.duration_ticks).sum();
    let frames: u64 = rendition
        .segments
        .iter()
        .map(|s| u64::from(s.samples))
        .sum();
    let shown = frames as f64 * f64::from(rendition.track.timescale) / ticks.max(1) as f64;
    let told = f64::from(stated.num) / f64::from(stated.den.max(1));
    if frames == 0 || (shown / told - 1.0).abs() <= 0.01 {
        return stated;
    }
    Ratio {
        num: (shown * 1000.0).round() as u32,
        den: 1000,
    }
}

fn audio_entry(rendition: &Rendition) -> Option<AudioEntry> {
    let facts = rendition.track.audio.as_ref()?;
    Some(AudioEntry {
        uri: track_file(TrackKind::Audio, &rendition.track.name, "playlist.m3u8"),
        language: facts.language.clone(),
        channels: facts.channels,
    })
}

fn describe(
    prefix: String,
    multivariant: Multivariant,
    files: Vec<Artifact>,
    (video, audio): (&[Rendition], Option<&Rendition>),
) -> PackagedSet {
    let first = video.first().or(audio);
    let segments = first.map_or(&[][..], |first| &first.segments);
    let ticks = segments.iter().map(|segment| segment.duration_ticks).sum();
    let timescale = first.map_or(1, |first| first.track.timescale);
    PackagedSet {
        prefix,
        multivariant,
        files,
        segments: u32::try_from(segments.len()).unwrap_or(u32::MAX),
        duration_s: seconds(ticks, timescale),
        size_bytes: tracks(video, audio)
            .flat_map(|(_, rendition)| &rendition.segments)
            .map(|segment| segment.object.size)
            .sum(),
    }
}
