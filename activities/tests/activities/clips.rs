//! Sources made by recipe with ffmpeg.

use std::path::{Path, PathBuf};
use std::process::Command;

use telecine_testkit::program;

/// A directory of sources that is removed with the test.
#[derive(Debug)]
pub(crate) struct Clips {
    dir: tempfile::TempDir,
}

impl Clips {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a file with ffmpeg from words separated by blanks.
    pub(crate) fn ffmpeg(&self, arguments: &str, name: &str) -> PathBuf {
        let output = program::output(
            Command::new("ffmpeg")
                .args(["-v", "error", "-y", "-nostdin"])
                .args(arguments.split_whitespace())
                .arg(name)
                .current_dir(self.dir.path()),
        );
        assert!(output.status.success(), "{arguments}: {output:?}");
        self.path(name)
    }

    /// A test picture in H.264; `more` are further arguments of ffmpeg.
    pub(crate) fn h264(&self, seconds: u32, rate: &str, more: &str, name: &str) -> PathBuf {
        let input = format!("-f lavfi -i testsrc2=s=320x180:r={rate}:d={seconds}");
        let codec = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";
        self.ffmpeg(&format!("{input} {more} {codec}"), name)
    }

    /// The first bytes of another source.
    pub(crate) fn cut(&self, source: &Path, percent: usize, name: &str) -> PathBuf {
        let bytes = std::fs::read(source).unwrap();
        self.write(&bytes[..bytes.len() * percent / 100], name)
    }

    pub(crate) fn write(&self, bytes: &[u8], name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Clips {
    /// Number of video frames that ffmpeg decodes without a message.
    pub(crate) fn frames_of(&self, path: &Path) -> u64 {
        let output = program::output(
            Command::new("ffprobe")
                .args(["-v", "warning", "-select_streams", "v:0", "-count_frames"])
                .args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
                .arg(path),
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
        let counted = String::from_utf8_lossy(&output.stdout);
        let first = counted.lines().find(|line| !line.trim().is_empty());
        first.unwrap().trim_matches([',', ' ']).parse().unwrap()
    }

    /// Width and height of a picture as ffmpeg sees it: `320x180`.
    pub(crate) fn size_of(&self, path: &Path) -> String {
        let output = program::output(
            Command::new("ffprobe")
                .args(["-v", "error", "-select_streams", "v:0"])
                .args(["-show_entries", "stream=width,height", "-of", "csv=p=0:s=x"])
                .arg(path),
        );
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
