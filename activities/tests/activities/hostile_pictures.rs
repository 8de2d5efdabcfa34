//! Files that attack whoever opens them: each is refused at once, with a code, without being
//! decoded, and without a look at any other file or address.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use telecine_activities::media::thumbnail::{Animation, Format, Output};
use telecine_engine::activity::Registry;

use crate::attempt::Bench;
use crate::clips::Clips;
use crate::processor::busy;
use crate::thumbnails::{make, output};

/// What a picture may take above one of a few pixels, which takes 50 MB with the libraries loaded.
const FLAT_RSS_BYTES: u64 = 40_000_000;

/// Codes of the errors of a file, for a still and for an animation.
fn refusal(source: &Path) -> String {
    let error = make(source, vec![output(Format::Webp)]).unwrap_err();
    assert!(!error.message.contains("/tmp"), "{}", error.message);
    error.code
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    };
    !bytes.iter().fold(!0, step)
}

fn png_chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let named = [&name[..], body].concat();
    let length = (body.len() as u32).to_be_bytes();
    [&length[..], &named, &crc32(&named).to_be_bytes()].concat()
}

/// A PNG that says it has so many black pixels, and holds a stream of a few bytes.
fn png(side: u32, name: &str, clips: &Clips) -> PathBuf {
    let side = side.to_be_bytes();
    let header = [&side[..], &side, &[8, 2, 0, 0, 0]].concat();
    let bytes = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        png_chunk(b"IHDR", &header),
        png_chunk(b"IDAT", b"\x78\x9c\x63\x00\x00\x00\x01\x00\x01"),
        png_chunk(b"IEND", b""),
    ];
    clips.write(&bytes.concat(), name)
}

/// A GIF of so many frames of one pixel.
fn gif(frames: usize, name: &str, clips: &Clips) -> PathBuf {
    let mut bytes = b"GIF89a\x10\0\x10\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    for _ in 0..frames {
        bytes.extend(b"\x21\xf9\x04\0\x02\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0");
    }
    bytes.push(0x3b);
    clips.write(&bytes, name)
}

/// A lossless WebP that says it has 16383 x 16383 pixels, in 32 bytes.
fn webp(clips: &Clips) -> PathBuf {
    let mut bytes = b"RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f".to_vec();
    bytes.extend([
        0xfe, 0xbf, 0xff, 0x0f, 0x07, 0xd0, 0xff, 0xfe, 0xf7, 0x0f, 0x00, 0x00, 0,
    ]);
    clips.write(&bytes, "bomb.webp")
}

/// A TIFF that says it has 100000 x 100000 pixels.
fn tiff(clips: &Clips) -> PathBuf {
    let mut bytes = b"II*\0\x08\0\0\0\x08\0".to_vec();
    let entries: [(u16, u32); 8] = [
        (256, 100_000),
        (257, 100_000),
        (258, 8),
        (259, 1),
        (262, 1),
        (273, 8),
        (278, 100_000),
        (279, 100),
    ];
    for (tag, value) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend([4, 0, 1, 0, 0, 0]);
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([0; 4]);
    clips.write(&bytes, "bomb.tiff")
}

fn bombs(clips: &Clips) -> Vec<(PathBuf, &'static str)> {
    vec![
        (png(50_000, "bomb.png", clips), "too_many_pixels"),
        (gif(100_000, "bomb.gif", clips), "too_many_frames"),
        (webp(clips), "too_many_pixels"),
        (tiff(clips), "too_many_pixels"),
    ]
}

/// Drawings and programs that reach for a file and an address, under names of pictures.
fn posers(clips: &Clips, canary: &Path, address: &str) -> Vec<(PathBuf, &'static str)> {
    let canary = canary.display();
    let svg = |body: &str| {
        format!(
            "<?xml version='1.0'?>\n<!DOCTYPE svg [<!ENTITY x SYSTEM 'file://{canary}'>\
             <!ENTITY y SYSTEM '{address}/dtd'>]>\n<svg xmlns='http://www.w3.org/2000/svg' \
             xmlns:xlink='http://www.w3.org/1999/xlink' width='10' height='10'>{body}</svg>"
        )
    };
    let texts = [
        ("entity.svg", svg("<text>&x;&y;</text>"), "vector_refused"),
        (
            "href.svg",
            svg(&format!("<image xlink:href='{address}/a.png'/>")),
            "vector_refused",
        ),
        (
            "include.png",
            svg(&format!(
                "<xi:include xmlns:xi='http://www.w3.org/2001/XInclude' href='{canary}'/>"
            )),
            "vector_refused",
        ),
        (
            "script.jpg",
            svg("<script>fetch('/')</script>"),
            "vector_refused",
        ),
        (
            "page.gif",
            format!("<html><img src='{address}/b'><script>alert(1)</script></html>"),
            "not_image",
        ),
        (
            "draw.mvg",
            format!(
                "push graphic-context\nimage over 0,0 0,0 '{address}/c.png'\npop graphic-context"
            ),
            "vector_refused",
        ),
        (
            "label.png",
            format!("viewbox 0 0 9 9 image over 0,0 9,9 'text:{canary}'"),
            "vector_refused",
        ),
        (
            "draw.eps",
            format!("%!PS-Adobe-3.0 EPSF-3.0\n({canary}) (r) file 100 string readstring"),
            "vector_refused",
        ),
        (
            "draw.pdf",
            "%PDF-1.7\n1 0 obj <</Type/Catalog>> endobj".to_owned(),
            "vector_refused",
        ),
        ("list.m3u8", format!("#EXTM3U\n{address}/d.ts"), "not_image"),
        ("shell.jpg", format!("#!/bin/sh\ncat {canary}"), "not_image"),
        ("raw.ppm", "P6 99999 99999 255\n".to_owned(), "not_image"),
        ("vips.v", "\u{8}\u{f2}\u{a6}\u{b6}".to_owned(), "not_image"),
        ("empty.png", String::new(), "empty_source"),
    ];
    let written = texts.map(|(name, text, code)| (clips.write(text.as_bytes(), name), code));
    written.into()
}

#[test]
fn bombs_are_refused_before_they_go_off() {
    let clips = Clips::new();
    // Loads the libraries.
    refusal(&clips.write(b"\x89PNG\r\n\x1a\n", "warm.png"));
    for (bomb, code) in bombs(&clips) {
        let begun = busy();
        assert_eq!(refusal(&bomb), code, "{bomb:?}");
        let took = busy() - begun;
        assert!(took < Duration::from_millis(500), "{bomb:?} took {took:?}");
    }
}

#[test]
fn of_a_long_animation_the_first_frame_is_still_a_picture() {
    let clips = Clips::new();
    let first = Output {
        animation: Animation::FirstFrame,
        ..output(Format::Png)
    };
    let made = make(&gif(100_000, "long.gif", &clips), vec![first]).unwrap();
    assert!(made.source.frames > 200, "{:?}", made.source);
    assert_eq!(made.pictures[0].frames, 1);
}

#[test]
fn pictures_that_are_cut_off_are_refused() {
    let clips = Clips::new();
    for name in ["a.jpg", "a.png", "a.gif", "a.webp", "a.tiff"] {
        let recipe = "-f lavfi -i testsrc2=s=320x180 -frames:v 1";
        let whole = clips.ffmpeg(recipe, name);
        for percent in [10, 50, 90] {
            let cut = clips.cut(&whole, percent, &format!("cut-{name}"));
            assert_eq!(refusal(&cut), "image_damaged", "{percent} % of {name}");
        }
    }
}

#[test]
fn files_that_pose_as_pictures_reach_for_nothing() {
    let clips = Clips::new();
    let canary = clips.write(b"canary-4711", "canary.txt");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    for (poser, code) in posers(&clips, &canary, &address) {
        let error = make(&poser, vec![output(Format::Png)]).unwrap_err();
        assert_eq!(error.code, code, "{poser:?}: {}", error.message);
        assert!(!error.message.contains("canary"), "{}", error.message);
    }
    let refused = listener.accept().unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
}

/// Runs `image.thumbnail` in a child process; the error's code and the most memory it had.
async fn in_child(source: &Path) -> (String, u64) {
    let bench = Bench::new();
    std::fs::copy(source, bench.source_dir().join("source")).unwrap();
    let mut registry = Registry::default();
    telecine_activities::register(&mut registry, &bench.host).unwrap();
    let attempt = bench.attempt(None);
    let input: Value =
        json!({"source": "source", "hash": null, "outputs": [{"variant": "a", "width": 64}]});
    let activity = registry.get("image.thumbnail", 1).unwrap();
    let code = match activity.run(&attempt.ctx, input).await {
        Ok(_) => "none".to_owned(),
        Err(error) => error.code.into_owned(),
    };
    (code, attempt.ctx.take_outcome().2.max_rss_bytes)
}

#[tokio::test]
async fn memory_stays_flat() {
    let clips = Clips::new();
    let dot = clips.ffmpeg("-f lavfi -i color=red:s=2x2 -frames:v 1", "dot.png");
    // 90 MB of pixels, which stream.
    let wide = "-f lavfi -i testsrc2=s=6000x5000 -frames:v 1 -pix_fmt rgb24 -compression_level 1";
    let wide = clips.ffmpeg(wide, "wide.png");
    let mut sources = bombs(&clips);
    sources.push((wide, "none"));
    let mut used = Vec::new();
    for (source, code) in sources {
        let (refused, rss) = in_child(&source).await;
        assert_eq!(refused, code, "{source:?}");
        used.push((rss, source));
    }
    // Asked last: Linux counts the memory of the process that starts a child as the child's.
    let (_, flat) = in_child(&dot).await;
    for (rss, source) in used {
        assert!(rss < flat + FLAT_RSS_BYTES, "{source:?}: {rss} and {flat}");
    }
}
