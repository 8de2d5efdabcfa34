//! Finds the files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Directories that hold what was built, made or downloaded.
const NOT_OURS: [&str; 4] = ["target", "node_modules", "demo-out", "videos"];

/// The top of the work tree.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("api/ has a parent")
}

/// Every file of the repository with that extension, sorted.
pub(crate) fn files(extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(root(), extension, &mut found);
    found.sort();
    assert!(!found.is_empty(), "there is no .{extension} file at all");
    found
}

fn collect(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the work tree can be read") {
        let path = entry.expect("the work tree can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !NOT_OURS.contains(&&*name) {
                collect(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// The path as a person would name it.
pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", relative(path)))
}
