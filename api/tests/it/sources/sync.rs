//! Whether sound and picture of a set belong together as they do in the source: what ffmpeg shows
//! and plays of both, each on its own timeline, is laid over each other, and the picture must have
//! moved as far as the sound.

use std::path::Path;

use super::recipes::run;
use crate::ffmpeg;

/// How much of a source is looked at: three segments and a bit.
const WINDOW_S: u32 = 20;

/// How far sound and picture are looked for. Sets begin at zero, sources up to half a second later.
const SEARCH_S: f64 = 0.6;

/// Steps of the search, and of the levels of sound.
const STEP_S: f64 = 0.001;

/// Samples per second from which the levels are taken.
const SAMPLE_RATE: f64 = 8_000.0;

/// Sides of the pictures that are compared.
const SIDE: usize = 48;

/// The least correlation of sounds that are the same. Of a steady tone it is at most 0.6.
const SAME_SOUND: f64 = 0.7;

/// How much worse, at least, the correlation is a frame away: otherwise nothing was told.
const SOUND_TOLD: f64 = 0.03;

/// How much worse, at least, pictures fit a frame away, in levels of grey of 255: otherwise nothing
/// moves that could tell. Measured: 0.03 of the Earth turning slowly, less than 0.01 of still pictures.
const PICTURE_TOLD: f64 = 0.02;

/// How far a set has moved what it shows and plays, in seconds.
#[derive(Debug)]
pub(super) struct Moved {
    picture_s: f64,
    sound_s: f64,
    /// How long a frame of the set lasts.
    frame_s: f64,
}

/// What a comparison came to.
#[derive(Debug)]
pub(super) enum Synchrony {
    /// Both could be found.
    Measured(Moved),
    /// Pictures that do not move, or sound without onsets, tell nothing.
    Untold(String),
}

impl Moved {
    /// The same, measured against pictures that were shown later than they should have been.
    pub(super) fn corrected(self, shown_late_s: f64) -> Self {
        Self {
            picture_s: self.picture_s + shown_late_s,
            ..self
        }
    }

    /// How much later the sound comes than it should, in seconds.
    pub(super) fn apart_s(&self) -> f64 {
        self.sound_s - self.picture_s
    }

    /// Whether sound and picture are apart by less than a frame.
    pub(super) fn is_together(&self) -> bool {
        // To the millisecond, in which it was measured.
        self.apart_s().abs() < self.frame_s - STEP_S
    }
}

/// Compares the sound (its stream `track` among those of the source) and the picture of a source
/// with the playlists made of them.
pub(super) fn compare(source: &Path, track: usize, (picture, sound): (&Path, &Path)) -> Synchrony {
    let given = Shown::of(&[source], track);
    let made = Shown::of(&[picture, sound], 0);
    let frame_s = made.frame_s();
    let pictures = lag_of_pictures(&given.pictures, &made.pictures, frame_s);
    let sounds = lag_of_sounds(&given.sound, &made.sound, frame_s);
    match (pictures, sounds) {
        (Ok(picture_s), Ok(sound_s)) => Synchrony::Measured(Moved {
            picture_s,
            sound_s,
            frame_s,
        }),
        (Err(why), _) | (_, Err(why)) => Synchrony::Untold(why),
    }
}

/// A picture, from when to when it is shown.
#[derive(Debug)]
struct Picture {
    from_s: f64,
    to_s: f64,
    grey: Vec<u8>,
}

/// Levels of sound, one for each [`STEP_S`].
#[derive(Debug)]
struct Sound {
    from_s: f64,
    onsets: Vec<f64>,
}

/// What ffmpeg shows and plays, in seconds since the first of both.
#[derive(Debug)]
struct Shown {
    pictures: Vec<Picture>,
    sound: Sound,
}

impl Shown {
    /// Of one file with both, or of one of each.
    fn of(files: &[&Path], track: usize) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut words: Vec<String> = vec!["-copyts".into()];
        for file in files {
            words.extend(["-i".into(), file.to_str().expect("a plain path").into()]);
        }
        // In microseconds: as seconds they are printed with six digits in all.
        let seen = "settb=1/1000000,metadata=add:key=seen:value=1,metadata=print:key=seen:file";
        let heard = seen
            .replace("settb", "asettb")
            .replace("metadata", "ametadata");
        words.push(format!(
            "-map 0:v:0 -vf trim=duration={WINDOW_S},scale={SIDE}:{SIDE}:flags=area,format=gray,{seen}=seen \
             -fps_mode passthrough -f rawvideo pictures"
        ));
        // Gaps are filled, so that a sample's place is its time.
        words.push(format!(
            "-map {}:a:{track} -af aresample={SAMPLE_RATE}:async=1:min_hard_comp=0.01,\
             aformat=channel_layouts=mono,atrim=duration={WINDOW_S},{heard}=heard \
             -f f32le sound",
            files.len() - 1
        ));
        let words: Vec<&str> = words.iter().flat_map(|words| words.split(' ')).collect();
        ffmpeg::quietly(directory.path(), &words);
        let file = |name: &str| std::fs::read(directory.path().join(name)).expect("a file");
        let (seen, heard) = (times(&file("seen")), times(&file("heard")));
        let zero_s = seen[0].min(heard[0]);
        let pictures = file("pictures");
        Self {
            pictures: pictures_at(&seen, &pictures, zero_s),
            sound: Sound {
                from_s: heard[0] - zero_s,
                onsets: onsets(&file("sound")),
            },
        }
    }

    /// How long most frames last.
    fn frame_s(&self) -> f64 {
        let lengths = self.pictures.iter().map(|p| p.to_s - p.from_s);
        let mut lengths: Vec<f64> = lengths.collect();
        lengths.sort_unstable_by(f64::total_cmp);
        lengths[lengths.len() / 2]
    }
}

/// The times that ffmpeg's filter prints.
fn times(printed: &[u8]) -> Vec<f64> {
    let text = String::from_utf8_lossy(printed);
    let times = text.split(" pts:").skip(1);
    let times: Vec<f64> = times
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<f64>().ok())
        .map(|microseconds| microseconds / 1e6)
        .collect();
    assert!(!times.is_empty(), "ffmpeg shows or plays nothing");
    times
}

/// Each picture until the next; the last as long as the one before it.
fn pictures_at(times: &[f64], bytes: &[u8], zero_s: f64) -> Vec<Picture> {
    let pictures = bytes.chunks_exact(SIDE * SIDE);
    assert_eq!(pictures.len(), times.len(), "a time for each picture");
    let last = times[times.len() - 1];
    let before = times
        .len()
        .checked_sub(2)
        .map_or(last - 1.0, |at| times[at]);
    let ends = times
        .iter()
        .skip(1)
        .copied()
        .chain([last + (last - before)]);
    let spans = times.iter().zip(ends);
    spans
        .zip(pictures)
        .map(|((from_s, to_s), grey)| Picture {
            from_s: from_s - zero_s,
            to_s: to_s - zero_s,
            grey: grey.to_vec(),
        })
        .collect()
}

/// How much louder it has become within 10 ms, for each millisecond.
fn onsets(bytes: &[u8]) -> Vec<f64> {
    const SMOOTH: usize = 10;
    let (samples, _) = bytes.as_chunks::<4>();
    let loud: Vec<f64> = samples
        .iter()
        .map(|sample| f64::from(f32::from_le_bytes(*sample).abs()))
        .collect();
    let levels: Vec<f64> = loud
        .chunks((SAMPLE_RATE * STEP_S) as usize)
        .map(|piece| piece.iter().sum::<f64>() / piece.len() as f64)
        .collect();
    let sums = levels.windows(SMOOTH).map(|run| run.iter().sum::<f64>());
    let smooth: Vec<f64> = sums.collect();
    let pairs = smooth.iter().zip(smooth.iter().skip(SMOOTH));
    pairs.map(|(before, after)| after - before).collect()
}

/// The lags that are tried, in seconds.
fn lags() -> impl Iterator<Item = f64> {
    let steps = (SEARCH_S / STEP_S) as i32;
    (-steps..=steps).map(|step| f64::from(step) * STEP_S)
}

/// By how much later the same pictures are shown, or why nobody can tell.
fn lag_of_pictures(given: &[Picture], made: &[Picture], frame_s: f64) -> Result<f64, String> {
    let mut differences = Differences::of(given, made);
    let costs: Vec<(f64, f64)> = lags().map(|lag| (lag, differences.at(lag))).collect();
    let (best, least) = costs
        .iter()
        .copied()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .expect("lags");
    let near = costs
        .iter()
        .filter(|(lag, _)| is_a_frame_away(*lag, best, frame_s));
    let beside = near.map(|(_, cost)| *cost).fold(f64::INFINITY, f64::min);
    if beside - least < PICTURE_TOLD {
        return Err(format!(
            "pictures: {least:.2} at {best:.3} s, {beside:.2} a frame away"
        ));
    }
    Ok(best)
}

/// By how much later the same sound is played, or why nobody can tell.
fn lag_of_sounds(given: &Sound, made: &Sound, frame_s: f64) -> Result<f64, String> {
    let alike: Vec<(f64, f64)> = lags()
        .map(|lag| (lag, likeness(given, made, lag)))
        .collect();
    let (best, most) = alike
        .iter()
        .copied()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("lags");
    let near = alike
        .iter()
        .filter(|(lag, _)| is_a_frame_away(*lag, best, frame_s));
    let beside = near.map(|(_, likeness)| *likeness).fold(-1.0, f64::max);
    if most < SAME_SOUND || most - beside < SOUND_TOLD {
        return Err(format!(
            "sound: {most:.2} at {best:.3} s, {beside:.2} a frame away"
        ));
    }
    Ok(best)
}

fn is_a_frame_away(lag: f64, best: f64, frame_s: f64) -> bool {
    (lag - best).abs() >= frame_s
}

/// Pearson's correlation of the onsets of one sound with those of another that comes later.
fn likeness(given: &Sound, made: &Sound, lag: f64) -> f64 {
    let ahead = ((given.from_s + lag - made.from_s) / STEP_S).round() as i64;
    let (skip_given, skip_made) = ((-ahead).max(0) as usize, ahead.max(0) as usize);
    let pairs = given
        .onsets
        .iter()
        .skip(skip_given)
        .zip(made.onsets.iter().skip(skip_made));
    let (mut both, mut mine, mut others) = (0.0, 0.0, 0.0);
    for (a, b) in pairs {
        both += a * b;
        mine += a * a;
        others += b * b;
    }
    both / f64::sqrt(mine * others).max(1e-12)
}

/// How different pictures are, looked at once for each two.
struct Differences<'a> {
    given: &'a [Picture],
    made: &'a [Picture],
    known: std::collections::HashMap<(usize, usize), f64>,
}

impl<'a> Differences<'a> {
    fn of(given: &'a [Picture], made: &'a [Picture]) -> Self {
        let known = std::collections::HashMap::new();
        Self { given, made, known }
    }

    /// The mean over the time when both show something, if one comes later by `lag`.
    fn at(&mut self, lag: f64) -> f64 {
        let (mut sum, mut seconds) = (0.0, 0.0);
        let (mut given, mut made) = (0, 0);
        while let (Some(a), Some(b)) = (self.given.get(given), self.made.get(made)) {
            let (from, to) = (a.from_s + lag, a.to_s + lag);
            let both = to.min(b.to_s) - from.max(b.from_s);
            if both > 0.0 {
                sum += both * self.between(given, made);
                seconds += both;
            }
            if to < b.to_s { given += 1 } else { made += 1 }
        }
        sum / f64::max(seconds, STEP_S)
    }

    fn between(&mut self, given: usize, made: usize) -> f64 {
        let (a, b) = (&self.given[given].grey, &self.made[made].grey);
        let between = self.known.entry((given, made)).or_insert_with(|| {
            let differences = a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b)));
            differences.sum::<f64>() / (SIDE * SIDE) as f64
        });
        *between
    }
}

#[test]
fn sound_that_comes_60_ms_late_is_told_from_sound_that_does_not() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let make = |words: &str, name: &str| {
        run(&format!("{words} {name}"), directory.path());
        directory.path().join(name)
    };
    let source = make(
        "video=320x240:25:4 beeps=4 x264 -bf 2 -c:a aac",
        "source.mp4",
    );
    let late = "-i source.mp4 -itsoffset 0.06 -i source.mp4 -map 0:v -map 1:a -c copy";
    let late = make(late, "late.mp4");
    let moved = |made: &Path| match compare(&source, 0, (made, made)) {
        Synchrony::Measured(moved) => moved,
        Synchrony::Untold(why) => panic!("{why}"),
    };
    let same = moved(&source);
    assert!(
        same.is_together() && same.apart_s().abs() < 0.002,
        "{same:?}"
    );
    let late = moved(&late);
    assert!(!late.is_together(), "{late:?}");
    assert!((late.apart_s() - 0.06).abs() < 0.002, "{late:?}");
}

#[test]
fn still_pictures_and_steady_sounds_tell_nothing() {
    let still = "-f lavfi -i testsrc2=s=320x240:r=25:d=0.04,loop=99:1 beeps=4";
    for (words, why) in [(still, "pictures"), ("video=320x240:25:4 tone=4", "sound")] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str| directory.path().join(name);
        run(
            &format!("{words} -c:v ffv1 -c:a flac source.mkv"),
            directory.path(),
        );
        run("-i source.mkv x264 -c:a aac made.mp4", directory.path());
        let made = file("made.mp4");
        let told = compare(&file("source.mkv"), 0, (&made, &made));
        let untold = matches!(&told, Synchrony::Untold(said) if said.starts_with(why));
        assert!(untold, "{told:?}");
    }
}
