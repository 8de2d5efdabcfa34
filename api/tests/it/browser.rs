//! Plays streaming sets in headless Chromium; `api/tests/browser/` holds what runs there.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::repository::root;

/// Plays `dir/master.m3u8` with hls.js: walks every level, seeks near the end, to the middle and to
/// the start, and plays to the end.
///
/// Gives `{levels: [{declared: {width, height, bandwidth, codecs}, shown: {width, height},
/// buffered: [[from, to]]}], seeks: [{target_s, media_s, current_s}], duration_s, ended_at_s,
/// frames: {total, dropped, corrupted}, errors: [...]}`; the errors are stalls of a slow machine.
/// Panics, with what the browser said, on any other error that the player reports, and if a step
/// takes longer than 30 s.
pub(crate) fn play(dir: &Path) -> Value {
    run_script("play.mjs", &[&dir.display().to_string()])
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

/// The scripts end by themselves: each has a deadline of its own.
fn run_script(name: &str, arguments: &[&str]) -> Value {
    let scripts = root().join("api/tests/browser");
    assert!(
        scripts.join("node_modules/hls.js").exists(),
        "the player is not installed: run ./x test, or npm ci in api/tests/browser"
    );
    let output = Command::new("node")
        .arg(scripts.join(name))
        .args(arguments)
        .output()
        .expect("node is installed (./x doctor)");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {stderr}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{name}: {e}\n{stderr}"))
}

/// Makes nine seconds of video at 25 frames per second, with a flash and a beep of 0.1 s at 1.000 s
/// and at 7.000 s: one in the first six-second segment, one in the second.
pub(crate) fn flash_and_beep(file: &Path) {
    let picture = "color=black:size=640x360:rate=25:duration=9,drawbox=color=white:t=fill:\
                   enable='between(t,0.999,1.099)+between(t,6.999,7.099)'";
    let sound = "aevalsrc='0.03*sin(2*PI*220*t)\
                 +0.7*sin(2*PI*1000*t)*(between(t,1,1.1)+between(t,7,7.1))':s=48000:d=9";
    let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound];
    let codecs = ["-c:v", "libx264", "-c:a", "pcm_s16le", "-ac", "2"];
    ffmpeg(&[&inputs[..], &codecs[..], &[&file.display().to_string()]].concat());
}

fn ffmpeg(arguments: &[&str]) {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments)
        .output()
        .expect("ffmpeg is installed (./x doctor)");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg {arguments:?}: {stderr}");
}

/// An HLS set of two renditions made by ffmpeg, whose AAC is 1024 samples late: ffmpeg neither
/// drops nor signals the encoder's priming in fMP4.
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

#[test]
fn the_browser_measures_times_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.mov");
    flash_and_beep(&source);
    foreign_set(&source, dir.path());

    for second in [1.0, 7.0] {
        let seen = sync(dir.path(), second);
        assert_eq!(seen["flash_s"].as_f64(), Some(second), "{seen}");
        let late_s = seen["beep_s"].as_f64().unwrap() - second;
        assert!((late_s - 1024.0 / 48_000.0).abs() < 0.001, "{seen}");
    }
}

#[test]
fn the_browser_walks_every_level_of_a_set() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.mov");
    flash_and_beep(&source);
    foreign_set(&source, dir.path());

    let played = play(dir.path());
    let widths: Vec<_> = played["levels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|level| level["shown"]["width"].as_u64().unwrap())
        .collect();
    assert_eq!(widths, [320, 640], "{played}");
    assert_eq!(played["ended_at_s"], played["duration_s"], "{played}");
}

#[test]
#[should_panic(expected = "fragLoadError")]
fn the_browser_does_not_overlook_a_missing_segment() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source.mov");
    flash_and_beep(&source);
    foreign_set(&source, dir.path());
    std::fs::remove_file(dir.path().join("s1_1.m4s")).unwrap();

    play(dir.path());
}
