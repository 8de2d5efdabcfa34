//! What one job has made is taken by the next.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::ffmpeg;
use crate::product::{self, Workplace};

/// Eight seconds of 360p with a tone: two segments, two renditions.
fn short_clip(place: &Workplace) -> PathBuf {
    let path = place.path().join("short.mp4");
    let file = path.display().to_string();
    let made = ffmpeg::ffmpeg(&[
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=640x360:r=25:d=8",
        "-f",
        "lavfi",
        "-i",
        "sine=r=48000:d=8",
        "-c:a",
        "aac",
        "-ac",
        "2",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
        "-g",
        "50",
        &file,
    ]);
    assert!(made.status.success(), "{made:?}");
    path
}

/// Runs the whole programme on the clip.
fn full(place: &Workplace, clip: &Path, more: &[&str]) -> Value {
    let mut command = place.run("video:full", clip);
    command.args(more);
    product::succeed(command)
}

/// Names of the steps that took what an earlier job had made, and of those that did the work.
fn split(document: &Value) -> (Vec<String>, Vec<String>) {
    let steps = document["steps"].as_array().expect("steps");
    let (taken, made): (Vec<&Value>, Vec<&Value>) = steps
        .iter()
        .partition(|step| step["reused_from"].is_object());
    let names = |steps: Vec<&Value>| {
        let names = steps.iter().map(|step| step["id"].as_str().expect("an id"));
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        names
    };
    (names(taken), names(made))
}

fn step<'d>(document: &'d Value, id: &str) -> &'d Value {
    let steps = document["steps"].as_array().expect("steps");
    let mut steps = steps.iter();
    steps.find(|step| step["id"] == id).expect("the step")
}

#[test]
fn another_preview_of_the_same_video_encodes_nothing_again() {
    let place = Workplace::new();
    let clip = short_clip(&place);
    let first = full(&place, &clip, &[]);
    assert_eq!(split(&first).0, [""; 0]);

    let file = clip.to_str().expect("a path in UTF-8");
    let out = place.out();
    let mut foresee = place.telecine(&["workflow", "plan", "video:full", file, "-o", "json"]);
    foresee
        .args(["--set", "preview.width=320", "--out"])
        .arg(&out);
    let foreseen = product::succeed(foresee);
    let foreseen = foreseen["reuse"].as_array().expect("steps").iter();
    let (mut foreseen, made): (Vec<&Value>, Vec<&Value>) =
        foreseen.partition(|step| step["from"].is_object());
    foreseen.sort_by_key(|step| step["step"].as_str());
    let foreseen: Vec<_> = foreseen
        .iter()
        .filter_map(|step| step["step"].as_str())
        .collect();
    let preview = made.iter().find(|step| step["step"] == "preview");
    let differs = &preview.expect("it is another one")["differs"];
    assert_eq!(
        (&differs["before"], &differs["after"]),
        (&480.into(), &320.into()),
        "{made:#?}"
    );

    let second = full(&place, &clip, &["--set", "preview.width=320"]);
    assert_eq!(foreseen, split(&second).0);

    let (taken, made) = split(&second);
    assert_eq!(taken, ["audio", "cover", "encode[0]", "probe", "sprites"]);
    let expected = [
        "allocate", "package", "plan", "preview", "publish", "validate",
    ];
    assert_eq!(made, expected);
    let encode = step(&second, "encode[0]");
    assert_eq!(encode["reused_from"]["job"], first["id"]);
    assert_eq!(encode["attempts"][0]["reused_from"]["step"], "encode[0]");
    assert_eq!(encode["attempts"][0]["cpu_s"], 0.0, "its tool did not run");
    assert_eq!(
        (&first["generation"], &second["generation"]),
        (&1.into(), &2.into())
    );
    let set = place.set().join("g2");
    let lint = place.telecine(&["lint", set.to_str().expect("UTF-8"), "-o", "json"]);
    product::succeed(lint);
    assert_eq!(ffmpeg::decoded_frames(&set.join("master.m3u8")), 200);

    // --new takes from others too; --no-cache does not.
    let (taken, _) = split(&full(&place, &clip, &["--new"]));
    assert_eq!(
        taken,
        ["audio", "cover", "encode[0]", "preview", "probe", "sprites"]
    );
    let alone = full(&place, &clip, &["--no-cache"]);
    assert_eq!(split(&alone).0, [""; 0]);
    assert!(step(&alone, "encode[0]")["attempts"][0]["cpu_s"].as_f64() > Some(0.0));
}
