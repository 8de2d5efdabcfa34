//! Plays streaming sets in headless Chromium; `api/tests/browser/` holds what runs there.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use telecine_testkit::program;

use crate::ffmpeg::{self, ffmpeg, flash_and_beep};
use crate::repository::root;

/// Plays `dir/master.m3u8` with hls.js: walks every level, seeks near the end, to the middle and to
/// the start, and plays to the end.
///
/// Gives `{levels: [{declared: {width, height, bandwidth, codecs}, shown: {width, height},
/// buffered: [[from, to]]}], seeks: [{target_s, media_s, current_s}], duration_s, ended_at_s,
/// frames: {total, dropped, corrupted}, errors: [...]}`; the errors are stalls of a slow machine
/// and loads that a switch aborted. Panics, with what the browser said, on any other error that the
/// player reports, and if a step takes longer than 30 s.
pub(crate) fn play(dir: &Path) -> Value {
    run_script("play.mjs", &[&dir.display().to_string()])
}

/// Plays `dir/master.m3u8` with Shaka Player: every variant, and to the end.
///
/// Gives `{variants: [{width, height, bandwidth, codecs}], duration_s, ended_at_s}`. Panics, with
/// what the browser said, on any error that the player reports, and if a step takes longer than
/// 30 s.
pub(crate) fn play_with_shaka(dir: &Path) -> Value {
    run_script("shaka.mjs", &[&dir.display().to_string()])
}

/// Reads playlists with m3u8-parser. Panics at anything that it warns of.
///
/// Gives `{variants, durations: [s], targetDuration, endList}` for each.
pub(crate) fn read_playlists(files: &[PathBuf]) -> Vec<Value> {
    let names: Vec<String> = files
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let told = node("playlists.mjs", &names);
    let lines = told.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().expect("lines of JSON")
}

/// At which media time the flash and the beep near `near_s` are seen and heard: `{flash_s, beep_s}`.
///
/// The source is dark but for the flash and hums quietly but for the beep, as
/// [`flash_and_beep`] makes it. Exact to the frame and to a millisecond.
pub(crate) fn sync(dir: &Path, near_s: f64) -> Value {
    run_script(
        "sync.mjs",
        &[&dir.display().to_string(), &near_s.to_string()],
    )
}

/// How long a script may take, for one set. It has deadlines of its own, of 30 s a step and 150 s in all,
/// and says better what hung.
const LONGEST_SCRIPT: Duration = Duration::from_secs(300);

/// How long a browser may take to end.
const LONGEST_END: Duration = Duration::from_secs(30);

/// One browser at a time: several on two cores are slow enough to look broken.
static BROWSER: Mutex<()> = Mutex::new(());

/// The scripts end by themselves: each has a deadline of its own.
fn run_script(name: &str, arguments: &[&str]) -> Value {
    let _only = BROWSER.lock().unwrap_or_else(PoisonError::into_inner);
    let told = node(name, arguments);
    serde_json::from_str(&told).unwrap_or_else(|e| panic!("{name}: {e}: {told}"))
}

/// Browsers that play set after set: starting one takes longer than much of what is played.
#[derive(Debug, Default)]
pub(crate) struct Tours {
    idle: Mutex<Vec<Tour>>,
}

impl Tours {
    /// Plays some seconds of `dir/master.m3u8` in both players: every level or variant, seeks, and
    /// the end. As many run at once as there are callers. Without `sound`, hls.js leaves out what
    /// plays beside the picture.
    ///
    /// Gives `{hls: {levels: [{width, height}], duration_s, ended_at_s}, shaka: {variants: [{width,
    /// height, bandwidth, codecs}], duration_s, ended_at_s}}`, or `{error}` in place of what a player
    /// has seen: the first error that it reported, or a step that took longer than 30 s.
    pub(crate) fn play(&self, dir: &Path, sound: bool) -> Value {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = idle().pop();
        let mut tour = waiting.unwrap_or_else(Tour::start);
        let seen = tour.play(dir, sound);
        idle().push(tour);
        seen
    }
}

/// A browser that waits for sets.
#[derive(Debug)]
struct Tour {
    child: Child,
    /// `None` once the browser is to end.
    sets: Option<ChildStdin>,
    seen: Receiver<String>,
}

impl Tour {
    fn start() -> Self {
        let mut child = script("tour.mjs")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is installed (./x doctor)");
        let sets = child.stdin.take();
        let seen = lines(child.stdout.take().expect("a pipe"));
        Self { child, sets, seen }
    }

    fn play(&mut self, dir: &Path, sound: bool) -> Value {
        let sets = self.sets.as_mut().expect("the browser is not to end");
        let set = serde_json::json!({"directory": dir, "sound": sound});
        writeln!(sets, "{set}").expect("the script reads");
        let line = self
            .seen
            .recv_timeout(LONGEST_SCRIPT)
            .unwrap_or_else(|error| {
                panic!("tour.mjs says nothing about {}: {error}", dir.display())
            });
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("tour.mjs: {e}: {line}"))
    }
}

impl Drop for Tour {
    fn drop(&mut self) {
        // The script ends its browser and itself when nothing more can come.
        drop(self.sets.take());
        // Nothing depends on how it ends.
        let _ = program::wait(&mut self.child, LONGEST_END);
    }
}

/// What a script prints, line by line, until it ends.
fn lines(stdout: ChildStdout) -> Receiver<String> {
    let (told, lines) = channel();
    std::thread::spawn(move || {
        let mut seen = BufReader::new(stdout).lines().map_while(Result::ok);
        seen.try_for_each(|line| told.send(line))
    });
    lines
}

/// A script that is about to run.
fn script(name: &str) -> Command {
    let scripts = root().join("api/tests/browser");
    assert!(
        scripts.join("node_modules/shaka-player").exists(),
        "the players are not installed: run ./x test, or npm ci in api/tests/browser"
    );
    let mut command = Command::new("node");
    command.arg(scripts.join(name));
    command
}

/// What a script prints.
fn node(name: &str, arguments: &[&str]) -> String {
    let output = program::output_within(script(name).args(arguments), LONGEST_SCRIPT);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

/// An HLS set of two renditions made by ffmpeg, whose AAC is 1024 samples late by the encoder's
/// priming. Its muxer makes up for that with an empty edit that delays the picture as much, which
/// ffmpeg itself honours and Chromium does not.
fn foreign_set(source: &Path, dir: &Path) {
    let source = source.display().to_string();
    let segments = dir.join("s%v_%d.m4s").display().to_string();
    let playlists = dir.join("v%v.m3u8").display().to_string();
    let input = [
        "-i",
        &source,
        "-filter_complex",
        "[0:v]split[a][b];[b]scale=320:180[c]",
    ];
    let maps = ["-map", "[a]", "-map", "[c]", "-map", "0:a"];
    let video = [
        "-c:v", "libx264", "-bf", "0", "-g", "150", "-b:v:0", "500k", "-b:v:1", "200k",
    ];
    let audio = ["-c:a", "aac", "-b:a", "128k"];
    let hls = ["-f", "hls", "-hls_time", "6", "-hls_playlist_type", "vod"];
    let names = [
        "-hls_segment_type",
        "fmp4",
        "-hls_fmp4_init_filename",
        "init_%v.mp4",
    ];
    let master = [
        "-master_pl_name",
        "master.m3u8",
        "-var_stream_map",
        "v:0,agroup:a v:1,agroup:a a:0,agroup:a,default:yes",
    ];
    let files = ["-hls_segment_filename", &segments, &playlists];
    ffmpeg(
        &[
            &input[..],
            &maps,
            &video,
            &audio,
            &hls,
            &names,
            &master,
            &files,
        ]
        .concat(),
    );
}

/// The foreign set of [`flash_and_beep`], made once: everybody gets a copy.
fn set_of_flash_and_beep() -> tempfile::TempDir {
    static FILES: OnceLock<Vec<(OsString, Vec<u8>)>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let source = dir.path().join("source.mov");
        flash_and_beep(&source);
        foreign_set(&source, dir.path());
        let files = std::fs::read_dir(dir.path())
            .expect("a directory")
            .flatten();
        let read = |path| std::fs::read(path).expect("a file");
        files
            .map(|file| (file.file_name(), read(file.path())))
            .collect()
    });
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).expect("a file to write");
    }
    dir
}

const PRIMING_S: f64 = 1024.0 / 48_000.0;

fn assert_near(measured_s: f64, expected_s: f64) {
    let off_s = measured_s - expected_s;
    assert!(off_s.abs() < 0.001, "{measured_s} instead of {expected_s}");
}

#[test]
fn the_browser_tells_when_a_flash_is_seen_and_a_beep_is_heard() {
    let dir = set_of_flash_and_beep();
    for second in [1.0, 7.0] {
        let seen = sync(dir.path(), second);
        assert_near(seen["flash_s"].as_f64().unwrap(), second);
        assert_near(seen["beep_s"].as_f64().unwrap(), second + PRIMING_S);
    }
}

#[test]
fn ffmpeg_tells_when_a_flash_is_seen_and_a_beep_is_heard() {
    let dir = set_of_flash_and_beep();
    for second in [1.0, 7.0] {
        let seen = ffmpeg::sync(&dir.path().join("master.m3u8"), second);
        assert_near(seen.flash_s, second + PRIMING_S);
        assert_near(seen.beep_s, second + PRIMING_S);
    }
}

#[test]
fn ffmpeg_decodes_every_frame_of_a_set() {
    let dir = set_of_flash_and_beep();
    assert_eq!(ffmpeg::decoded_frames(&dir.path().join("v1.m3u8")), 225);
}

#[test]
fn the_browser_walks_every_level_of_a_set() {
    let dir = set_of_flash_and_beep();
    let played = play(dir.path());
    let levels = played["levels"].as_array().unwrap();
    let widths: Vec<_> = levels
        .iter()
        .map(|level| level["shown"]["width"].as_u64())
        .collect();
    assert_eq!(widths, [Some(320), Some(640)], "{played}");
    assert_eq!(played["ended_at_s"], played["duration_s"], "{played}");
}

#[test]
#[should_panic(expected = "fragLoadError")]
fn the_browser_does_not_overlook_a_missing_segment() {
    let dir = set_of_flash_and_beep();
    std::fs::remove_file(dir.path().join("s1_1.m4s")).unwrap();
    play(dir.path());
}
