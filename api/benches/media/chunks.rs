//! What encoding in chunks costs in bytes and in quality.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::measure::measured;
use crate::telecine::{Job, Product, size_of};

/// Seconds: the usual length, and more than any clip of a benchmark lasts.
const USUAL_S: u32 = 30;
const WHOLE_S: u32 = 86_400;

/// A chunked and a whole encode of one clip.
#[derive(Debug)]
pub(crate) struct Chunks {
    /// How many chunks there were.
    pub(crate) count: usize,
    /// Bytes of all video renditions in chunks, over those of the whole encode.
    pub(crate) bytes_ratio: f64,
    /// VMAF of the largest rendition in chunks, and of the whole encode.
    pub(crate) vmaf: Option<(f64, f64)>,
}

pub(crate) fn compare(product: &Product<'_>, clip: &Path) -> Chunks {
    let (parts, whole) = (product.in_chunks_of(USUAL_S), product.in_chunks_of(WHOLE_S));
    let bytes = |job: &Job| size_of(&renditions(job)) as f64;
    let vmaf = std::env::var_os("TELECINE_BENCH_VMAF").map(PathBuf::from);
    Chunks {
        count: parts.chunks,
        bytes_ratio: bytes(&parts) / bytes(&whole),
        vmaf: vmaf.map(|ffmpeg| {
            let score = |job| vmaf_of(&ffmpeg, &largest(job), clip);
            (score(&parts), score(&whole))
        }),
    }
}

/// The directory of the video renditions of a job.
fn renditions(job: &Job) -> PathBuf {
    let only = |directory: PathBuf| {
        let mut entries = std::fs::read_dir(directory).expect("a directory").flatten();
        entries.next().expect("an entry").path()
    };
    only(only(job.out.join("videos"))).join("g1/video")
}

/// The playlist of the largest rendition of a job.
fn largest(job: &Job) -> PathBuf {
    let directory = renditions(job);
    let tracks = std::fs::read_dir(&directory)
        .expect("a directory")
        .flatten();
    let tracks = tracks.map(|track| track.path());
    let largest = tracks.max_by_key(|track| size_of(track));
    largest.expect("a rendition").join("playlist.m3u8")
}

fn vmaf_of(ffmpeg: &Path, playlist: &Path, clip: &Path) -> f64 {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let filter = format!(
        "[0:v][1:v]libvmaf=n_threads=2:n_subsample=4:log_fmt=json:log_path={}",
        log.path().display()
    );
    let (playlist, clip) = (playlist.display().to_string(), clip.display().to_string());
    let inputs = ["-v", "error", "-nostdin", "-i", &playlist, "-i", &clip];
    let outputs = ["-lavfi", &filter, "-f", "null", "-"];
    measured(ffmpeg, &[&inputs[..], &outputs[..]].concat());
    let text = std::fs::read_to_string(log.path()).expect("a log");
    let log: Value = serde_json::from_str(&text).expect("a log");
    log["pooled_metrics"]["vmaf"]["mean"]
        .as_f64()
        .expect("a score")
}
