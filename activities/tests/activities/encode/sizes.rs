//! Sources that change the size of their pictures on the way.

use std::path::{Path, PathBuf};

use telecine_activities::media::encode_video::{EncodeVideo, SourceFacts};
use telecine_activities::tool::{Message, run_in_process};

use super::run::{Told, rung, spec_of, split, video};
use super::seen::{decoded_frames, pictures, stream};
use crate::clips::Clips;
use crate::pictures as painted;

const H264: &str = "-pix_fmt yuv420p -c:v libx264 -preset veryfast -g 50 -bf 2";

/// Seconds of a test picture, those from `from` on through a filter.
fn resized(clips: &Clips, (size, seconds, from): (&str, u32, u32), filter: &str) -> PathBuf {
    let video = format!("-f lavfi -i testsrc2=s={size}:r=25:d={seconds}");
    clips.ffmpeg(&format!("{video} -t {from} {H264}"), "a.ts");
    // Its first frame is shown two frames after it is decoded.
    let late = format!("-output_ts_offset {from}.08");
    clips.ffmpeg(
        &format!("{video} -ss {from} -vf {filter} {H264} {late}"),
        "b.ts",
    );
    clips.ffmpeg("-i concat:a.ts|b.ts -c copy", "resized.mkv")
}

/// The picture that it would have been in one size.
fn unresized(clips: &Clips, size: &str, seconds: u32, filter: &str) -> PathBuf {
    let video = format!("-f lavfi -i testsrc2=s={size}:r=25:d={seconds}");
    clips.ffmpeg(&format!("{video} -vf {filter} -c:v ffv1"), "right.mkv")
}

fn facts(source: &Path) -> SourceFacts {
    SourceFacts::from(&painted::footage(source).video)
}

/// Mean distance of each picture from the one that it should be.
fn distances(seen: &Path, right: &Path, size: (usize, usize)) -> Vec<f64> {
    let (seen, right) = (pictures(seen, size), pictures(right, size));
    assert_eq!(seen.len(), right.len());
    let distance = |(a, b): (&Vec<u8>, &Vec<u8>)| {
        let sum: u32 = a
            .iter()
            .zip(b)
            .map(|(a, b)| u32::from(a.abs_diff(*b)))
            .sum();
        f64::from(sum) / a.len() as f64
    };
    seen.iter().zip(&right).map(distance).collect()
}

fn check(seen: &Path, right: &Path, size: (usize, usize)) {
    let distances = distances(seen, right, size);
    let worst = distances.iter().copied().fold(0.0, f64::max);
    assert!(worst < 8.0, "{distances:?}");
}

#[test]
fn smaller_and_larger_pictures_are_scaled_into_the_frame() {
    for (size, filter) in [("640x360", "scale=320:180"), ("320x180", "scale=640:360")] {
        let clips = Clips::new();
        let source = resized(&clips, (size, 4, 2), filter);
        let spec = spec_of(&source, facts(&source), vec![rung(320, 180)]);
        let (_, told) = video(spec);
        let right = unresized(&clips, size, 4, "scale=320:180");
        check(&told.file("r180_h264"), &right, (320, 180));
    }
}

#[test]
fn pictures_of_another_shape_have_black_beside_them() {
    let clips = Clips::new();
    let source = resized(&clips, ("640x360", 4, 2), "crop=240:360");
    let spec = spec_of(&source, facts(&source), vec![rung(320, 180)]);
    let (_, told) = video(spec);
    let black = "drawbox=w=200:c=black:t=fill:enable='gte(t,2)',\
                 drawbox=x=440:c=black:t=fill:enable='gte(t,2)',scale=320:180";
    let right = unresized(&clips, "640x360", 4, black);
    check(&told.file("r180_h264"), &right, (320, 180));

    let cover = painted::cover(&source, Some(3_000_000_000)).1;
    let seen = painted::pixels(&cover, "32x18");
    let column = |x: usize| (0..18).map(move |y| x + 32 * y);
    for dark in [0, 8, 23, 31].into_iter().flat_map(column) {
        assert!(
            seen[dark].iter().all(|level| *level < 40),
            "{dark}: {seen:?}"
        );
    }
    let lit = column(16).filter(|at| seen[*at].iter().any(|level| *level > 100));
    assert!(lit.count() > 9, "{seen:?}");
}

#[test]
fn chunks_that_begin_in_another_size_join_the_others() {
    let clips = Clips::new();
    // The sizes are on both sides of the height at which players guess other colours.
    let source = resized(&clips, ("128x720", 14, 7), "scale=64:360");
    let spec = spec_of(&source, facts(&source), vec![rung(64, 360)]);
    let mut joined = Told::default();
    for part in split(&spec, 1) {
        joined.join(video(part).1);
    }
    let file = joined.file("r64_h264");
    assert_eq!(decoded_frames(&file), 350);
    assert_eq!(stream(&file)["height"], 360);
    let right = unresized(&clips, "128x720", 14, "scale=64:360");
    check(&file, &right, (64, 360));
}

#[test]
fn a_change_of_size_is_told_once() {
    let clips = Clips::new();
    let source = resized(&clips, ("640x360", 4, 2), "scale=320:180");
    let spec = spec_of(&source, facts(&source), vec![rung(320, 180)]);
    let (_, messages) = run_in_process::<EncodeVideo>(spec);
    let warnings: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Warning(warning) => Some(warning.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let begins = "size_changes: at 2.0 s pictures of 320x180 with pixels of 1:1 come";
    assert!(warnings[0].starts_with(begins), "{warnings:?}");
}
