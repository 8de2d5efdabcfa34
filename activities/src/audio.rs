//! `audio.encode`: the sound of a source, whole: AAC cannot be encoded in chunks.
//!
//! A checkpoint at the end names all segments. Where some are lost later, the sound is encoded once
//! more, and only those are stored.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Deserialize;
use telecine_engine::activity::{Activity, ActivityError, Context};

use crate::child::{Heard, Limits, Running, ToolHost};
use crate::keys::{TrackKind, segment_file, track_file};
use crate::media::encode_audio::{EncodeAudio, Spec};
use crate::media::encoded::{Encoded, SegmentFile};
use crate::media::renditions::{Rendition, Segment};
use crate::media::report::AudioTrack;
use crate::source;

/// MIME type of an audio segment.
const SEGMENT_TYPE: &str = "audio/mp4";

/// Bits per second of the stereo rendition: transparent for most listeners with AAC-LC.
const BITRATE: u32 = 128_000;

/// See the module.
#[derive(Debug)]
pub struct AudioEncode {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// Input of [`AudioEncode`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Key of the video in the source store.
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
    /// Every audio track of the source, as probed. One is encoded: the first that the file marks
    /// as its default, else the first.
    tracks: Vec<AudioTrack>,
    /// Starts of all segments, the first being 0.
    segment_starts_ns: Vec<u64>,
    /// End of the presentation, to which the sound is cut or filled with silence; `null` lets it end
    /// where it does.
    end_ns: Option<u64>,
    /// Key prefix of the generation: `videos/ab/ab12.../g1`.
    #[schemars(extend("x-telecine-place" = true))]
    prefix: String,
}

impl Activity for AudioEncode {
    const NAME: &'static str = "audio.encode";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Encodes one audio track of a source as stereo AAC.";
    const MENDS: bool = true;
    type Input = Input;
    type Output = Rendition;

    fn tool_fingerprint(&self) -> String {
        crate::gstreamer_version()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<Rendition, ActivityError> {
        let track = main_track(&input.tracks)?;
        if let Some(warning) = left_out(&input.tracks, track) {
            ctx.warn(warning);
        }
        if let Some(warning) = other_length(track, input.end_ns) {
            ctx.warn(warning);
        }
        let made = match ctx.checkpoint::<Rendition>()? {
            Some(made) if is_whole(&made, ctx.damaged()) => return Ok(made),
            Some(made) => undamaged(made, ctx.damaged()),
            None => BTreeMap::new(),
        };
        let source = source::local(ctx, &input.source).await?;
        let spec = Spec {
            source: source.path,
            track_index: track.index,
            track: track.clone(),
            segment_starts_ns: input.segment_starts_ns,
            end_ns: input.end_ns,
            bitrate: BITRATE,
            out_dir: source::scratch_dir(ctx, "segments")?,
        };
        let media_s = input.end_ns.unwrap_or(track.end_ns) as f64 / 1e9;
        let limits = Limits::for_media(media_s);
        let running = self.host.start::<EncodeAudio>(ctx, spec, limits).await?;
        let encoding = Encoding {
            ctx,
            prefix: &input.prefix,
            made,
            segments: Vec::new(),
        };
        encoding.drive(running).await
    }
}

fn is_whole(made: &Rendition, damaged: &[String]) -> bool {
    let mut segments = made.segments.iter();
    !segments.any(|segment| damaged.contains(&segment.object.key))
}

/// The segments that need not be stored again, by number.
fn undamaged(made: Rendition, damaged: &[String]) -> BTreeMap<u32, Segment> {
    let left = made.segments.into_iter();
    left.filter(|segment| !damaged.contains(&segment.object.key))
        .map(|segment| (segment.number, segment))
        .collect()
}

/// One attempt at the sound.
struct Encoding<'a> {
    ctx: &'a Context,
    prefix: &'a str,
    /// Segments that an earlier attempt has made.
    made: BTreeMap<u32, Segment>,
    segments: Vec<Segment>,
}

impl Encoding<'_> {
    async fn drive(
        mut self,
        mut running: Running<'_, EncodeAudio>,
    ) -> Result<Rendition, ActivityError> {
        loop {
            match running.next().await? {
                Heard::Event(Encoded::Track(_)) => {}
                Heard::Event(Encoded::Segment(file)) => {
                    let segment = self.keep(file).await?;
                    self.segments.push(segment);
                }
                Heard::Done(output) => {
                    let rendition = Rendition {
                        track: output.track,
                        segments: self.segments,
                    };
                    self.ctx.save(&rendition).await?;
                    return Ok(rendition);
                }
            }
        }
    }

    /// Stores a segment, unless an earlier attempt has made the same.
    async fn keep(&mut self, file: SegmentFile) -> Result<Segment, ActivityError> {
        match self.made.remove(&file.number) {
            Some(made) if is_as_long(&made, &file) => {
                remove(&file.path)?;
                Ok(made)
            }
            _ => store(self.ctx, self.prefix, file).await,
        }
    }
}

/// Whether a segment takes the same place on the timeline as one that was made now.
fn is_as_long(made: &Segment, file: &SegmentFile) -> bool {
    let place = (made.start_ticks, made.duration_ticks, made.samples);
    place == (file.start_ticks, file.duration_ticks, file.samples)
}

fn remove(file: &Path) -> Result<(), ActivityError> {
    std::fs::remove_file(file).map_err(|e| ActivityError::io("remove a scratch file", e))
}

async fn store(ctx: &Context, prefix: &str, file: SegmentFile) -> Result<Segment, ActivityError> {
    let name = segment_file(file.number, ctx.attempt_tag());
    let path = track_file(TrackKind::Audio, &file.track, &name);
    let key = format!("{prefix}/{path}");
    Ok(Segment {
        number: file.number,
        start_ticks: file.start_ticks,
        duration_ticks: file.duration_ticks,
        samples: file.samples,
        object: ctx.put_file(&key, &file.path, SEGMENT_TYPE).await?,
    })
}

/// The track that is encoded: the first that the file marks as its default, else the first.
///
/// # Errors
/// `no_audio` if there is none.
pub(crate) fn main_track(tracks: &[AudioTrack]) -> Result<&AudioTrack, ActivityError> {
    tracks
        .iter()
        .find(|track| track.default)
        .or(tracks.first())
        .ok_or_else(|| ActivityError::input("no_audio", "the source has no audio track"))
}

/// What is said where the sound does not last as long as the picture.
fn other_length(track: &AudioTrack, end_ns: Option<u64>) -> Option<String> {
    /// Within it lie the last packet of the sound and the last frame.
    const NEAR_NS: u64 = 500_000_000;
    let seconds = |ns: u64| ns as f64 / 1e9;
    let (picture_ns, sound_ns) = (end_ns?, track.end_ns);
    if sound_ns > picture_ns + NEAR_NS {
        return Some(format!(
            "sound_cut: the sound lasts {:.1} s and the picture {:.1} s; it is cut where the \
             picture ends",
            seconds(sound_ns),
            seconds(picture_ns)
        ));
    }
    (sound_ns + NEAR_NS < picture_ns).then(|| {
        format!(
            "sound_short: the sound lasts {:.1} s and the picture {:.1} s; silence fills the rest",
            seconds(sound_ns),
            seconds(picture_ns)
        )
    })
}

/// What is said about the tracks that are not encoded.
fn left_out(tracks: &[AudioTrack], chosen: &AudioTrack) -> Option<String> {
    let others: Vec<&str> = tracks
        .iter()
        .filter(|track| track.index != chosen.index)
        .map(|track| track.language.as_str())
        .collect();
    (!others.is_empty()).then(|| {
        format!(
            "tracks_left_out: only the audio track in {} is used; left out: {}",
            chosen.language,
            others.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(index: u32, language: &str, default: bool) -> AudioTrack {
        AudioTrack {
            index,
            origin_ns: 0,
            codec: "aac".to_owned(),
            channels: 2,
            layout: None,
            sample_rate: 48_000,
            language: language.to_owned(),
            default,
            start_ns: 0,
            end_ns: 1,
        }
    }

    #[test]
    fn the_first_default_track_is_taken_and_the_others_are_named() {
        let tracks = [
            track(0, "eng", false),
            track(1, "deu", true),
            track(2, "jpn", true),
        ];
        let chosen = main_track(&tracks).unwrap();
        assert_eq!(chosen.language, "deu");
        let warning = left_out(&tracks, chosen).unwrap();
        assert!(
            warning.contains("deu is used; left out: eng, jpn"),
            "{warning}"
        );
    }

    #[test]
    fn without_a_default_the_first_track_is_taken() {
        let tracks = [track(0, "eng", false), track(1, "deu", false)];
        assert_eq!(main_track(&tracks).unwrap().language, "eng");
    }

    #[test]
    fn a_single_track_needs_no_warning() {
        let tracks = [track(0, "und", true)];
        assert_eq!(left_out(&tracks, &tracks[0]), None);
    }

    #[test]
    fn sound_that_lasts_longer_or_shorter_than_the_picture_is_told() {
        let mut sound = track(0, "und", true);
        sound.end_ns = 9_000_000_000;
        let told = |end_s: f64| other_length(&sound, Some((end_s * 1e9) as u64));
        let code = |end_s| told(end_s).map(|text| text.split(':').next().unwrap().to_owned());
        assert_eq!(code(6.0).as_deref(), Some("sound_cut"));
        assert_eq!(code(12.0).as_deref(), Some("sound_short"));
        assert_eq!((told(8.6), told(9.4)), (None, None));
        assert_eq!(other_length(&sound, None), None);
    }

    #[test]
    fn no_track_is_the_fault_of_the_source() {
        assert_eq!(&*main_track(&[]).unwrap_err().code, "no_audio");
    }
}
