//! Mutants of thumbnails: of their index, and of the sheet that it leads to.

use serde_json::json;
use telecine_activities::lint::Rule::{self, *};

use super::surgery::Change::{self, *};
use super::{Files, Mutant};
use crate::clips::Clips;
use crate::pipeline::{Run, short_clip};

/// Fourteen tiles on one sheet, one a second.
pub(super) async fn good() -> Files {
    let run = Run::new(&short_clip(&Clips::new()));
    let prepared = run.prepare().await;
    let input = json!({
        "source": "source.mp4",
        "video": prepared.probe["video"],
        "exact_seeks": prepared.probe["chunkable"],
        "interval_s": 1,
        "short_edge": 36,
        "prefix": prepared.allocation["prefix"],
    });
    run.step("video.sprites", input).await;
    Files::load(&run.published("g1/sprites"))
}

/// Every mutant.
pub(super) fn all() -> Vec<Mutant> {
    let named = |name: &'static str, table: Vec<(Change, Rule)>| {
        let mutant = move |(change, rule)| (name, change, rule);
        table.into_iter().map(mutant)
    };
    let index = [file(), cues(), order(), thumbnails(), pictures()];
    named("sprites", index.concat())
        .chain(named("sheet", sheet()))
        .collect()
}

fn file() -> Vec<(Change, Rule)> {
    vec![
        (Text("WEBVTT\n", ""), VttFile),
        (Text("WEBVTT", "WEBVT"), VttFile),
        (Text("WEBVTT", "WEBVTTX"), VttFile),
        (Text("WEBVTT", "webvtt"), VttFile),
        (Text("WEBVTT\n\n", "WEBVTT\n"), VttFile),
        (Before(b"\n"), VttFile),
        (Before(b"\xff\xfe"), VttFile),
        (Everywhere("\n\n", "\n"), VttFile),
        (Copy("sheet"), VttFile),
    ]
}

fn cues() -> Vec<(Change, Rule)> {
    vec![
        (Text(" --> ", " -> "), VttCue),
        (Text(" --> ", "-->"), VttCue),
        (Text("00:00:00.000 -->", "00:00:00 -->"), VttCue),
        (Text("00:00:00.000 -->", "00:00:00,000 -->"), VttCue),
        (Text("00:00:00.000 -->", "0:00:00.000 -->"), VttCue),
        (Text("00:00:00.000 -->", "00:60:00.000 -->"), VttCue),
        (Text("00:00:00.000 -->", "0:0:00:00.000 -->"), VttCue),
        (Text("00:00:00.000 -->", "-0:00:00.000 -->"), VttCue),
        (Text("--> 00:00:01.000", "--> 00:00:00.000"), VttCue),
        (Text("--> 00:00:02.000", "--> 00:00:00.500"), VttCue),
        (Text("--> 00:00:02.000", "-->"), VttCue),
        (Text("00:00:01.000 --> 00:00:02.000\n", ""), VttCue),
        (Text("00:00:02.000 -->", "a\nb\n00:00:02.000 -->"), VttCue),
    ]
}

fn order() -> Vec<(Change, Rule)> {
    vec![
        (
            Swap("00:00:02.000 --> 00:00:03", "00:00:05.000 --> 00:00:06"),
            VttOrder,
        ),
        (Text("00:00:00.000 -->", "00:00:00.100 -->"), VttOrder),
        (Text("00:00:01.000 -->", "00:00:01.001 -->"), VttOrder),
        (Text("00:00:02.000 -->", "00:00:01.999 -->"), VttOrder),
        (Text("--> 00:00:04.000", "--> 00:00:03.999"), VttOrder),
        (Text("--> 00:00:04.000", "--> 00:00:14.000"), VttOrder),
    ]
}

fn thumbnails() -> Vec<(Change, Rule)> {
    vec![
        (Text("#xywh=", ""), VttThumbnail),
        (Text("#xywh=", "?xywh="), VttThumbnail),
        (Text("#xywh=", "#xyhw="), VttThumbnail),
        (Text("#xywh=", "#xywh=percent:"), VttThumbnail),
        (Text("#xywh=0,0,", "#xywh=0,"), VttThumbnail),
        (Text("#xywh=0,0,", "#xywh=0,0,0,"), VttThumbnail),
        (Text("#xywh=0,", "#xywh=-1,"), VttThumbnail),
        (Text("#xywh=0,", "#xywh=0.5,"), VttThumbnail),
        (Text(",64,36\n", ",0,36\n"), VttThumbnail),
        (Text(",64,36\n", ",64,0\n"), VttThumbnail),
        (Text(",64,36\n", ",64,36\nmore\n"), VttThumbnail),
        (Text("\n\n00:00:01", "\n00:00:01"), VttThumbnail),
    ]
}

fn pictures() -> Vec<(Change, Rule)> {
    vec![
        (Text("#xywh=0,", "#xywh=577,"), VttPicture),
        (Text("#xywh=0,0,", "#xywh=0,37,"), VttPicture),
        (Text(",64,36\n", ",641,36\n"), VttPicture),
        (Text(",64,36\n", ",64,73\n"), VttPicture),
        (Text("sheet_001", "sheet_002"), HlsUriExists),
        (Text("sheet_001", "sheet 001"), HlsUri),
        (Text("sheet_001", "/sheet_001"), HlsUri),
        (Text("sheet_001", "../sheet_001"), HlsUri),
        (Text("sheet_001", "https://example.com/sheet_001"), HlsUri),
    ]
}

fn sheet() -> Vec<(Change, Rule)> {
    vec![
        (Delete, HlsUriExists),
        (Before(b"x"), VttPicture),
        (Copy("sprites"), VttPicture),
    ]
}
