//! Runs the tools and puts their segments together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use telecine_activities::media::encode_audio::{self, EncodeAudio};
use telecine_activities::media::encode_video::{self, EncodeVideo, RungWork, SourceFacts};
use telecine_activities::media::encoded::{Encoded, SegmentFile};
use telecine_activities::media::plan::{Chunk, Rung, SEGMENT_NS};
use telecine_activities::media::renditions::Track;
use telecine_activities::media::report::{AudioTrack, Colour, Ratio, Size};
use telecine_activities::tool::{Message, Tool, ToolError, run_in_process};

use super::clips::Clip;
use super::seen;

/// What a tool told: tracks by name, and segments by name of the track.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) tracks: BTreeMap<String, Track>,
    pub(super) segments: BTreeMap<String, Vec<SegmentFile>>,
}

impl Told {
    /// Adds what another run told.
    pub(super) fn join(&mut self, other: Told) {
        for (name, track) in other.tracks {
            let known = self.tracks.entry(name).or_insert_with(|| track.clone());
            assert_eq!(*known, track, "chunks of a rendition differ");
        }
        for (name, segments) in other.segments {
            self.segments.entry(name).or_default().extend(segments);
        }
    }

    /// Header and segments of a rendition in one file.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        let mut bytes = BASE64.decode(&self.tracks[name].init_base64).unwrap();
        for segment in &self.segments[name] {
            bytes.extend(std::fs::read(&segment.path).unwrap());
        }
        let path = self.segments[name][0]
            .path
            .with_file_name(format!("{name}.mp4"));
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// Start and length of every segment of a rendition.
    pub(super) fn timeline(&self, name: &str) -> Vec<(u32, u64, u64)> {
        self.segments[name]
            .iter()
            .map(|s| (s.number, s.start_ticks, s.duration_ticks))
            .collect()
    }
}

fn sort(messages: Vec<Message<Encoded>>) -> Told {
    let mut told = Told::default();
    for message in messages {
        match message {
            Message::Event(Encoded::Track(track)) => {
                assert!(told.tracks.insert(track.name.clone(), track).is_none());
            }
            Message::Event(Encoded::Segment(segment)) => {
                assert!(
                    told.tracks.contains_key(&segment.track),
                    "a segment before its track"
                );
                told.segments
                    .entry(segment.track.clone())
                    .or_default()
                    .push(segment);
            }
            Message::Progress(_) | Message::Warning(_) => {}
        }
    }
    told
}

/// Runs a tool that has to succeed.
fn run<T: Tool<Event = Encoded>>(spec: T::Spec) -> (T::Output, Told) {
    let (result, messages) = run_in_process::<T>(spec);
    (result.unwrap(), sort(messages))
}

/// Encodes a chunk.
pub(super) fn video(spec: encode_video::Spec) -> (encode_video::Output, Told) {
    run::<EncodeVideo>(spec)
}

/// Why a chunk cannot be encoded.
pub(super) fn video_error(spec: encode_video::Spec) -> ToolError {
    run_in_process::<EncodeVideo>(spec).0.unwrap_err()
}

/// Encodes a track.
pub(super) fn audio(spec: encode_audio::Spec) -> (encode_audio::Output, Told) {
    run::<EncodeAudio>(spec)
}

/// A rung of a ladder.
pub(super) fn rung(width: u32, height: u32) -> RungWork {
    RungWork {
        rung: Rung {
            name: format!("r{}_h264", width.min(height)),
            size: Size { width, height },
            crf: 30,
            max_kbps: 1000,
            preset: "veryfast".to_owned(),
        },
        from_segment: 1,
    }
}

/// What the probe would find about a plain clip.
pub(super) fn facts(num: u32, den: u32) -> SourceFacts {
    SourceFacts {
        index: 0,
        origin_ns: 0,
        start_ns: 0,
        rotation: 0,
        mirrored: false,
        interlaced: false,
        frame_rate: Ratio { num, den },
        variable_frame_rate: false,
        guessed_times: false,
        stored: None,
        pixel_aspect: Ratio { num: 1, den: 1 },
        colour: Colour::default(),
    }
}

/// A whole clip as one chunk, cut at the first frame at or after each multiple of six seconds.
pub(super) fn whole(clip: &Clip, facts: SourceFacts, rungs: Vec<RungWork>) -> encode_video::Spec {
    spec_of(&clip.path, facts, rungs)
}

/// As [`whole`], for a file.
pub(super) fn spec_of(path: &Path, facts: SourceFacts, rungs: Vec<RungWork>) -> encode_video::Spec {
    let times = seen::frame_times_ns(path);
    let rate = facts.frame_rate;
    let last = *times.last().unwrap();
    let end_ns = last + 1_000_000_000 * u64::from(rate.den) / u64::from(rate.num);
    let cuts = (1..).map(|k| k * SEGMENT_NS).take_while(|cut| *cut <= last);
    let cuts = cuts.map(|cut| *times.iter().find(|time| **time >= cut).unwrap());
    let starts_ns: Vec<u64> = std::iter::once(0).chain(cuts).collect();
    encode_video::Spec {
        source: path.to_owned(),
        facts,
        chunk: Chunk {
            index: 0,
            first_segment: 1,
            seeks_ns: vec![0; starts_ns.len()],
            starts_ns,
            until_ns: None,
            end_ns,
        },
        rungs,
        timescale: 30_000,
        frames_before: 0,
        out_dir: path.parent().unwrap().to_owned(),
    }
}

/// The same work as two chunks, the second of which begins with segment `at` (from 0).
pub(super) fn split(spec: &encode_video::Spec, at: usize) -> [encode_video::Spec; 2] {
    let (mut head, mut tail) = (spec.clone(), spec.clone());
    let border = spec.chunk.starts_ns[at];
    head.chunk.starts_ns.truncate(at);
    head.chunk.seeks_ns.truncate(at);
    head.chunk.until_ns = Some(border);
    head.chunk.end_ns = border;
    tail.chunk.index = 1;
    tail.chunk.first_segment += at as u32;
    tail.chunk.starts_ns.drain(..at);
    tail.chunk.seeks_ns = tail.chunk.starts_ns.clone();
    [head, tail]
}

/// A whole audio track, on the grid of six seconds.
pub(super) fn track(path: &Path, track: AudioTrack, end_ns: Option<u64>) -> encode_audio::Spec {
    let end = end_ns.unwrap_or(track.end_ns);
    encode_audio::Spec {
        source: path.to_owned(),
        track_index: 0,
        track,
        segment_starts_ns: (0..)
            .map(|k| k * SEGMENT_NS)
            .take_while(|at| *at < end)
            .collect(),
        end_ns,
        bitrate: 128_000,
        out_dir: path.parent().unwrap().to_owned(),
    }
}

/// What the probe would find about a plain track.
pub(super) fn track_facts(channels: u32, sample_rate: u32, end_ns: u64) -> AudioTrack {
    serde_json::from_value(serde_json::json!({
        "index": 0, "codec": "pcm", "channels": channels, "layout": null,
        "sample_rate": sample_rate, "language": "eng", "default": true,
        "start_ns": 0, "end_ns": end_ns,
    }))
    .unwrap()
}
