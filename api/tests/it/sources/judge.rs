//! Judges a set with tools that are not ours: ffmpeg, ffprobe, a playlist parser.

use std::path::{Path, PathBuf};

use m3u8_rs::{MasterPlaylist, MediaPlaylist};
use serde_json::Value;

use super::recipes::{Like, Picture, Recipe, spell_out};
use super::sync::{self, Synchrony};
use crate::ffmpeg;

/// Samples of one AAC packet.
const PACKET_SAMPLES: f64 = 1024.0;

/// The least likeness, in dB, of pictures that show the same at 64x36. Measured: the same picture
/// has 29 and more (a picture of 16x16 pixels; 34 from 128x96 on), one in colours of another matrix
/// 28 and less, a mirrored one 17 and less.
const SAME_PICTURE_DB: f64 = 28.5;

/// The least correlation of the brightness of pictures that show the same, whatever their colours
/// have become: of high dynamic range, tone mapping changes all of them.
const SAME_SHAPES: f64 = 0.9;

/// The least standard deviation of the brightness of a picture on which shapes can be seen.
const SHAPES_SEEN: f64 = 4.0;

/// A media playlist, and how it is cut.
#[derive(Debug)]
struct Track {
    playlist: PathBuf,
    starts_s: Vec<f64>,
    seconds: f64,
    /// The largest rate of segments that together last half to one and a half target durations
    /// (RFC 8216bis, section 4.1).
    peak: f64,
}

/// A set as its multivariant playlist describes it.
#[derive(Debug)]
pub(super) struct Set {
    generation: PathBuf,
    master: MasterPlaylist,
    video: Vec<Track>,
    sound: Option<Track>,
}

impl Set {
    /// Reads the playlists of the first generation.
    pub(super) fn read(set: &Path) -> Self {
        let generation = set.join("g1");
        let text = std::fs::read(generation.join("master.m3u8")).expect("a playlist");
        let master = m3u8_rs::parse_master_playlist_res(&text).expect("a multivariant playlist");
        let track = |uri: &str| Track::read(&generation.join(uri));
        let pictures = master
            .variants
            .iter()
            .filter(|variant| variant.resolution.is_some());
        let alone = master
            .variants
            .iter()
            .find(|variant| variant.resolution.is_none());
        let beside = master
            .alternatives
            .first()
            .and_then(|media| media.uri.clone());
        Self {
            video: pictures.map(|variant| track(&variant.uri)).collect(),
            sound: alone
                .map(|variant| variant.uri.clone())
                .or(beside)
                .as_deref()
                .map(track),
            generation,
            master,
        }
    }

    /// Checks everything that a recipe promises.
    pub(super) fn check(&self, recipe: &Recipe, source: &Path) {
        self.check_boundaries();
        self.check_bandwidth();
        self.check_extent(recipe);
        match &recipe.picture {
            Some(picture) => self.check_picture(picture, source),
            None => assert!(self.video.is_empty(), "there is a picture"),
        }
        self.check_sound(recipe.sound);
        if let Some(at_s) = recipe.flash_s {
            self.check_sync(at_s);
        }
    }

    /// How many variants the multivariant playlist has.
    pub(super) fn variants(&self) -> usize {
        self.master.variants.len()
    }

    /// How many pictures the largest rendition has.
    pub(super) fn pictures(&self) -> usize {
        if self.video.is_empty() {
            return 0;
        }
        packets(&self.top().playlist).len()
    }

    /// Whether sound plays beside a picture.
    pub(super) fn has_sound_beside(&self) -> bool {
        self.sound.is_some() && !self.video.is_empty()
    }

    /// Whether sound and picture are together as they are in the source; `None` if there are not both.
    pub(super) fn synchrony(&self, source: &Path) -> Option<Synchrony> {
        let smallest = self.video.last()?;
        let sound = self.sound.as_ref()?;
        let made = (smallest.playlist.as_path(), sound.playlist.as_path());
        Some(sync::compare(source, main_sound(source), made))
    }

    /// What holds of every set: cuts, rates, that ffmpeg decodes it without a word, and that it shows
    /// what ffmpeg shows of the source.
    pub(super) fn check_in_general(&self, source: &Path) {
        self.check_boundaries();
        self.check_bandwidth();
        for track in self.video.iter().chain(&self.sound) {
            ffmpeg::decoded(&track.playlist);
        }
        let streams = ffmpeg::probe(source, "-show_streams")["streams"].take();
        let streams = streams.as_array().expect("streams");
        let picture = streams.iter().find(|stream| is_picture(stream));
        assert_eq!(picture.is_none(), self.video.is_empty(), "picture");
        let sound = streams.iter().any(|stream| stream["codec_type"] == "audio");
        assert_eq!(sound, self.sound.is_some(), "sound");
        if let Some(stream) = picture {
            self.check_aspect(displayed_aspect(stream));
            self.check_shapes(source);
        }
    }

    /// Every rendition is progressive, of square pixels, and as wide for its height as the source.
    fn check_aspect(&self, expected: f64) {
        for track in &self.video {
            assert!(!ffmpeg::is_interlaced(&track.playlist));
            let what = "-select_streams v:0 -show_streams";
            let stream = ffmpeg::probe(&track.playlist, what)["streams"][0].take();
            assert_eq!(stream["sample_aspect_ratio"], "1:1");
            let [width, height] = ["width", "height"].map(|side| number(&stream[side]));
            // Sides are even: each may be a pixel off.
            let allowed = expected * (1.0 / width + 1.0 / height);
            assert!(
                (width / height - expected).abs() <= allowed,
                "{width}x{height} instead of {expected:.3}:1"
            );
        }
    }

    /// Dark is dark and light is light where ffmpeg shows it so, and not where it would be mirrored or
    /// upside down.
    fn check_shapes(&self, source: &Path) {
        let top = self.top();
        let shares: &[f64] = if self.pictures() == 1 {
            &[0.0]
        } else {
            &[0.25, 0.6]
        };
        for share in shares {
            let at_s = top.seconds * share;
            let shown = Shapes::at(&top.playlist, at_s);
            let given = Shapes::at(source, at_s);
            if given.deviation() < SHAPES_SEEN {
                assert!(shown.deviation() < 2.0 * SHAPES_SEEN, "{at_s:.2} s is flat");
                continue;
            }
            let own = shown.likeness(&given);
            let turned = given.turned().map(|turned| shown.likeness(&turned));
            assert!(
                own >= SAME_SHAPES && turned.iter().all(|other| *other <= own),
                "at {at_s:.2} s {own:.3} of ffmpeg's picture, {turned:.3?} of it turned"
            );
        }
    }

    /// One whole picture came of every frame that ffmpeg shows of an interlaced source, and shows what
    /// both of its fields do, in the order that ffmpeg tells: no field before and none after is as
    /// like it. Measured of a recording: 40 dB and more, at most 36 dB of the neighbours.
    pub(super) fn check_fields(&self, source: &Path) {
        let frames = interlaced_frames(source);
        for track in &self.video {
            assert_eq!(ffmpeg::decoded(&track.playlist), frames);
            assert!(!ffmpeg::is_interlaced(&track.playlist));
        }
        let (top, source) = (&self.top().playlist, ["-i", text(source)]);
        for frame in [1, frames / 2, frames - 2] {
            let shown = thumbnail(&["-i", text(top)], frame);
            let like = |field| likeness(&shown, &field_thumbnail(&source, field));
            let own = like(2 * frame).max(like(2 * frame + 1));
            let other = like(2 * frame - 1).max(like(2 * frame + 2));
            let right = own >= SAME_PICTURE_DB && own > other + 1.0;
            assert!(right, "frame {frame}: {own:.1} dB, others {other:.1} dB");
        }
    }

    /// All pictures are cut at the same times, each with a keyframe; sound within one packet.
    fn check_boundaries(&self) {
        let Some(first) = self.video.first() else {
            return;
        };
        for track in &self.video {
            assert_eq!(
                track.starts_s,
                first.starts_s,
                "{}",
                track.playlist.display()
            );
            let keyframes = keyframes(&track.playlist);
            for start in &track.starts_s {
                let hit = keyframes.iter().any(|time| (time - start).abs() < 0.001);
                assert!(
                    hit,
                    "no keyframe at {start} in {}",
                    track.playlist.display()
                );
            }
        }
        let Some(sound) = &self.sound else { return };
        assert_eq!(
            sound.starts_s.len(),
            first.starts_s.len(),
            "as many segments of sound"
        );
        let packet_s = PACKET_SAMPLES / f64::from(sound.sample_rate());
        for (heard, seen) in sound.starts_s.iter().zip(&first.starts_s) {
            assert!(
                (heard - seen).abs() <= packet_s,
                "sound is cut at {heard}, not {seen}"
            );
        }
        assert!(
            (sound.seconds - first.seconds).abs() <= packet_s + 0.001,
            "the ends differ"
        );
    }

    /// Every declared rate is within 10 % of the measured one.
    fn check_bandwidth(&self) {
        for variant in &self.master.variants {
            let playlist = self.generation.join(&variant.uri);
            let track = self.video.iter().chain(&self.sound);
            let peak: f64 = track
                .filter(|track| track.playlist == playlist || self.is_beside(track))
                .map(|track| track.peak)
                .sum();
            let off = (variant.bandwidth as f64 - peak).abs() / peak;
            assert!(
                off <= 0.1,
                "{} declares {}, {peak:.0} measured",
                variant.uri,
                variant.bandwidth
            );
        }
    }

    /// Whether a track is the sound that plays with every picture.
    fn is_beside(&self, track: &Track) -> bool {
        let sound = self.sound.as_ref().map(|sound| &sound.playlist);
        !self.video.is_empty() && sound == Some(&track.playlist)
    }

    fn check_extent(&self, recipe: &Recipe) {
        let frames = recipe
            .picture
            .map_or(0.0, |picture| recipe.seconds / picture.frames as f64);
        for track in self.video.iter().chain(&self.sound) {
            let off = (track.seconds - recipe.seconds).abs();
            // Lossy packets of sound last up to 26 ms, and may bring their encoder's run-up.
            let allowed = if recipe.picture.is_some() {
                frames.max(0.022)
            } else {
                0.08
            };
            assert!(
                off <= allowed,
                "{} s instead of {}",
                track.seconds,
                recipe.seconds
            );
        }
    }

    fn check_picture(&self, picture: &Picture, source: &Path) {
        assert!(!self.video.is_empty(), "there is no picture");
        for track in &self.video {
            let frames = ffmpeg::decoded(&track.playlist);
            assert_eq!(
                frames,
                picture.frames,
                "frames of {}",
                track.playlist.display()
            );
            if picture.even {
                assert_even(&track.playlist);
            }
        }
        let top = self.top();
        let stream =
            &ffmpeg::probe(&top.playlist, "-select_streams v:0 -show_streams")["streams"][0];
        let size = (stream["width"].as_u64(), stream["height"].as_u64());
        let expected = (Some(picture.width.into()), Some(picture.height.into()));
        assert_eq!(size, expected, "size of the picture");
        assert_eq!(stream["pix_fmt"], "yuv420p");
        assert_eq!(stream["sample_aspect_ratio"], "1:1");
        assert!(
            !ffmpeg::is_interlaced(&top.playlist),
            "the picture is interlaced"
        );
        assert_eq!(stream["color_range"], "tv");
        for frame in [0, picture.frames / 2] {
            picture.like.check(&top.playlist, source, frame);
        }
    }

    /// The largest picture.
    fn top(&self) -> &Track {
        let names = self.master.variants.iter().zip(&self.video);
        let largest =
            names.max_by_key(|(variant, _)| variant.resolution.map_or(0, |r| r.width * r.height));
        largest.expect("a variant").1
    }

    fn check_sound(&self, rate: Option<u32>) {
        assert_eq!(self.sound.is_some(), rate.is_some(), "sound");
        let (Some(sound), Some(rate)) = (&self.sound, rate) else {
            return;
        };
        ffmpeg::decoded(&sound.playlist);
        let stream =
            &ffmpeg::probe(&sound.playlist, "-select_streams a:0 -show_streams")["streams"][0];
        assert_eq!(
            (&stream["codec_name"], &stream["channels"]),
            (&"aac".into(), &2.into())
        );
        assert_eq!(sound.sample_rate(), rate);
        let loudest = ffmpeg::loudness(&sound.playlist);
        assert!(loudest > 0.02, "the sound is silent: {loudest}");
        assert!(loudest < 1.0, "the sound is clipped: {loudest}");
    }

    /// The first flash and the first beep come within a frame of their time, and of each other.
    fn check_sync(&self, at_s: f64) {
        const FRAME_S: f64 = 0.04;
        let seen = ffmpeg::sync(&self.generation.join("master.m3u8"), at_s);
        for (what, time_s) in [("flash", seen.flash_s), ("beep", seen.beep_s)] {
            assert!(
                (time_s - at_s).abs() <= FRAME_S,
                "the {what} comes at {time_s:.3} s, not {at_s}"
            );
        }
        assert!((seen.flash_s - seen.beep_s).abs() <= FRAME_S, "{seen:?}");
    }
}

impl Track {
    fn read(playlist: &Path) -> Self {
        let text = std::fs::read(playlist).expect("a media playlist");
        let media = m3u8_rs::parse_media_playlist_res(&text).expect("a media playlist");
        let mut seconds = 0.0;
        let mut starts_s = Vec::new();
        for segment in &media.segments {
            starts_s.push(seconds);
            seconds += f64::from(segment.duration);
        }
        Self {
            peak: peak(&media, playlist),
            playlist: playlist.to_owned(),
            starts_s,
            seconds,
        }
    }

    fn sample_rate(&self) -> u32 {
        let streams = ffmpeg::probe(&self.playlist, "-select_streams a:0 -show_streams");
        let rate = streams["streams"][0]["sample_rate"]
            .as_str()
            .expect("a rate");
        rate.parse().expect("a number")
    }
}

/// The largest rate of any run of segments that lasts 0.5 to 1.5 target durations, from the sizes
/// of the files; of the whole if it is shorter.
fn peak(media: &MediaPlaylist, playlist: &Path) -> f64 {
    let sizes: Vec<(f64, f64)> = media
        .segments
        .iter()
        .map(|segment| {
            let file = playlist.with_file_name(&segment.uri);
            let bytes = file.metadata().expect("a segment").len();
            (bytes as f64 * 8.0, f64::from(segment.duration))
        })
        .collect();
    let target = media.target_duration as f64;
    let runs = (0..sizes.len()).flat_map(|from| (from + 1..=sizes.len()).map(move |to| (from, to)));
    let rates = runs.filter_map(|(from, to)| {
        let run = sizes[from..to].iter();
        let (bits, seconds) = run.fold((0.0, 0.0), |sum, next| (sum.0 + next.0, sum.1 + next.1));
        let whole = to - from == sizes.len();
        let counts =
            (0.5 * target..=1.5 * target).contains(&seconds) || (whole && seconds < 0.5 * target);
        counts.then(|| bits / seconds)
    });
    rates.fold(0.0, f64::max)
}

fn packets(playlist: &Path) -> Vec<Value> {
    let what = "-select_streams v:0 -show_entries packet=pts,pts_time,flags";
    let packets = ffmpeg::probe(playlist, what)["packets"].take();
    packets.as_array().expect("packets").clone()
}

/// How many frames ffmpeg shows of a source, each of two fields.
fn interlaced_frames(source: &Path) -> usize {
    let what = "-select_streams v:0 -show_entries frame=interlaced_frame";
    let frames = ffmpeg::probe(source, what)["frames"].take();
    let frames = frames.as_array().expect("frames");
    let fields = frames.iter().all(|frame| frame["interlaced_frame"] == 1);
    assert!(fields, "{} has whole pictures", source.display());
    frames.len()
}

fn keyframes(playlist: &Path) -> Vec<f64> {
    let key = |packet: &&Value| {
        packet["flags"]
            .as_str()
            .is_some_and(|flags| flags.starts_with('K'))
    };
    let time = |packet: &Value| packet["pts_time"].as_str()?.parse().ok();
    packets(playlist)
        .iter()
        .filter(key)
        .filter_map(time)
        .collect()
}

/// All frames are shown equally long, to the tick.
fn assert_even(playlist: &Path) {
    let mut times: Vec<i64> = packets(playlist)
        .iter()
        .filter_map(|p| p["pts"].as_i64())
        .collect();
    times.sort_unstable();
    let mut steps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    steps.sort_unstable();
    steps.dedup();
    assert!(
        steps.len() <= 1,
        "frames last {steps:?} ticks in {}",
        playlist.display()
    );
}

impl Like {
    /// Compares a frame of a rendition with what it is to look like.
    fn check(self, playlist: &Path, source: &Path, frame: usize) {
        let shown = thumbnail(&["-i", text(playlist)], frame);
        let alike: Vec<f64> = match self {
            Self::Source { step } => {
                vec![likeness(
                    &shown,
                    &thumbnail(&["-i", text(source)], frame * step),
                )]
            }
            Self::Pictures(pictures) => {
                let command = spell_out(pictures);
                let input: Vec<&str> = command.split_whitespace().collect();
                vec![likeness(&shown, &thumbnail(&input, frame))]
            }
            Self::Fields(pictures) => {
                let command = spell_out(pictures);
                let input: Vec<&str> = command.split_whitespace().collect();
                let nearest =
                    [2 * frame, 2 * frame + 1].map(|n| likeness(&shown, &thumbnail(&input, n)));
                nearest.to_vec()
            }
        };
        let best = alike.iter().copied().fold(0.0, f64::max);
        assert!(best >= SAME_PICTURE_DB, "frame {frame} has {alike:.1?} dB");
    }
}

/// Which of the sounds of a source is published: the first that is marked as the one to play, or the
/// first.
fn main_sound(source: &Path) -> usize {
    let streams = ffmpeg::probe(source, "-select_streams a -show_streams")["streams"].take();
    let mut streams = streams.as_array().expect("streams").iter();
    let marked = streams.position(|stream| stream["disposition"]["default"] == 1);
    marked.unwrap_or(0)
}

/// Whether a stream is a video, and no cover of a sound file.
fn is_picture(stream: &Value) -> bool {
    stream["codec_type"] == "video" && stream["disposition"]["attached_pic"] == 0
}

/// Width over height of a stream as it is to be shown: upright, with square pixels.
fn displayed_aspect(stream: &Value) -> f64 {
    let pixel = stream["sample_aspect_ratio"].as_str().and_then(|ratio| {
        let (width, height) = ratio.split_once(':')?;
        Some(width.parse::<f64>().ok()? / height.parse::<f64>().ok()?)
    });
    let pixel = pixel.filter(|pixel| *pixel > 0.0).unwrap_or(1.0);
    let aspect = number(&stream["width"]) / number(&stream["height"]) * pixel;
    let side_data = stream["side_data_list"].as_array();
    let turns = side_data.into_iter().flatten();
    let turn = turns.filter_map(|data| data["rotation"].as_i64()).next();
    if turn.unwrap_or(0) % 180 == 0 {
        aspect
    } else {
        1.0 / aspect
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

/// The brightness of a picture, in 64 columns and 36 rows.
struct Shapes(Vec<f64>);

impl Shapes {
    const WIDTH: usize = 64;

    /// Of the first frame of a video at or after a time.
    fn at(video: &Path, at_s: f64) -> Self {
        let filter = format!("select=gte(t\\,{at_s:.3}),format=gray,scale=64:36:flags=area");
        let bytes = first_frame(&["-i", text(video)], &filter);
        assert_eq!(bytes.len(), 64 * 36, "no frame at {at_s:.3} s");
        Self(bytes.into_iter().map(f64::from).collect())
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares = self.0.iter().map(|value| (value - mean).powi(2));
        (squares.sum::<f64>() / self.0.len() as f64).sqrt()
    }

    /// Pearson's correlation: 1 where one is as bright as the other, in whatever scale.
    fn likeness(&self, other: &Self) -> f64 {
        let (mine, others) = (self.mean(), other.mean());
        let products = self.0.iter().zip(&other.0);
        let covariance = products
            .map(|(a, b)| (a - mine) * (b - others))
            .sum::<f64>();
        covariance / self.0.len() as f64 / (self.deviation() * other.deviation()).max(1e-9)
    }

    /// Mirrored, upside down, and both.
    fn turned(&self) -> [Self; 3] {
        let mirror = |rows: &[f64]| {
            let rows = rows.chunks(Self::WIDTH);
            rows.flat_map(|row| row.iter().rev().copied())
                .collect::<Vec<f64>>()
        };
        let half_turn: Vec<f64> = self.0.iter().rev().copied().collect();
        [mirror(&self.0), mirror(&half_turn), half_turn].map(Self)
    }
}

/// A frame of a video as ffmpeg shows it, in 64x36 pixels of RGB: without the detail that
/// encoding changes, with all that must not change.
fn thumbnail(input: &[&str], frame: usize) -> Vec<u8> {
    thumbnail_after("null", input, frame)
}

/// The same of a field, counted in the order of time.
fn field_thumbnail(input: &[&str], field: usize) -> Vec<u8> {
    thumbnail_after("separatefields", input, field)
}

fn thumbnail_after(filter: &str, input: &[&str], frame: usize) -> Vec<u8> {
    let filter = format!("{filter},select=eq(n\\,{frame}),format=rgb24,scale=64:36:flags=area");
    let bytes = first_frame(input, &filter);
    assert_eq!(bytes.len(), 64 * 36 * 3, "{input:?} has no frame {frame}");
    bytes
}

/// The bytes of the first frame that comes through a filter of ffmpeg; none if none does.
fn first_frame(input: &[&str], filter: &str) -> Vec<u8> {
    let rest = [
        "-map",
        "0:v:0",
        "-vf",
        filter,
        "-frames:v",
        "1",
        "-f",
        "rawvideo",
        "-",
    ];
    ffmpeg::quietly(Path::new("."), &[input, &rest].concat())
}

/// Peak signal to noise ratio in dB.
fn likeness(a: &[u8], b: &[u8]) -> f64 {
    let squares = a
        .iter()
        .zip(b)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
    let error = squares.sum::<f64>() / a.len() as f64;
    10.0 * (255.0_f64.powi(2) / error.max(0.01)).log10()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are plain")
}

#[test]
fn a_picture_is_told_from_itself_turned() {
    let directory = tempfile::tempdir().unwrap();
    let clip = directory.path().join("clip.mkv");
    let make = spell_out("video=320x240:25:1 -c:v ffv1 clip.mkv");
    let words: Vec<&str> = make.split_whitespace().collect();
    ffmpeg::quietly(directory.path(), &words);
    let shapes = Shapes::at(&clip, 0.5);
    assert!(shapes.likeness(&Shapes::at(&clip, 0.6)) > SAME_SHAPES);
    for turned in shapes.turned() {
        assert!(shapes.likeness(&turned) < SAME_SHAPES);
    }
}
