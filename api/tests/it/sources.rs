//! Every source: a matrix of containers, codecs, shapes, rates and timelines, each made by recipe,
//! turned into a set, and judged by tools that are not ours.
//!
//! `TELECINE_SOURCES` says which: `all`, names with commas between, or nothing for a sample drawn
//! with `TELECINE_SEED` (unless given, drawn from the commit). With `TELECINE_TEST_MEDIA`, `all` and
//! names stand for the clips of that folder too. Every set of what was asked for by name, or of all, is
//! played in hls.js and in Shaka Player; of a sample only the rows that say so.

mod bad;
mod damaged;
#[cfg(target_os = "linux")]
mod hostile;
mod judge;
mod recipes;
mod sync;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::Value;

use self::judge::Set;
use self::recipes::{RECIPES, Recipe};
use self::sync::Synchrony;
use crate::browser;
use crate::chance::{self, Dice};
use crate::product::{self, Workplace};

/// Sources of a sample: half a minute on two quiet cores.
const SAMPLE: usize = 6;

/// Rows at a time: two cores are busy with two.
const WORKERS: usize = 2;

/// Rows at a time when all are played: a row that plays mostly waits.
const WORKERS_OF_PLAYED: usize = 3;

#[test]
fn every_source_becomes_a_set_that_is_right() {
    let (recipes, clips) = chosen();
    let began = Instant::now();
    let players = asked().map(|_| Players::default());
    let mut failures = run_all(&recipes, |recipe| check(recipe, players.as_ref()));
    failures.extend(run_all(&clips, |clip| check_clip(clip, players.as_ref())));
    let tried = recipes.len() + clips.len();
    eprintln!(
        "{} of {tried} sources are right after {:.0?}",
        tried - failures.len(),
        began.elapsed()
    );
    if let Some(players) = players {
        eprintln!("{}", players.count());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_source_that_is_not_in_the_matrix_is_no_source() {
    let (recipes, clips) = named(&[RECIPES[0].name]);
    assert_eq!((recipes[0].name, clips.len()), (RECIPES[0].name, 0));
    assert!(catch_unwind(|| named(&["misspelt"])).is_err());
}

#[test]
fn the_matrix_is_large_and_its_names_are_unique() {
    let names: std::collections::BTreeSet<&str> =
        RECIPES.iter().map(|recipe| recipe.name).collect();
    assert_eq!(names.len(), RECIPES.len());
    assert!(names.len() >= 60, "{} sources", names.len());
}

/// The recipes and clips that this run is about.
fn chosen() -> (Vec<Recipe>, Vec<PathBuf>) {
    let Some(wanted) = asked() else {
        let seed = chance::seed();
        eprintln!("a sample drawn with TELECINE_SEED={seed}");
        return (sample(seed), Vec::new());
    };
    if wanted == "all" {
        return (RECIPES.to_vec(), media(false));
    }
    named(&wanted.split(',').collect::<Vec<_>>())
}

/// The sources of these names.
fn named(names: &[&str]) -> (Vec<Recipe>, Vec<PathBuf>) {
    let (recipes, others): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| recipe(name).is_some());
    let mut clips = if others.is_empty() {
        Vec::new()
    } else {
        media(false)
    };
    for name in &others {
        let known = clips.iter().any(|clip| clip.ends_with(name));
        assert!(known, "TELECINE_SOURCES: there is no source {name}");
    }
    clips.retain(|clip| others.iter().any(|name| clip.ends_with(name)));
    let recipes = recipes.into_iter().filter_map(recipe).collect();
    (recipes, clips)
}

fn recipe(name: &str) -> Option<Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name).copied()
}

/// What was asked for; `None` means a sample.
fn asked() -> Option<String> {
    let wanted = std::env::var("TELECINE_SOURCES").ok();
    wanted.filter(|wanted| !wanted.is_empty())
}

/// Different recipes drawn with a seed.
fn sample(seed: u64) -> Vec<Recipe> {
    let mut dice = Dice::new(seed);
    let mut left: Vec<&Recipe> = RECIPES.iter().collect();
    let drawn = (0..SAMPLE).map(|_| *left.swap_remove(dice.below(left.len())));
    drawn.collect()
}

/// Runs a check on every item, some at a time, and says what failed.
fn run_all<T: Named + Sync>(items: &[T], check: impl Fn(&T) -> String + Sync) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    let workers = asked().map_or(WORKERS, |_| WORKERS_OF_PLAYED);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let outcome = catch_unwind(AssertUnwindSafe(|| check(item)));
                    let took = began.elapsed();
                    match outcome {
                        Ok(said) => eprintln!("{:24} right {took:.1?} {said}", item.name()),
                        Err(panic) => {
                            let why = format!("{}: {}", item.name(), message(&*panic));
                            eprintln!("{:24} WRONG {took:.1?}", item.name());
                            failures.lock().expect("no panic").push(why);
                        }
                    }
                }
            });
        }
    });
    failures.into_inner().expect("no panic")
}

/// What a row is called.
trait Named {
    fn name(&self) -> String;
}

impl Named for PathBuf {
    fn name(&self) -> String {
        self.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

impl Named for Recipe {
    fn name(&self) -> String {
        self.name.to_owned()
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

/// Makes a source, runs the job, judges what came out.
fn check(recipe: &Recipe, players: Option<&Players>) -> String {
    let place = Workplace::new();
    let source = recipe.make(place.path());
    let workflow = if recipe.picture.is_some() {
        "video:transcode"
    } else {
        "video:full"
    };
    let document = product::succeed(place.run(workflow, &source));
    let loss = codes(&document);
    let loss = loss.iter().filter(|code| LOSSES.contains(&code.as_str()));
    let told: Vec<&str> = loss.map(String::as_str).collect();
    assert_eq!(told, recipe.warns, "what is told to be lost");
    let set = Set::read(&place.set());
    set.check(recipe, &source);
    let together = check_together(&set, (recipe.name, recipe.shown_late_s), &source);
    read_playlists(&place);
    if recipe.played {
        play(&place.set());
    }
    if let Some(players) = players {
        players.play(&place.set(), &set);
    }
    format!("{} {together}", document["warnings"])
}

/// Warnings that something of the source is not in the set as it was.
const LOSSES: [&str; 6] = [
    "damaged_container",
    "damaged_pictures",
    "size_changes",
    "sound_cut",
    "sound_gaps",
    "sound_short",
];

/// The codes of a job's warnings: each is `STEP: CODE: SENTENCE`.
fn codes(document: &Value) -> std::collections::BTreeSet<String> {
    let warnings = document["warnings"].as_array().expect("warnings");
    let texts = warnings.iter().filter_map(Value::as_str);
    let codes = texts.filter_map(|text| text.split(": ").nth(1));
    codes.map(str::to_owned).collect()
}

/// A second parser reads every playlist without a warning.
fn read_playlists(place: &Workplace) {
    let mut playlists = files(&place.set());
    playlists.retain(|file| is_playlist(file));
    let told = browser::read_playlists(&playlists);
    for (file, read) in playlists.iter().zip(told) {
        let media =
            read["endList"] == true && read["durations"].as_array().is_some_and(|d| !d.is_empty());
        let multivariant = read["variants"].as_u64() > Some(0);
        assert!(media || multivariant, "{}: {read}", file.display());
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

fn is_playlist(file: &Path) -> bool {
    file.extension()
        .is_some_and(|extension| extension == "m3u8")
}

/// Both players play it to the end.
fn play(set: &Path) {
    for played in [browser::play(set), browser::play_with_shaka(set)] {
        assert!(ends(&played), "{played}");
    }
}

/// Whether a player came to the end of what it takes for the duration.
fn ends(played: &Value) -> bool {
    let (end, length) = (played["ended_at_s"].as_f64(), played["duration_s"].as_f64());
    end.zip(length)
        .is_some_and(|(end, length)| (end - length).abs() < 0.05)
}

/// The fewest pictures that hls.js shows beside sound.
///
/// It ends a stream when it has changed to the sound it was given, which is when the first picture
/// is shown; Chromium shows the first of so few pictures when the stream has ended. Two and three
/// pictures with sound as ffmpeg puts them into HLS wait for ever as well (hls.js 1.7.4). Such sets
/// are played without their sound in hls.js, and with it in Shaka Player.
const FEWEST_PICTURES: usize = 5;

/// Plays every set, and counts.
#[derive(Debug, Default)]
struct Players {
    tours: browser::Tours,
    sets: AtomicUsize,
    hls: AtomicUsize,
    shaka: AtomicUsize,
}

impl Players {
    /// Both players show every variant of a set and come to its end.
    fn play(&self, directory: &Path, set: &Set) {
        self.sets.fetch_add(1, Ordering::Relaxed);
        let silent = set.has_sound_beside() && set.pictures() < FEWEST_PICTURES;
        let seen = self.tours.play(directory, !silent);
        let plays = |player: &str, variants: &str| {
            let shown = seen[player][variants].as_array().map_or(0, Vec::len);
            shown == set.variants() && ends(&seen[player])
        };
        let (hls, shaka) = (plays("hls", "levels"), plays("shaka", "variants"));
        self.hls.fetch_add(hls.into(), Ordering::Relaxed);
        self.shaka.fetch_add(shaka.into(), Ordering::Relaxed);
        assert!(hls && shaka, "{} variants, {seen}", set.variants());
    }

    fn count(&self) -> String {
        let [sets, hls, shaka] =
            [&self.sets, &self.hls, &self.shaka].map(|count| count.load(Ordering::Relaxed));
        format!("of {sets} sets, hls.js plays {hls} and Shaka Player {shaka}")
    }
}

/// What of `TELECINE_TEST_MEDIA` becomes no set, and the code that it is refused with. All others become one.
const REFUSED_CLIPS: &[(&str, &str)] = &[
    ("SHA256SUMS", "not_media"),
    ("fixture-corrupt.mkv", "malformed_source"),
    ("sample_ac4.mp4", "codec_unsupported"),
    ("sample_fragmented_clearkey.mp4", "encrypted_source"),
    ("sample_malformed_free_box.mp4", "malformed_source"),
    ("truncated-35s.mp4", "source_truncated"),
];

/// The code that a table says a file is refused with; nothing of one that is not to be.
fn refusal(table: &[(&str, &'static str)], file: &Path) -> Option<&'static str> {
    let row = table.iter().find(|(name, _)| file.ends_with(name))?;
    Some(row.1)
}

/// Every clip of a folder becomes a set, unless it is one of those that fail within five seconds and say why.
fn check_clip(clip: &Path, players: Option<&Players>) -> String {
    let place = Workplace::new();
    let began = Instant::now();
    let output = product::output(place.run("video:transcode", clip));
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    if let Some(code) = refusal(REFUSED_CLIPS, clip) {
        assert_eq!(document["error"]["code"], code, "{}", document["error"]);
        bad::assert_refused(&place, &document, began.elapsed());
        return code.to_owned();
    }
    assert_eq!(document["status"], "succeeded", "{}", document["error"]);
    let set = Set::read(&place.set());
    set.check_in_general(clip);
    if clip.ends_with(PAFF_CLIP) {
        set.check_fields(clip);
    }
    let together = check_together(&set, (&clip.to_owned().name(), 0.0), clip);
    read_playlists(&place);
    if let Some(players) = players {
        players.play(&place.set(), &set);
    }
    format!("{} {together}", document["warnings"])
}

/// Pictures of `TELECINE_TEST_MEDIA` that are refused, and with which code. All others are made small.
const REFUSED_PICTURES: [(&str, &str); 3] = [
    ("colors_hdr_p3.avif", "hdr_unsupported"),
    ("logo.svg", "vector_refused"),
    ("truncated.jpg", "image_damaged"),
];

#[test]
fn every_picture_is_made_small_or_refused_with_its_code() {
    let pictures = match asked().as_deref() {
        Some("all") => media(true),
        _ => Vec::new(),
    };
    let failures = run_all(&pictures, |picture| check_picture(picture));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn check_picture(picture: &Path) -> String {
    let place = Workplace::new();
    let began = Instant::now();
    let output = product::output(place.run("image:thumbnail", picture));
    let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
    if let Some(code) = refusal(&REFUSED_PICTURES, picture) {
        assert_eq!(document["error"]["code"], code, "{document:#}");
        bad::assert_refused(&place, &document, began.elapsed());
        return code.to_owned();
    }
    assert_eq!(document["status"], "succeeded", "{document:#}");
    let images = document["output"]["images"].as_array().expect("images");
    assert_eq!(images.len(), 2, "{document:#}");
    for image in images {
        let file = place.out().join(image["key"].as_str().expect("a key"));
        let size = std::fs::metadata(&file).expect("a picture").len();
        assert!(size > 0, "{}", file.display());
    }
    document["output"]["source"].to_string()
}

/// Clips with picture and sound that cannot tell whether both are together, and why not. All others of
/// `TELECINE_TEST_MEDIA` and every recipe do.
const UNTOLD: [(&str, &str); 8] = [
    ("dolbyVision-hdr.MOV", "it lasts a tenth of a second"),
    (
        "h263-amr.3gp",
        "ffmpeg plays one in five of its frames of sound",
    ),
    ("hlg10-color-test.mp4", "it lasts a third of a second"),
    ("long_1080p_lowbitrate.mp4", "the picture is black"),
    ("one-frame.mp4", "there is one picture"),
    ("sample.flv", "the picture does not move"),
    ("sample_with_srt.mkv", "the picture does not move"),
    ("webm_480.webm", "the sound is silence"),
];

/// Sound and picture are apart by less than a frame from what they are in the source, which ffmpeg may
/// show later by so many seconds than it should. Answers what was measured.
fn check_together(set: &Set, (name, shown_late_s): (&str, f64), source: &Path) -> String {
    let reason = UNTOLD.iter().find(|(clip, _)| *clip == name);
    match (set.synchrony(source), reason) {
        (None, None) => String::new(),
        (Some(Synchrony::Measured(moved)), None) => {
            let moved = moved.corrected(shown_late_s);
            assert!(
                moved.is_together(),
                "sound and picture are apart: {moved:?}"
            );
            format!("sound {:+.0} ms", moved.apart_s() * 1000.0)
        }
        (Some(Synchrony::Untold(_)), Some((_, reason))) => format!("not told: {reason}"),
        (seen, _) => panic!("whether sound and picture are together: {seen:?}"),
    }
}

/// The one clip, of those of `TELECINE_TEST_MEDIA`, whose pictures are coded as pairs of fields: no
/// encoder at hand makes such.
const PAFF_CLIP: &str = "avchd-1080i.mts";

/// The clips of `TELECINE_TEST_MEDIA`, or its pictures.
fn media(pictures: bool) -> Vec<PathBuf> {
    const PICTURES: [&str; 7] = ["jpg", "heic", "avif", "gif", "webp", "png", "svg"];
    const NEITHER: [&str; 3] = ["md", "sh", "txt"];
    let Ok(folder) = std::env::var("TELECINE_TEST_MEDIA") else {
        eprintln!("TELECINE_TEST_MEDIA names no folder: nothing is tried beside the matrix");
        return Vec::new();
    };
    let entries = std::fs::read_dir(folder).expect("TELECINE_TEST_MEDIA is a folder");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| {
        let extension = file.extension().and_then(|text| text.to_str());
        let extension = extension.unwrap_or_default().to_ascii_lowercase();
        let is_picture = PICTURES.contains(&&*extension);
        file.is_file() && is_picture == pictures && !NEITHER.contains(&&*extension)
    });
    files.sort();
    assert!(!files.is_empty(), "TELECINE_TEST_MEDIA holds both kinds");
    files
}
