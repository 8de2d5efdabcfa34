//! Pictures of pictures: sizes, formats, colours, animation.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use telecine_activities::media::report::Size;
use telecine_activities::media::thumbnail::{
    Animation, Fit, Format, Output, Thumbnail, ThumbnailMade, ThumbnailSpec,
};
use telecine_activities::tool::ToolError;

use crate::clips::Clips;
use crate::pictures::{pixels, run};
use crate::pipeline::Run;

pub(crate) fn output(format: Format) -> Output {
    Output {
        variant: "test".to_owned(),
        width: None,
        height: None,
        fit: Fit::Inside,
        format,
        quality: None,
        animation: Animation::Keep,
    }
}

fn boxed(format: Format, fit: Fit, (width, height): (u32, u32)) -> Output {
    Output {
        width: Some(width),
        height: Some(height),
        fit,
        ..output(format)
    }
}

pub(crate) fn make(source: &Path, outputs: Vec<Output>) -> Result<ThumbnailMade, ToolError> {
    let directory = source.with_extension("made");
    std::fs::create_dir_all(&directory).unwrap();
    let spec = ThumbnailSpec {
        source: source.to_owned(),
        outputs,
        directory,
    };
    run::<Thumbnail>(spec).0
}

fn made(source: &Path, outputs: Vec<Output>) -> Vec<PathBuf> {
    let made = make(source, outputs).unwrap();
    made.pictures.into_iter().map(|made| made.file).collect()
}

/// The colours of the corners of a picture: top left, top right, bottom left, bottom right.
fn corners(picture: &Path) -> Vec<[bool; 3]> {
    let bright = |pixel: [u8; 3]| pixel.map(|value| value > 128);
    pixels(picture, "2:2").into_iter().map(bright).collect()
}

const RED: [bool; 3] = [true, false, false];
const LIME: [bool; 3] = [false, true, false];
const BLUE: [bool; 3] = [false, false, true];
const WHITE: [bool; 3] = [true; 3];

/// Red, lime, blue and white quarters, row by row, 160 x 120.
fn quarters(clips: &Clips, more: &str, name: &str) -> PathBuf {
    let colour = |name: &str| format!("-f lavfi -i color={name}:s=80x60");
    let inputs = ["red", "lime", "blue", "white"].map(colour).join(" ");
    let grid = "-filter_complex xstack=inputs=4:layout=0_0|80_0|0_60|80_60";
    clips.ffmpeg(&format!("{inputs} {grid} -frames:v 1 {more}"), name)
}

/// A moving GIF of red, then lime, then blue, half a second each, shown twice.
fn moving(clips: &Clips, name: &str) -> PathBuf {
    let colours = "format=gbrp,geq=r='255*eq(N,0)':g='255*eq(N,1)':b='255*eq(N,2)'";
    let source = "-f lavfi -i nullsrc=s=60x40:r=2:d=1.5";
    clips.ffmpeg(&format!("{source} -vf {colours} -loop 1"), name)
}

#[test]
fn one_picture_becomes_every_format() {
    let clips = Clips::new();
    let sources = [
        ("a.jpg", ""),
        ("a.png", ""),
        ("a.gif", ""),
        ("a.webp", ""),
        ("a.tiff", "-pix_fmt rgb24"),
        ("a.avif", "-pix_fmt yuv444p"),
    ];
    for (name, more) in sources {
        let source = quarters(&clips, more, name);
        let formats = [
            Format::Webp,
            Format::Avif,
            Format::Jpg,
            Format::Png,
            Format::Gif,
        ];
        let outputs = formats.map(|format| boxed(format, Fit::Inside, (80, 80)));
        for file in made(&source, outputs.into()) {
            assert_eq!(corners(&file), [RED, LIME, BLUE, WHITE], "{file:?}");
        }
    }
}

#[test]
fn a_box_is_fitted_filled_or_given_a_margin() {
    let clips = Clips::new();
    let source = quarters(&clips, "", "a.png");
    let fits = [Fit::Inside, Fit::Cover, Fit::Contain];
    let outputs = fits.map(|fit| Output {
        quality: Some(100),
        ..boxed(Format::Jpg, fit, (60, 60))
    });
    let made = make(&source, outputs.into()).unwrap();
    let size = |width, height| Size { width, height };
    let sizes: Vec<Size> = made.pictures.iter().map(|made| made.size).collect();
    assert_eq!(sizes, [size(60, 45), size(60, 60), size(60, 60)]);
    // The margin above and below is white: JPEG cannot be seen through.
    let margin = pixels(&made.pictures[2].file, "60:60");
    assert!(
        margin[..60]
            .iter()
            .all(|pixel| pixel.iter().all(|value| *value > 240))
    );
}

#[test]
fn a_small_picture_is_not_enlarged() {
    let clips = Clips::new();
    let source = quarters(&clips, "", "a.png");
    let made = make(&source, vec![boxed(Format::Png, Fit::Cover, (4000, 4000))]).unwrap();
    let (width, height) = (120, 120);
    assert_eq!(made.pictures[0].size, Size { width, height });
}

#[test]
fn a_picture_that_lies_on_its_side_is_put_upright() {
    let clips = Clips::new();
    let plain = std::fs::read(quarters(&clips, "", "plain.jpg")).unwrap();
    // EXIF with one entry: orientation 6, the top of the scene is on the right.
    let exif =
        b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let lying = [&plain[..2], &exif[..], &plain[2..]].concat();
    let source = clips.write(&lying, "lying.jpg");
    let outputs = vec![
        output(Format::Jpg),
        boxed(Format::Webp, Fit::Inside, (60, 60)),
    ];
    let made = make(&source, outputs).unwrap();
    let size = |width, height| Size { width, height };
    assert_eq!(made.source.size, size(120, 160));
    assert_eq!(made.pictures[0].size, size(120, 160));
    assert_eq!(made.pictures[1].size, size(45, 60));
    for made in made.pictures {
        assert_eq!(corners(&made.file), [BLUE, RED, WHITE, LIME]);
    }
}

#[test]
fn deep_and_grey_pictures_become_srgb() {
    let clips = Clips::new();
    let deep = quarters(&clips, "-pix_fmt rgb48be", "deep.png");
    let file = &made(&deep, vec![output(Format::Jpg)])[0];
    assert_eq!(corners(file), [RED, LIME, BLUE, WHITE]);
    for format in ["gray", "gray16be", "ya8"] {
        let grey = "-f lavfi -i color=gray:s=32x32 -frames:v 1 -pix_fmt";
        let source = clips.ffmpeg(&format!("{grey} {format}"), "grey.png");
        let [r, g, b] = pixels(&made(&source, vec![output(Format::Webp)])[0], "1:1")[0];
        assert!(r.abs_diff(128) < 4 && g.abs_diff(128) < 4 && b.abs_diff(128) < 4);
    }
}

/// A colour profile (ICC.1, version 2) of a screen whose red and blue are those of sRGB the other way round.
fn swapped_profile() -> Vec<u8> {
    let number = |value: f64| ((value * 65536.0).round() as i32).to_be_bytes();
    let xyz = |of: [f64; 3]| [&b"XYZ \0\0\0\0"[..], &of.map(number).concat()].concat();
    let (red, green, blue) = (
        [0.4361, 0.2225, 0.0139],
        [0.3851, 0.7169, 0.0971],
        [0.1431, 0.0606, 0.7141],
    );
    // A power of 2.2 as a fixed point number, and what makes it a multiple of four bytes.
    let curve = b"curv\0\0\0\0\0\0\0\x01\x02\x33\0\0".to_vec();
    let tags = [
        (b"wtpt", xyz([0.9642, 1.0, 0.8249])),
        (b"rXYZ", xyz(blue)),
        (b"gXYZ", xyz(green)),
        (b"bXYZ", xyz(red)),
        (b"rTRC", curve.clone()),
        (b"gTRC", curve.clone()),
        (b"bTRC", curve),
    ];
    let mut table = (tags.len() as u32).to_be_bytes().to_vec();
    let mut data = Vec::new();
    let begin = 128 + 4 + 12 * tags.len();
    for (name, tag) in &tags {
        let place = ((begin + data.len()) as u32).to_be_bytes();
        table.extend([&name[..], &place, &(tag.len() as u32).to_be_bytes()].concat());
        data.extend(tag);
    }
    let mut header = [0; 128];
    header[..4].copy_from_slice(&((begin + data.len()) as u32).to_be_bytes());
    header[8..24].copy_from_slice(b"\x02\x10\0\0mntrRGB XYZ ");
    header[36..40].copy_from_slice(b"acsp");
    header[68..80].copy_from_slice(&[0.9642, 1.0, 0.8249].map(number).concat());
    [&header[..], &table, &data].concat()
}

#[test]
fn colours_are_those_that_the_profile_of_a_picture_means() {
    let clips = Clips::new();
    let plain = std::fs::read(quarters(&clips, "", "plain.jpg")).unwrap();
    let profile = [&b"ICC_PROFILE\0\x01\x01"[..], &swapped_profile()].concat();
    let length = (profile.len() as u16 + 2).to_be_bytes();
    let marker = [&b"\xff\xe2"[..], &length, &profile].concat();
    let source = clips.write(&[&plain[..2], &marker, &plain[2..]].concat(), "wide.jpg");
    let files = made(&source, vec![output(Format::Png), output(Format::Webp)]);
    for file in &files {
        assert_eq!(corners(file), [BLUE, LIME, RED, WHITE], "{file:?}");
    }
}

#[test]
fn transparency_is_kept_where_it_can_be_and_white_elsewhere() {
    let clips = Clips::new();
    let clear = "-f lavfi -i color=red@0.0:s=32x32,format=rgba -frames:v 1";
    let source = clips.ffmpeg(clear, "clear.png");
    let files = made(&source, vec![output(Format::Jpg), output(Format::Png)]);
    assert!(pixels(&files[0], "1:1")[0].iter().all(|value| *value > 240));
    let again = made(&files[1], vec![output(Format::Jpg)]);
    assert!(pixels(&again[0], "1:1")[0].iter().all(|value| *value > 240));
}

#[test]
fn nothing_that_a_picture_says_about_itself_gets_through() {
    let clips = Clips::new();
    let plain = std::fs::read(quarters(&clips, "", "plain.jpg")).unwrap();
    let comment = b"\xff\xfe\x00\x0cCanary0815";
    let exif = b"\xff\xe1\x00\x34Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x0f\0\x02\0\0\0\x0b\0\0\0\x1a\0\0\0\0Canary0815\0\0\0\0\0\0\0\0";
    let talking = [&plain[..2], &comment[..], &exif[..], &plain[2..]].concat();
    let source = clips.write(&talking, "talking.jpg");
    let formats = [
        Format::Webp,
        Format::Avif,
        Format::Jpg,
        Format::Png,
        Format::Gif,
    ];
    for file in made(&source, formats.map(output).into()) {
        let bytes = std::fs::read(&file).unwrap();
        for trace in [&b"Canary"[..], b"Exif", b"EXIF", b"ICC", b"http"] {
            let found = bytes.windows(trace.len()).any(|window| window == trace);
            assert!(!found, "{file:?}: {}", String::from_utf8_lossy(trace));
        }
    }
}

#[test]
fn an_animation_goes_on_moving() {
    let clips = Clips::new();
    let source = moving(&clips, "moving.gif");
    let as_gif = boxed(Format::Gif, Fit::Cover, (30, 30));
    let as_webp = boxed(Format::Webp, Fit::Inside, (30, 30));
    let made = make(&source, vec![as_gif, as_webp]).unwrap();
    assert_eq!(made.source.frames, 3);
    assert!(made.pictures.iter().all(|made| made.frames == 3));
    let shown: Vec<[bool; 3]> = (pixels(&made.pictures[0].file, "1:1").into_iter())
        .map(|pixel| pixel.map(|value| value > 128))
        .collect();
    assert_eq!(shown, [RED, LIME, BLUE]);
    let webp = std::fs::read(&made.pictures[1].file).unwrap();
    let delays: Vec<u8> = (webp.windows(4).enumerate())
        .filter(|(_, name)| *name == b"ANMF")
        .map(|(at, _)| webp[at + 20])
        .collect();
    // 500 ms in the low byte; the last frame of the source is as long as ffmpeg makes it.
    assert_eq!(delays[..2], [244, 244]);
    let loops = webp.windows(4).position(|name| name == b"ANIM").unwrap();
    let source = std::fs::read(&source).unwrap();
    let looped = source.windows(11).position(|name| name == b"NETSCAPE2.0");
    let times = source[looped.unwrap() + 13];
    assert_eq!(
        webp[loops + 12],
        times + 1,
        "the source says how often it repeats"
    );
}

#[test]
fn an_animation_becomes_a_still_only_when_asked_to() {
    let clips = Clips::new();
    let source = moving(&clips, "moving.gif");
    for format in [Format::Jpg, Format::Png, Format::Avif] {
        let error = make(&source, vec![output(format)]).unwrap_err();
        assert_eq!(error.code, "animation_refused", "{error:?}");
        let first = Output {
            animation: Animation::FirstFrame,
            ..output(format)
        };
        let files = made(&source, vec![first, output(Format::Gif)]);
        assert_eq!(corners(&files[0]), [RED; 4]);
    }
}

#[test]
fn outputs_that_cannot_be_are_refused_before_decoding() {
    let clips = Clips::new();
    let source = quarters(&clips, "", "a.png");
    let quality = Output {
        quality: Some(80),
        ..output(Format::Png)
    };
    let empty = Output {
        width: Some(0),
        ..output(Format::Png)
    };
    for outputs in [
        vec![],
        vec![output(Format::Png); 17],
        vec![quality],
        vec![empty],
    ] {
        assert_eq!(make(&source, outputs).unwrap_err().code, "bad_option");
    }
}

#[tokio::test]
async fn thumbnails_are_published_under_the_names_that_readers_know() {
    let clips = Clips::new();
    let job = Run::new(&quarters(&clips, "", "a.png"));
    let input = |width: u32| {
        json!({
            "source": "source.mp4",
            "hash": "testhash",
            "outputs": [
                {"variant": "small", "width": width},
                {"variant": "small", "width": 20, "format": "jpg", "quality": 70},
            ],
        })
    };
    let made = job.step("image.thumbnail", input(40)).await;
    assert_eq!(made["images"][0]["key"], "images/te/testhash/small.webp");
    assert_eq!(made["images"][1]["key"], "images/te/testhash/small.jpg");
    let file = |key: &Value| job.bench.media_dir().join(key.as_str().unwrap());
    let image = &made["images"][0];
    let published = std::fs::read(file(&image["key"])).unwrap();
    assert_eq!(
        published,
        std::fs::read(file(&image["object"]["key"])).unwrap()
    );
    assert_eq!(clips.size_of(&file(&image["key"])), "40x30");
    // A later job replaces what readers see, and nothing that the first one refers to.
    let later = job.step("image.thumbnail", input(80)).await;
    assert_eq!(clips.size_of(&file(&later["images"][0]["key"])), "80x60");
    assert_eq!(
        published,
        std::fs::read(file(&image["object"]["key"])).unwrap()
    );
}

#[tokio::test]
async fn a_picture_that_comes_late_gives_its_name_back_to_the_later_job() {
    let clips = Clips::new();
    let job = Run::new(&quarters(&clips, "", "a.png"));
    let input = |width: u32| {
        let outputs = [json!({"variant": "small", "width": width})];
        json!({"source": "source.mp4", "hash": "testhash", "outputs": outputs})
    };
    job.bench.always_allocate(2);
    job.step("image.thumbnail", input(80)).await;
    // The other job publishes between this one's publication and its copy.
    job.bench.always_allocate(1);
    job.bench.overtake_with(2);
    let (made, warnings) = job.step_with_warnings("image.thumbnail", input(40)).await;
    let shown = job
        .bench
        .media_dir()
        .join(made["images"][0]["key"].as_str().unwrap());
    assert_eq!(clips.size_of(&shown), "80x60");
    assert!(
        warnings[0].starts_with("published_meanwhile: "),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn a_picture_of_a_worker_that_was_taken_for_dead_gives_its_name_back_as_well() {
    let clips = Clips::new();
    let job = Run::new(&quarters(&clips, "", "a.png"));
    let input = |width: u32| {
        let outputs = [json!({"variant": "small", "width": width})];
        json!({"source": "source.mp4", "hash": "testhash", "outputs": outputs})
    };
    job.bench.always_allocate(2);
    let later = job.step("image.thumbnail", input(80)).await;
    let shown = later["images"][0]["key"].as_str().unwrap();
    let shown = job.bench.media_dir().join(shown);
    std::fs::remove_file(&shown).unwrap();
    job.bench.always_allocate(1);
    job.bench.forget_publications();
    job.bench.overtake_and_fence_with(2);
    let attempt = job.bench.attempt(None);
    let ended = job.attempt(&attempt, "image.thumbnail", input(40)).await;
    assert_eq!(&*ended.unwrap_err().code, "cancelled");
    assert_eq!(clips.size_of(&shown), "80x60");
}

#[tokio::test]
async fn the_hash_of_a_picture_is_that_of_its_bytes() {
    let clips = Clips::new();
    let source = quarters(&clips, "", "a.png");
    let job = Run::new(&source);
    let mut input = json!({"source": "source.mp4", "outputs": [{"variant": "small"}]});
    let made = job.step("image.thumbnail", input.clone()).await;
    let expected = Sha256::digest(std::fs::read(&source).unwrap());
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(made["hash"], expected);
    input["outputs"][0]["variant"] = json!("../x");
    let (code, _) = job.failure("image.thumbnail", input.clone()).await;
    assert_eq!(code, "bad_activity_input");
    input["outputs"] = json!([{"variant": "a"}, {"variant": "a"}]);
    assert_eq!(job.failure("image.thumbnail", input).await.0, "bad_option");
}
