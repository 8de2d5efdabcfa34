//! The workflows from outside, with ffmpeg looking at every picture; hostile files on a stage.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use telecine::activity::{ActivityError, ErrorClass};
use telecine::testing::{Check, Stage};
use telecine::tool::ToolHost;
use telecine_testkit::program;
use watermark_plugin::picture::WatermarkPicture;

const PROGRAM: &str = env!("CARGO_BIN_EXE_watermark-plugin");

/// Half of it is red, the other half can be seen through.
const LOGO: &str = "-f lavfi -i color=red:s=64x64,format=rgba,geq=r=255:g=0:b=0:a=255*lt(X\\,32) -frames:v 1 logo.png";

/// 320 x 180, blue.
const PHOTO: &str = "-f lavfi -i color=blue:s=320x180 -frames:v 1 photo.png";

/// Blue too, with sound, and in HD, whose colours are coded otherwise than those of SD.
const CLIP: &str = "-f lavfi -i color=blue:s=1280x720:r=25:d=2 -f lavfi -i sine=d=2 \
    -vf scale=out_color_matrix=bt709,format=yuv420p -c:v libx264 -preset ultrafast -colorspace bt709 \
    -color_primaries bt709 -color_trc bt709 -c:a aac clip.mp4";

/// A corner with no margin: the logo has 80 x 80 of 320 x 180, and 320 x 320 of 1280 x 720.
const LOOK: &str = r#"look={"position":"top_right","scale":0.25,"margin":0,"opacity":0.5}"#;

#[test]
fn a_picture_gets_its_watermark_and_built_in_steps_go_on_with_it() {
    let place = Place::with(&[LOGO, PHOTO]);
    let job = place.run("watermark:picture", "photo.png");
    let small = &job["output"]["images"][0];
    assert_eq!(small["variant"], "small");
    place.assert_marked(&place.made(&small["key"]), (320, 180));
}

#[test]
fn a_video_gets_its_watermark_in_every_frame_of_every_rendition() {
    let place = Place::with(&[LOGO, CLIP]);
    let job = place.run("watermark:video", "clip.mp4");
    let playlist = place.made(&job["output"]["playlist"]);
    let folder = playlist.parent().expect("a playlist is in a directory");
    let [first, .., smallest] = &renditions(folder)[..] else {
        panic!("two renditions or more in {}", folder.display());
    };
    assert_eq!(place.frames(first), 50);
    for rendition in [first, smallest] {
        for at_s in ["0", "1.9"] {
            let frame = place.path("frame.png");
            let from = rendition.to_str().expect("a path in UTF-8");
            ffmpeg(
                &place.home,
                &["-i", from, "-ss", at_s, "-frames:v", "1", "frame.png"],
            );
            place.assert_marked(&frame, size(&frame));
        }
    }
}

#[test]
fn both_activities_pass_the_conformance_kit() {
    let place = Place::with(&[LOGO, PHOTO, CLIP]);
    let results = place.path("results");
    std::fs::create_dir(&results).expect("a directory for results");
    std::fs::copy(place.path("logo.png"), results.join("logo.png")).expect("a logo");
    let logo = "media://logo.png";
    let job = place.run("watermark:video", "clip.mp4");
    let made = |step: &str| {
        let mut steps = job["steps"].as_array().expect("steps").iter();
        steps.find(|found| found["id"] == step).expect("a step")["output"].clone()
    };
    let (probe, plan) = (made("probe"), made("plan"));
    let on_video = json!({"watermark": logo, "video": probe["video"], "chunk": plan["chunks"][0]});
    let on_picture = json!({"watermark": logo});
    for (activity, input, source) in [
        ("watermark.picture", on_picture, "photo.png"),
        ("watermark.video", on_video, "clip.mp4"),
    ] {
        let check = Check::new(PROGRAM, activity).input(input).media(&results);
        let report = check.source(place.path(source)).run();
        report.expect("the activity can be checked").assert_clean();
    }
}

#[test]
fn a_watermark_that_is_none_is_refused() {
    let place = Place::with(&[LOGO, PHOTO]);
    let logo = std::fs::read(place.path("logo.png")).expect("a logo");
    let half = logo[..logo.len() / 2].to_vec();
    for (what, bytes) in [
        ("a text", b"#!/bin/sh".to_vec()),
        ("half a PNG", half),
        ("a PNG of 10 gigapixels", bomb()),
        ("nine megabytes", vec![0; 9 << 20]),
    ] {
        let error = place.try_watermark(&bytes).expect_err(what);
        let told = (error.class, &*error.code);
        assert_eq!(told, (ErrorClass::Input, "watermark_unreadable"), "{what}");
        assert!(
            error.message.contains("export it again"),
            "{}",
            error.message
        );
    }
}

#[test]
fn what_is_out_of_bounds_is_refused_before_anything_is_done() {
    let place = Place::with(&[LOGO, PHOTO]);
    let mut command = place.command(&["run", "watermark:picture", "photo.png", "--set"]);
    let output = command
        .args([
            "watermark=logo.png",
            "--set",
            r#"look={"opacity":7}"#,
            "-o",
            "json",
        ])
        .output()
        .expect("the program runs");
    let job: Value = serde_json::from_slice(&output.stdout).expect("a job");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(job["error"]["code"], "bad_activity_input", "{job}");
}

/// A directory with sources in which the program runs.
struct Place {
    home: PathBuf,
}

impl Place {
    /// Makes sources with ffmpeg, each by its arguments.
    fn with(recipes: &[&str]) -> Self {
        let name = std::thread::current().name().expect("a test").to_owned();
        let home = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("watermark")
            .join(name);
        let _ = std::fs::remove_dir_all(&home);
        std::fs::create_dir_all(&home).expect("a directory");
        for recipe in recipes {
            ffmpeg(&home, &recipe.split_whitespace().collect::<Vec<_>>());
        }
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.join(name)
    }

    /// Where an object of the store of results is.
    fn made(&self, key: &Value) -> PathBuf {
        self.path("out").join(key.as_str().expect("a key"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).current_dir(&self.home);
        command
    }

    /// Runs a workflow to its successful end; answers the job.
    fn run(&self, workflow: &str, source: &str) -> Value {
        let arguments = [
            "run", workflow, source, "-o", "json", "--set", LOOK, "--set",
        ];
        let mut command = self.command(&arguments);
        let output = succeeded(command.arg("watermark=logo.png"));
        serde_json::from_slice(&output.stdout).expect("a job")
    }

    /// Puts a watermark of those bytes on the photo.
    fn try_watermark(&self, watermark: &[u8]) -> Result<(), ActivityError> {
        std::fs::write(self.path("bad.png"), watermark).expect("a file");
        let host = ToolHost::with_program(PROGRAM).expect("a host");
        let stage = Stage::new()
            .with_source("photo.png", self.path("photo.png"))
            .with_source("bad.png", self.path("bad.png"));
        let input = json!({"source": "photo.png", "watermark": "bad.png"});
        stage.run(WatermarkPicture { host }, input).map(drop)
    }

    /// The logo lies in the top right corner and covers a quarter of the width: the left half of it
    /// is half red, and everything else is as blue as it was.
    fn assert_marked(&self, picture: &Path, (width, height): (usize, usize)) {
        let from = picture.to_str().expect("a path in UTF-8");
        let arguments = ["-i", from, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"];
        let pixels = ffmpeg(&self.home, &arguments).stdout;
        assert_eq!(pixels.len(), 3 * width * height, "size of {from}");
        let pixel = |x: usize, y: usize| &pixels[3 * (y * width + x)..][..3];
        let (blue, mixed) = ([0, 0, 255], [128, 0, 128]);
        for (x, y, expected) in [
            (width * 3 / 4 + width / 16, height / 9, mixed),
            (width * 3 / 4 + 4, 4, mixed),
            (width - width / 16, height / 9, blue),
            (width * 3 / 4 - 4, height / 9, blue),
            (width * 3 / 4 + width / 16, width / 4 + 4, blue),
            (width / 2, height - 4, blue),
        ] {
            let near = |(found, wanted): (&u8, u8)| found.abs_diff(wanted) <= 12;
            let found = pixel(x, y);
            let same = found.iter().zip(expected).all(near);
            assert!(same, "{found:?} is not {expected:?} at {x}, {y} of {from}");
        }
    }

    fn frames(&self, playlist: &Path) -> usize {
        let from = playlist.to_str().expect("a path in UTF-8");
        let decoded = ffmpeg(
            &self.home,
            &["-i", from, "-f", "framemd5", "-map", "0:v", "-"],
        );
        let lines = String::from_utf8_lossy(&decoded.stdout).into_owned();
        lines.lines().filter(|line| !line.starts_with('#')).count()
    }
}

/// The playlists of the renditions of a set, largest first.
fn renditions(set: &Path) -> Vec<PathBuf> {
    let tracks = std::fs::read_dir(set.join("g1/video")).expect("renditions");
    let mut playlists: Vec<_> = tracks
        .map(|track| track.expect("a rendition").path().join("playlist.m3u8"))
        .collect();
    playlists.sort_by_key(|playlist| std::cmp::Reverse(size(playlist)));
    playlists
}

/// Width and height of what is in a file.
fn size(file: &Path) -> (usize, usize) {
    let wanted = [
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "stream=width,height",
    ];
    let mut command = Command::new("ffprobe");
    let output = succeeded(command.args(wanted).args(["-of", "csv=p=0"]).arg(file));
    let text = String::from_utf8_lossy(&output.stdout);
    let mut numbers = text.split([',', '\n']).flat_map(str::parse);
    (
        numbers.next().expect("a width"),
        numbers.next().expect("a height"),
    )
}

/// The beginning of a PNG that claims 100,000 pixels in each direction, and its end.
fn bomb() -> Vec<u8> {
    let header = b"IHDR\x00\x01\x86\xa0\x00\x01\x86\xa0\x08\x06\x00\x00\x00";
    let mut png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0d".to_vec();
    png.extend_from_slice(header);
    png.extend_from_slice(b"\x51\x4d\x8b\x20");
    png.extend_from_slice(b"\x00\x00\x00\x00IEND\xae\x42\x60\x82");
    png
}

fn ffmpeg(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-y"]);
    succeeded(command.args(arguments).current_dir(home))
}

fn succeeded(command: &mut Command) -> Output {
    let output = program::output(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    output
}
