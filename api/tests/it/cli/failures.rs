use std::process::{Command, Stdio};

use telecine_testkit::program;

use super::Answer;
use crate::product::{self, Workplace};

#[test]
fn flags_that_do_not_exist_are_refused() {
    let place = Workplace::new();
    for arguments in [
        &["run", "video:full", "a.mp4", "--fast"][..],
        &["run"],
        &["jobs", "list", "--status", "asleep"],
        &["jobs", "list", "-o", "xml"],
        &["sing"],
    ] {
        let answer = place.call(arguments);
        assert_eq!(answer.code, Some(2), "{answer:#?}");
        assert!(answer.stderr.starts_with("error: "), "{answer:#?}");
        assert_eq!(answer.stdout, "", "{answer:#?}");
    }
}

#[test]
fn a_source_that_cannot_be_used_is_named_before_anything_is_made() {
    let place = Workplace::new();
    std::fs::create_dir(place.path().join("films")).unwrap();
    let run = |source| place.call(&["run", "video:full", source]);

    run("gone.mp4").assert_error(3, &["there is no file gone.mp4"]);
    run("films").assert_error(2, &["films is a directory"]);
    run("/dev/null").assert_error(2, &["/dev/null is not a regular file"]);
    assert!(!place.data().exists(), "no data directory was made");
    assert!(
        !place.path().join("out").exists(),
        "no output directory was made"
    );
}

#[test]
fn a_workflow_that_does_not_exist_is_not_found() {
    let place = Workplace::new();
    place.write("a.mp4", "x");
    place
        .call(&["run", "video:ful", "a.mp4"])
        .assert_error(3, &["no workflow video:ful", "video:full"]);
    place
        .call(&["run", "mine.yaml", "a.mp4"])
        .assert_error(3, &["there is no file mine.yaml"]);
}

/// A file in the place of a directory stops root as well.
#[test]
fn directories_that_cannot_be_written_are_refused() {
    let place = Workplace::new();
    place.write("a.mp4", "x");
    place.write("occupied", "x");
    let run = |more: &[&str]| place.call(&[&["run", "video:full", "a.mp4"], more].concat());

    run(&["--out", "occupied/out"]).assert_error(2, &["cannot write to", "occupied/out"]);
    assert!(!place.data().exists(), "no data directory was made");
    run(&["--scratch-dir", "occupied"]).assert_error(2, &["cannot write to", "occupied"]);

    std::fs::remove_dir_all(place.data()).unwrap();
    std::fs::write(place.data(), "x").unwrap();
    run(&[]).assert_error(2, &[place.data().to_str().unwrap()]);
}

#[test]
fn an_input_that_does_not_fit_is_refused() {
    let place = Workplace::new();
    place.write("a.mp4", "x");
    place.write("list.json", "[1]");
    place.write("broken.json", "{");
    let run = |more: &[&str]| place.call(&[&["run", "video:full", "a.mp4"], more].concat());

    run(&["--set", "preview.widht=320"]).assert_error(2, &["widht"]);
    run(&["--set", "preview.width=wide"]).assert_error(2, &["/preview/width"]);
    run(&["--set", "preview"]).assert_error(2, &["--set preview"]);
    run(&["--set", "source=b.mp4"]).assert_error(2, &["named twice"]);
    run(&["--input", "list.json"]).assert_error(2, &["list.json has to hold a JSON object"]);
    run(&["--input", "broken.json"]).assert_error(2, &["broken.json is not JSON"]);
    run(&["--input", "gone.json"]).assert_error(3, &["there is no file gone.json"]);
    place
        .call(&["run", "video:full"])
        .assert_error(2, &["needs a source: name a file", "run video:full FILE"]);
}

#[test]
fn limits_under_which_a_job_cannot_begin_are_named() {
    let place = Workplace::new();
    place.write("a.mp4", "x");
    let run = |limit: &str| {
        let mut command = std::process::Command::new("sh");
        command
            .args([
                "-c",
                &format!("{limit} && exec \"$0\" run video:cover a.mp4"),
            ])
            .arg(env!("CARGO_BIN_EXE_telecine"))
            .current_dir(place.path());
        Answer::of(command)
    };
    run("ulimit -v 300000").assert_error(1, &["292 MiB of memory", "raise the limit"]);
    run("ulimit -n 20").assert_error(1, &["20 open files", "raise the limit"]);
}

#[test]
fn a_picture_that_readers_are_pointed_at_and_that_is_gone_is_made_again() {
    let place = Workplace::new();
    let picture = "-f lavfi -i testsrc2=s=640x360 -frames:v 1 a.png";
    let arguments: Vec<&str> = picture.split(' ').collect();
    crate::ffmpeg::quietly(place.path(), &arguments);
    let run = || place.call(&["run", "image:thumbnail", "a.png", "-o", "json"]);
    let key = |answer: &Answer| {
        let document = answer.json();
        let key = document["output"]["images"][0]["key"].as_str();
        place.out().join(key.expect("the key of a picture"))
    };
    let picture = key(&run());
    assert!(picture.exists());
    std::fs::remove_file(&picture).unwrap();
    let again = run();
    assert!(again.stderr.contains("which is gone"), "{again:#?}");
    assert!(picture.exists(), "{again:#?}");
}

/// A directory with all plugins of GStreamer but one.
fn plugins_without(place: &Workplace, left_out: &str) -> std::path::PathBuf {
    let mut ask = Command::new("pkg-config");
    let answer = program::output(ask.args(["--variable=pluginsdir", "gstreamer-1.0"]));
    let plugins = String::from_utf8(answer.stdout).expect("text");
    let directory = place.path().join("plugins");
    std::fs::create_dir(&directory).expect("a directory");
    for plugin in std::fs::read_dir(plugins.trim())
        .expect("plugins")
        .flatten()
    {
        let name = plugin.file_name();
        if plugin.path().is_file() && !name.to_string_lossy().contains(left_out) {
            std::os::unix::fs::symlink(plugin.path(), directory.join(name)).expect("a link");
        }
    }
    directory
}

#[test]
fn a_job_goes_on_once_the_missing_codec_is_installed() {
    let place = Workplace::new();
    let clip = "-f lavfi -i testsrc2=s=320x240:r=25:d=2 -f lavfi -i sine=d=2 clip.mkv";
    crate::ffmpeg::quietly(place.path(), &clip.split(' ').collect::<Vec<_>>());
    let plugins = plugins_without(&place, "gstx264");
    let run = |lacks: bool| {
        let mut command = place.run("video:transcode", &place.path().join("clip.mkv"));
        // The machine's own list of plugins is left alone.
        command.env(
            "GST_REGISTRY_1_0",
            place.path().join(format!("registry_{lacks}")),
        );
        if lacks {
            command.env("GST_PLUGIN_SYSTEM_PATH_1_0", &plugins);
        }
        Answer::of(command)
    };
    let failed = run(true);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    let document = failed.json();
    let (code, plan) = (&document["error"]["code"], &document["retry_plan"]);
    assert_eq!(
        (code, &plan["executable"]),
        (&"plugin_missing".into(), &true.into())
    );
    let need = plan["warnings"][0].as_str().unwrap();
    assert!(
        need.starts_with("set this right first: ") && need.contains("x264enc"),
        "{need}"
    );
    assert!(failed.stderr.contains("to try again: "), "{failed:#?}");

    let mended = run(false);
    assert_eq!(mended.code, Some(0), "{mended:#?}");
    let mended = mended.json();
    assert_eq!(
        (&mended["id"], &mended["round"]),
        (&document["id"], &2.into())
    );
    let steps = mended["steps"].as_array().unwrap();
    let attempts = |name: &str| {
        let step = steps.iter().find(|step| step["id"] == name);
        step.expect("a step")["attempts"].as_array().unwrap().len()
    };
    assert_eq!(
        (attempts("probe"), attempts("encode[0]")),
        (1, 2),
        "what was done is kept"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Workplace::new();
    let mut command = place.telecine(&["activity", "describe", "media.probe"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn doctor_finds_everything_that_the_tests_need() {
    let place = Workplace::new();
    let answer = place.call(&["doctor", "-o", "json"]);
    assert_eq!(answer.code, Some(0), "{answer:#?}");
    let checks = answer.json();
    let checks = checks.as_array().unwrap();
    assert!(
        checks.len() > 2 && checks.iter().all(|check| check["ok"] == true),
        "{checks:#?}"
    );

    std::fs::write(place.data(), "x").unwrap();
    let output = product::output(place.telecine(&["doctor"]));
    assert_eq!(output.status.code(), Some(1), "a file is no data directory");
}
