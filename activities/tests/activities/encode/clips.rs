//! Clips made by recipe.

use std::path::{Path, PathBuf};
use std::process::Command;

use telecine_testkit::program;

use tempfile::TempDir;

/// A directory of its own with one clip in it.
pub(super) struct Clip {
    pub(super) dir: TempDir,
    pub(super) path: PathBuf,
}

/// Runs ffmpeg with arguments separated by blanks; the clip is named `name`.
pub(super) fn make(name: &str, arguments: &str) -> Clip {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    ffmpeg(&arguments.split_whitespace().collect::<Vec<_>>(), &path);
    Clip { dir, path }
}

/// A clip made from another one.
pub(super) fn remake(from: &Clip, name: &str, arguments: &str) -> PathBuf {
    let path = from.dir.path().join(name);
    let mut all = vec!["-i", from.path.to_str().unwrap()];
    all.extend(arguments.split_whitespace());
    ffmpeg(&all, &path);
    path
}

fn ffmpeg(arguments: &[&str], output: &Path) {
    let made = program::output(
        Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y"])
            .args(arguments)
            .arg(output),
    );
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "ffmpeg {arguments:?}: {said}");
}
