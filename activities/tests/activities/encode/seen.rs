//! What ffmpeg and ffprobe see.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use telecine_testkit::program;

/// One packet of a stream, times in seconds as ffprobe gives them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Packet {
    pub(super) pts_s: f64,
    pub(super) dts: i64,
    pub(super) duration: i64,
    pub(super) key: bool,
}

/// The packets of the only stream, in decode order.
pub(super) fn packets(file: &Path) -> Vec<Packet> {
    let found = ffprobe(file, &["-show_packets"]);
    let packets = found["packets"].as_array().unwrap();
    packets.iter().map(packet).collect()
}

fn packet(packet: &Value) -> Packet {
    Packet {
        pts_s: packet["pts_time"].as_str().unwrap().parse().unwrap(),
        dts: packet["dts"].as_i64().unwrap(),
        duration: packet["duration"].as_i64().unwrap_or(0),
        key: packet["flags"].as_str().unwrap().starts_with('K'),
    }
}

/// The only stream.
pub(super) fn stream(file: &Path) -> Value {
    ffprobe(file, &["-show_streams"])["streams"][0].clone()
}

/// Times of the frames of the video stream of a source, in nanoseconds, in order.
pub(super) fn frame_times_ns(file: &Path) -> Vec<u64> {
    let found = ffprobe(
        file,
        &[
            "-select_streams",
            "v:0",
            "-show_entries",
            "packet=pts_time,flags",
        ],
    );
    let packets = found["packets"].as_array().unwrap();
    let mut times: Vec<u64> = packets
        .iter()
        .filter(|packet| !packet["flags"].as_str().unwrap().contains('D'))
        .map(|packet| {
            let time: f64 = packet["pts_time"].as_str().unwrap().parse().unwrap();
            (time * 1e9).round().max(0.0) as u64
        })
        .collect();
    times.sort_unstable();
    times
}

fn ffprobe(file: &Path, arguments: &[&str]) -> Value {
    let found = program::output(
        Command::new("ffprobe")
            .args(["-v", "error", "-of", "json"])
            .args(arguments)
            .arg(file),
    );
    assert!(
        found.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&found.stderr)
    );
    serde_json::from_slice(&found.stdout).unwrap()
}

/// Number of frames that ffmpeg decodes; it must not say a word.
pub(super) fn decoded_frames(file: &Path) -> usize {
    let hashes = raw(file, &["-f", "framemd5", "-"]);
    String::from_utf8(hashes)
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count()
}

/// The brightness of every pixel of each frame, as shown.
pub(super) fn pictures(file: &Path, (width, height): (usize, usize)) -> Vec<Vec<u8>> {
    let bytes = raw(file, &["-pix_fmt", "gray", "-f", "rawvideo", "-"]);
    bytes
        .chunks_exact(width * height)
        .map(<[u8]>::to_vec)
        .collect()
}

/// Time in seconds and mean luma of each frame, as shown.
pub(super) fn brightness(file: &Path) -> Vec<(f64, f64)> {
    let filter = "signalstats,metadata=print:key=lavfi.signalstats.YAVG:file=-";
    let report = raw(file, &["-vf", filter, "-f", "null", "-"]);
    let mut frames = Vec::new();
    let mut time = 0.0;
    for line in String::from_utf8(report).unwrap().lines() {
        if let Some((_, at)) = line.split_once("pts_time:") {
            time = at.trim().parse().unwrap();
        } else if let Some((_, luma)) = line.split_once("YAVG=") {
            frames.push((time, luma.parse().unwrap()));
        }
    }
    frames
}

/// Time in seconds of the first frame that is bright.
pub(super) fn flash_s(file: &Path) -> f64 {
    let frames = brightness(file);
    let flash = frames.iter().find(|(_, luma)| *luma > 128.0);
    flash.expect("no flash").0
}

/// The samples of an audio file: both channels, interleaved, at its own rate.
pub(super) fn samples(file: &Path) -> Vec<f32> {
    let bytes = raw(file, &["-f", "f32le", "-"]);
    bytes
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}

/// Number of the first sample of the left channel that is loud.
pub(super) fn first_loud(samples: &[f32]) -> usize {
    let loud = samples
        .iter()
        .step_by(2)
        .position(|sample| sample.abs() > 0.1);
    loud.expect("no beep")
}

/// The loudest sample of a channel between two times.
pub(super) fn peak(samples: &[f32], channel: usize, span: std::ops::Range<usize>) -> f32 {
    span.map(|at| samples[2 * at + channel].abs())
        .fold(0.0, f32::max)
}

fn raw(file: &Path, arguments: &[&str]) -> Vec<u8> {
    let found = program::output(
        Command::new("ffmpeg")
            .args(["-nostdin", "-v", "warning", "-i"])
            .arg(file)
            .args(arguments),
    );
    let said = String::from_utf8_lossy(&found.stderr);
    assert!(found.stderr.is_empty(), "{}: {said}", file.display());
    found.stdout
}
