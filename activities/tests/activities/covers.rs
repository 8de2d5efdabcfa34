//! Which picture becomes the cover when no time is given.

use std::path::{Path, PathBuf};
use std::time::Instant;

use telecine_activities::media::cover::{Choice, Cover, CoverMade, CoverSpec};

use crate::clips::Clips;
use crate::pictures::{footage, pixels, run};

fn chosen(source: &Path) -> (CoverMade, PathBuf) {
    let spec = CoverSpec {
        footage: footage(source),
        at_ns: None,
        max_edge: 1280,
        quality: 90,
        out: source.with_extension("jpg"),
    };
    let out = spec.out.clone();
    (run::<Cover>(spec).0.unwrap(), out)
}

/// The second of the cover, and how it was chosen.
fn choice(source: &Path) -> (f64, Choice) {
    let (made, _) = chosen(source);
    (made.at_ns as f64 / 1e9, made.choice.unwrap())
}

const CODEC: &str = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p";

/// Ten frames a second of a moving picture with edges and many tones.
fn scene(seconds: u32) -> String {
    format!("-f lavfi -i testsrc2=s=320x180:r=10:d={seconds}")
}

fn card(colour: &str, seconds: u32) -> String {
    format!("-f lavfi -i color={colour}:s=320x180:r=10:d={seconds}")
}

#[test]
fn a_black_beginning_is_left_out() {
    let clips = Clips::new();
    let recipe = format!(
        "{} {} -filter_complex concat {CODEC}",
        card("black", 6),
        scene(4)
    );
    let (at_s, choice) = choice(&clips.ffmpeg(&recipe, "late.mp4"));
    assert!((6.0..10.0).contains(&at_s), "{at_s}");
    assert!(choice.score > 0.5, "{choice:?}");
}

#[test]
fn a_picture_in_a_fade_is_left_out() {
    let clips = Clips::new();
    let fade = "-vf fade=in:st=0:d=8,fade=out:st=12:d=8";
    let recipe = format!("{} {fade} {CODEC}", scene(20));
    let (at_s, _) = choice(&clips.ffmpeg(&recipe, "fade.mp4"));
    assert!((7.0..12.5).contains(&at_s), "{at_s}");
}

#[test]
fn a_blurred_part_is_left_out() {
    let clips = Clips::new();
    // Sharp from 14 s to 17 s only.
    let blur = "-vf boxblur=12:2:enable='not(between(t,14,17))'";
    let recipe = format!("{} {blur} {CODEC}", scene(20));
    let (at_s, _) = choice(&clips.ffmpeg(&recipe, "blurred.mp4"));
    assert!((14.0..17.1).contains(&at_s), "{at_s}");
}

#[test]
fn flat_cards_are_left_out() {
    let clips = Clips::new();
    let inputs = [card("red", 4), card("white", 4), scene(2), card("navy", 4)].join(" ");
    let recipe = format!("{inputs} -filter_complex concat=n=4 {CODEC}");
    let (at_s, _) = choice(&clips.ffmpeg(&recipe, "cards.mp4"));
    assert!((8.0..10.0).contains(&at_s), "{at_s}");
}

#[test]
fn a_frozen_picture_is_left_out_where_something_moves_for_two_seconds_of_a_minute() {
    let clips = Clips::new();
    // The signal stalls at 0, is there again from 41 s to 43 s, and stalls until the end.
    let still = "loop=loop=-1:size=1:start=0";
    let filter = format!(
        "[0]{still},trim=duration=41[a];[2]{still},trim=duration=17[c];[a][1][c]concat=n=3"
    );
    let inputs = [scene(1), scene(2), scene(1)].join(" ");
    let recipe = format!("{inputs} -filter_complex {filter} {CODEC}");
    let source = clips.ffmpeg(&recipe, "stalled.mp4");
    let (at_s, choice) = choice(&source);
    assert!((41.0..43.0).contains(&at_s), "{at_s} {choice:?}");
}

#[test]
fn a_video_that_stands_still_has_a_cover() {
    let clips = Clips::new();
    let recipe = format!("{} -vf loop=loop=-1:size=1:start=0 -t 5 {CODEC}", scene(1));
    let (_, choice) = choice(&clips.ffmpeg(&recipe, "still.mp4"));
    assert!((0.3..0.5).contains(&choice.score), "{choice:?}");
}

#[test]
fn one_good_second_in_a_minute_is_found() {
    let clips = Clips::new();
    let inputs = [card("black", 37), scene(1), card("white", 23)].join(" ");
    // With a keyframe at the cuts, and with one at the start alone.
    for (keyframes, name) in [("", "cuts.mp4"), ("-sc_threshold 0 -g 9999", "one.mp4")] {
        let recipe = format!("{inputs} -filter_complex concat=n=3 {CODEC} {keyframes}");
        let (at_s, choice) = choice(&clips.ffmpeg(&recipe, name));
        assert!((37.0..38.0).contains(&at_s), "{name}: {at_s}");
        assert!(choice.candidates > 12, "{choice:?}");
    }
}

#[test]
fn a_picture_behind_the_first_two_minutes_is_found_by_few_keyframes() {
    let clips = Clips::new();
    // 210 s with a keyframe every 10 s, or every 25 s and none in its last minute.
    let even = "-g 50 -sc_threshold 0";
    let sparse = "-g 9999 -sc_threshold 0 -force_key_frames 25,50,75,100,125,150";
    for (keyframes, seconds, name) in [(even, 120, "even.mp4"), (sparse, 140, "sparse.mkv")] {
        let black = format!("-f lavfi -i color=black:s=320x180:r=5:d={seconds}");
        let scene = format!("-f lavfi -i testsrc2=s=320x180:r=5:d={}", 210 - seconds);
        let recipe = format!("{black} {scene} -filter_complex concat {CODEC} {keyframes}");
        let source = clips.ffmpeg(&recipe, name);
        let footage = footage(&source);
        assert!(
            footage.exact_seeks && footage.video.keyframes < 24,
            "{footage:?}"
        );
        let (at_s, choice) = choice(&source);
        assert!(at_s >= f64::from(seconds), "{name}: {at_s} {choice:?}");
        assert!(choice.score > 0.5 && choice.candidates < 120, "{choice:?}");
    }
}

#[test]
fn a_black_film_of_few_keyframes_has_a_black_cover() {
    let clips = Clips::new();
    let black = "-f lavfi -i color=black:s=320x180:r=2:d=300";
    // One keyframe; keyframes where nothing can be sought; an index at neither end.
    for (more, name) in [
        ("-g 9999", "one.mp4"),
        ("-g 60", "few.ts"),
        ("-g 60 -live 1", "live.mkv"),
    ] {
        let (_, choice) = choice(&clips.ffmpeg(&format!("{black} {CODEC} {more}"), name));
        assert!(choice.score < 0.01, "{name}: {choice:?}");
    }
}

#[test]
fn a_black_video_has_a_black_cover() {
    let clips = Clips::new();
    let source = clips.ffmpeg(&format!("{} {CODEC}", card("black", 3)), "black.mp4");
    let (made, out) = chosen(&source);
    assert!(made.choice.unwrap().score < 0.01, "{made:?}");
    assert!(pixels(&out, "1:1")[0].iter().all(|value| *value < 4));
}

#[test]
fn a_video_of_one_frame_has_that_as_its_cover() {
    let clips = Clips::new();
    let (made, _) = chosen(&clips.h264(1, "25", "-frames:v 1", "one.mp4"));
    assert_eq!((made.at_ns, made.choice.unwrap().candidates), (0, 1));
}

#[test]
fn the_same_video_always_has_the_same_cover() {
    let clips = Clips::new();
    let source = clips.h264(30, "10", "-g 10", "a.mp4");
    let (first, out) = chosen(&source);
    let picture = std::fs::read(&out).unwrap();
    for _ in 0..2 {
        assert_eq!(chosen(&source).0, first);
        assert_eq!(std::fs::read(&out).unwrap(), picture);
    }
}

#[test]
fn a_film_takes_as_long_as_a_clip() {
    let clips = Clips::new();
    let minutes = |count: u32, name: &str| {
        let source = "-f lavfi -i testsrc2=s=320x180:r=5 -vf negate=enable='lt(mod(t,7),3)'";
        clips.ffmpeg(&format!("{source} -t {} -g 25 {CODEC}", count * 60), name)
    };
    let [short, long] = [(1, "clip.mp4"), (40, "film.mp4")].map(|(count, name)| {
        let footage = footage(&minutes(count, name));
        let out = clips.path("cover.jpg");
        move || {
            let spec = CoverSpec {
                footage: footage.clone(),
                at_ns: None,
                max_edge: 1280,
                quality: 90,
                out: out.clone(),
            };
            let begun = Instant::now();
            let made = run::<Cover>(spec).0.unwrap();
            (begun.elapsed(), made.choice.unwrap().candidates)
        }
    });
    let best =
        |once: &dyn Fn() -> (std::time::Duration, u32)| (0..3).map(|_| once()).min().unwrap();
    let ((clip, few), (film, as_few)) = (best(&short), best(&long));
    assert_eq!(few, as_few);
    // Forty times as long; what is above one is the larger index, and noise.
    assert!(film < clip * 5, "{clip:?} and {film:?}");
}
