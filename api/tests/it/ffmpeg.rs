//! ffmpeg makes sources and looks at results; it has no part in making them.

use std::path::Path;
use std::process::{Command, Output};

use telecine_testkit::program;

/// Samples per second of decoded sound.
const RATE: f64 = 48_000.0;

/// When a flash is seen and a beep is heard, in seconds.
#[derive(Debug)]
pub(crate) struct Sync {
    /// Time of the first bright frame.
    pub(crate) flash_s: f64,
    /// Time of the first loud sample.
    pub(crate) beep_s: f64,
}

/// Makes nine seconds of video at 25 frames per second, dark and humming, with a flash and a beep
/// of 0.1 s at 1.000 s and at 7.000 s: one in the first six-second segment, one in the second.
pub(crate) fn flash_and_beep(file: &Path) {
    let picture = "color=black:size=640x360:rate=25:duration=9,drawbox=color=white:t=fill:\
                   enable='between(t,0.999,1.099)+between(t,6.999,7.099)'";
    let sound = "aevalsrc='0.03*sin(2*PI*220*t)\
                 +0.7*sin(2*PI*1000*t)*(between(t,1,1.1)+between(t,7,7.1))':s=48000:d=9";
    let inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound];
    let codecs = ["-c:v", "libx264", "-c:a", "pcm_s16le", "-ac", "2"];
    ffmpeg(&[&inputs[..], &codecs, &[path(file)]].concat());
}

/// When the flash and the beep near `near_s` are seen and heard by ffmpeg in `playlist`, which has
/// picture and sound.
pub(crate) fn sync(playlist: &Path, near_s: f64) -> Sync {
    let near = |time: &f64| (time - near_s).abs() < 0.5;
    Sync {
        flash_s: bright_frames(playlist)
            .into_iter()
            .find(near)
            .expect("a flash"),
        beep_s: loud_samples(playlist)
            .into_iter()
            .find(near)
            .expect("a beep"),
    }
}

/// Decodes everything in `playlist` and counts the frames of its picture. Panics if ffmpeg has
/// anything to say, were it a warning.
pub(crate) fn decoded_frames(playlist: &Path) -> usize {
    let input = ["-i", path(playlist), "-map", "0"];
    let output = ffmpeg(&[&input[..], &["-f", "null", "-"]].concat());
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    frame_times(playlist, "null").len()
}

/// Decodes the one stream of a media playlist and counts its frames, or 0 for sound. Panics if
/// ffmpeg has anything to say.
pub(crate) fn decoded(playlist: &Path) -> usize {
    let progress = ["-progress", "-", "-i", path(playlist), "-map", "0"];
    let output = ffmpeg(
        &[
            &progress[..],
            &["-fps_mode", "passthrough", "-f", "null", "/dev/null"],
        ]
        .concat(),
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stderr.is_empty(), "{}: {said}", playlist.display());
    let progress = String::from_utf8_lossy(&output.stdout);
    let mut counts = progress
        .lines()
        .filter_map(|line| line.strip_prefix("frame=")?.parse().ok());
    counts.next_back().unwrap_or(0)
}

/// Whether the first frame holds two fields.
pub(crate) fn is_interlaced(playlist: &Path) -> bool {
    let what = "-select_streams v:0 -read_intervals %+#1 -show_entries frame=interlaced_frame";
    probe(playlist, what)["frames"][0]["interlaced_frame"] != 0
}

/// The loudest sample of a sound, of 1.
pub(crate) fn loudness(playlist: &Path) -> f64 {
    let input = ["-i", path(playlist), "-map", "0:a:0", "-f", "f32le", "-"];
    let output = ffmpeg(&input);
    let (samples, _) = output.stdout.as_chunks::<4>();
    let loud = samples
        .iter()
        .map(|sample| f32::from_le_bytes(*sample).abs());
    f64::from(loud.fold(0.0, f32::max))
}

fn bright_frames(playlist: &Path) -> Vec<f64> {
    frame_times(
        playlist,
        "signalstats,metadata=select:key=lavfi.signalstats.YAVG:value=128:function=greater",
    )
}

/// Times of the frames that are left by a filter.
fn frame_times(playlist: &Path, filter: &str) -> Vec<f64> {
    let filter = format!("{filter},metadata=add:key=seen:value=1,metadata=print:key=seen:file=-");
    // Times as they are in the file; otherwise ffmpeg moves the earliest to 0.
    let input = ["-copyts", "-i", path(playlist), "-map", "0:v:0"];
    let output = ffmpeg(&[&input[..], &["-vf", &filter, "-f", "null", "-"]].concat());
    String::from_utf8_lossy(&output.stdout)
        .split("pts_time:")
        .skip(1)
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .collect()
}

fn loud_samples(playlist: &Path) -> Vec<f64> {
    // Silence up to the first timestamp and in gaps, so that a sample's place is its time.
    let input = ["-copyts", "-i", path(playlist), "-map", "0:a:0"];
    let filter = [
        "-af",
        "aresample=async=1:first_pts=0",
        "-ac",
        "1",
        "-ar",
        "48000",
    ];
    let output = ffmpeg(&[&input[..], &filter, &["-f", "f32le", "-"]].concat());
    let (samples, _) = output.stdout.as_chunks::<4>();
    let loud = samples
        .iter()
        .enumerate()
        .filter(|(_, s)| f32::from_le_bytes(**s).abs() > 0.2);
    loud.map(|(place, _)| f64::from(u32::try_from(place).expect("minutes of sound")) / RATE)
        .collect()
}

/// Runs ffmpeg in a directory, whatever it warns of.
pub(crate) fn quietly(directory: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments)
        .current_dir(directory);
    let output = program::output(&mut command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg {arguments:?}: {stderr}");
    output.stdout
}

/// What ffprobe says of a file, as JSON. `what` are further arguments.
pub(crate) fn probe(file: &Path, what: &str) -> serde_json::Value {
    let mut command = Command::new("ffprobe");
    command
        .args(["-v", "error", "-of", "json"])
        .args(what.split_whitespace())
        .arg(file);
    let output = program::output(&mut command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffprobe {what}: {stderr}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Runs ffmpeg; what it warns of is in `stderr`.
pub(crate) fn ffmpeg(arguments: &[&str]) -> Output {
    let mut command = Command::new("ffmpeg");
    command
        .args(["-v", "warning", "-nostdin", "-y"])
        .args(arguments);
    let output = program::output(&mut command);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg {arguments:?}: {stderr}");
    output
}

fn path(file: &Path) -> &str {
    file.to_str().expect("paths of tests are plain")
}
