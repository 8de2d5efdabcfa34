//! Sheets of small pictures: each tile shows its time.

use std::path::{Path, PathBuf};

use telecine_activities::media::report::Size;
use telecine_activities::media::sprites::{Sprites, SpritesMade, SpritesSpec};
use telecine_activities::tool::ToolError;

use crate::clips::Clips;
use crate::pictures::{footage, frame_of, pixels, ramp, run};

const SECOND_NS: u64 = 1_000_000_000;

fn sprites(source: &Path, interval_ns: Option<u64>) -> Result<SpritesMade, ToolError> {
    let directory: PathBuf = source.with_extension("sheets");
    std::fs::create_dir_all(&directory).unwrap();
    let spec = SpritesSpec {
        footage: footage(source),
        interval_ns,
        short_edge: 32,
        directory,
    };
    run::<Sprites>(spec).0
}

#[test]
fn every_tile_shows_the_middle_of_its_time() {
    let clips = Clips::new();
    // Ten seconds with keyframes every three: tiles a second apart are decoded.
    let made = sprites(&ramp(&clips, "ramp.mp4"), None).unwrap();
    assert_eq!((made.tiles, made.interval_ns), (10, SECOND_NS));
    let (width, height) = (32, 32);
    assert_eq!(made.tile, Size { width, height });
    for (tile, pixel) in pixels(&made.sheets[0], "10:1").into_iter().enumerate() {
        let expected = 5.0 + 10.0 * tile as f64;
        let frame = frame_of(pixel);
        assert!((frame - expected).abs() < 3.0, "tile {tile}: {frame}");
    }
}

#[test]
fn of_a_video_with_enough_keyframes_only_those_are_shown() {
    let clips = Clips::new();
    // Keyframes at 0, 3, 6 and 9 s; the middles of the tiles are at 1.5, 4.5, 7.5 and 10.5 s.
    let made = sprites(&ramp(&clips, "ramp.mp4"), Some(3 * SECOND_NS)).unwrap();
    assert_eq!(made.tiles, 4);
    let shown = pixels(&made.sheets[0], "4:1").into_iter().map(frame_of);
    for (shown, expected) in shown.zip([0.0, 30.0, 60.0, 90.0]) {
        assert!(
            (shown - expected).abs() < 3.0,
            "{shown} instead of {expected}"
        );
    }
}

#[test]
fn many_tiles_go_onto_several_sheets() {
    let clips = Clips::new();
    let source = clips.h264(250, "2", "-g 4", "long.mp4");
    let made = sprites(&source, None).unwrap();
    assert_eq!((made.tiles, made.interval_ns), (125, 2 * SECOND_NS));
    let rows = [10, 3];
    assert_eq!(made.sheets.len(), rows.len());
    for (sheet, rows) in made.sheets.iter().zip(rows) {
        let width = (made.tile.width * 10) as usize;
        let size = format!("{width}:{}", made.tile.height * rows);
        assert_eq!(clips.size_of(sheet), size.replace(':', "x"));
    }
}

#[test]
fn a_video_of_one_frame_has_one_tile() {
    let clips = Clips::new();
    let source = clips.h264(1, "25", "-frames:v 1", "one.mp4");
    let made = sprites(&source, None).unwrap();
    assert_eq!((made.tiles, made.sheets.len()), (1, 1));
    assert_eq!(clips.size_of(&made.sheets[0]), "57x32");
}

#[test]
fn more_tiles_than_a_player_needs_are_refused() {
    let clips = Clips::new();
    let source = clips.h264(30, "5", "", "a.mp4");
    let error = sprites(&source, Some(SECOND_NS / 10)).unwrap_err();
    assert_eq!(error.code, "bad_option");
}
