//! A source that cannot be used: what would make the plan executable, and that it does.

use serde_json::json;

use super::{does, path, step};
use crate::ffmpeg;
use crate::product::{self, Workplace};

#[test]
fn a_corrupt_source_says_what_would_help_and_that_helps() {
    let place = Workplace::new();
    let film = place.path().join("film.mp4");
    std::fs::write(&film, "these are words, not pictures\n").expect("a file");
    let failed = product::output(place.run("video:cover", &film));
    assert_eq!(failed.status.code(), Some(1));
    let plan = |arguments: &[&str]| {
        let arguments = [&["plan"], arguments, &["-o", "json"]].concat();
        product::output(place.telecine(&arguments))
    };
    let shown = plan(&["show", "@last"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("a plan");
    assert_eq!(shown["executable"], false);
    assert_eq!(does(&shown)[0], "blocked probe failed_permanent");
    let help = shown["warnings"][0].as_str().expect("what would help");
    assert!(help.contains("probe") && help.contains("source"), "{help}");
    let mistyped = plan(&["execute", "@last", "--digest", "nonsense"]);
    let said = String::from_utf8_lossy(&mistyped.stderr);
    assert_eq!(mistyped.status.code(), Some(2), "{said}");
    assert!(said.contains("\"nonsense\" is no digest"), "{said}");
    let refused = plan(&["execute", "@last"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(help), "{said}");

    let picture = [
        "-f",
        "lavfi",
        "-i",
        "testsrc2=size=320x180:rate=25:duration=1",
    ];
    let other = place.path().join("other.mp4");
    ffmpeg::ffmpeg(&[&picture[..], &["-c:v", "libx264", path(&other)]].concat());
    std::fs::rename(other, &film).expect("a better source");
    let planned = plan(&["new", "@last"]);
    let planned: serde_json::Value = serde_json::from_slice(&planned.stdout).expect("a plan");
    assert_eq!(planned["executable"], true, "{planned:#}");
    assert_eq!(step(&planned, "probe")["reason"], "input_changed");
    let arguments = ["plan", "execute", "@last", "-o", "json"];
    let job = product::succeed(place.telecine(&arguments));
    assert_eq!(
        (&job["status"], &job["round"]),
        (&json!("succeeded"), &json!(2))
    );
}
