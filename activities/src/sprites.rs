//! `video.sprites`: small pictures of a whole video, and the WebVTT that says which is where.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{Activity, ActivityError, Context};
use telecine_engine::objects::Artifact;

use crate::child::ToolHost;
use crate::keys::{self, attempt_file};
use crate::lint::{Directory, Profile, Report, Terms, lint};
use crate::media::report::{Size, VideoTrack};
use crate::media::sprites::{COLUMNS, ROWS, Sprites, SpritesMade, SpritesSpec};
use crate::picture::{self, nanoseconds};
use crate::{source, validate};

/// See the module.
#[derive(Debug)]
pub struct VideoSprites {
    /// Where the tool runs.
    pub host: ToolHost,
}

/// Input of [`VideoSprites`].
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Key of the video in the source store.
    #[schemars(extend("x-telecine-source" = true))]
    source: String,
    /// `video` of the probe's report; `null` is refused with `no_video`.
    video: Option<VideoTrack>,
    /// `chunkable` of the probe's report.
    exact_seeks: bool,
    /// Seconds from one tile to the next; by the length of the video unless given.
    interval_s: Option<f64>,
    /// The shorter edge of a tile, in pixels.
    short_edge: u32,
    /// Key prefix of the generation: `videos/ab/ab12.../g1`.
    #[schemars(extend("x-telecine-place" = true))]
    prefix: String,
}

/// Sheets of tiles of one video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpriteSheets {
    /// The WebVTT: for each interval the place of its tile, `sheet_001_{attempt}.jpg#xywh=x,y,w,h`.
    pub index: Artifact,
    /// The sheets, in order. Tiles fill each row by row, ten rows of ten.
    sheets: Vec<Artifact>,
    /// Size of a tile.
    tile: Size,
    /// Number of tiles.
    tiles: u32,
    /// Time from one tile to the next, from 0 on.
    interval_ns: u64,
}

impl Activity for VideoSprites {
    const NAME: &'static str = "video.sprites";
    const VERSION: u32 = 1;
    const DESCRIPTION: &'static str = "Makes sheets of small pictures of a whole video.";
    type Input = Input;
    type Output = SpriteSheets;

    fn tool_fingerprint(&self) -> String {
        crate::gstreamer_version()
    }

    async fn run(&self, ctx: &Context, input: Input) -> Result<SpriteSheets, ActivityError> {
        let seen = (input.video, input.exact_seeks);
        let (footage, limits) = picture::footage(ctx, &input.source, seen).await?;
        let end_ns = footage.video.end_ns;
        let scratch = source::scratch_dir(ctx, "sheets")?;
        let spec = SpritesSpec {
            footage,
            interval_ns: input.interval_s.map(nanoseconds),
            short_edge: input.short_edge,
            directory: scratch.clone(),
        };
        let made = self.host.run::<Sprites>(ctx, spec, limits).await?;
        let sheets = rename(ctx, &made.sheets)?;
        let index = attempt_file("sprites", ctx.attempt_tag(), "vtt");
        std::fs::write(scratch.join(&index), vtt(&made, &sheets, end_ns))
            .map_err(|error| ActivityError::io("write the index of the sheets", error))?;
        validate::judge(ctx, &look(&scratch, &index)?)?;
        let directory = keys::sprites(&input.prefix);
        let store = async |name: &str, media_type| {
            let key = format!("{directory}/{name}");
            ctx.put_file(&key, &scratch.join(name), media_type).await
        };
        let mut stored = Vec::new();
        for sheet in &sheets {
            stored.push(store(sheet, "image/jpeg").await?);
        }
        Ok(SpriteSheets {
            index: store(&index, "text/vtt").await?,
            sheets: stored,
            tile: made.tile,
            tiles: made.tiles,
            interval_ns: made.interval_ns,
        })
    }
}

/// Gives the sheets the names that they have in the store, which belong to the attempt.
fn rename(ctx: &Context, sheets: &[PathBuf]) -> Result<Vec<String>, ActivityError> {
    let renamed = (1..).zip(sheets).map(|(number, sheet)| {
        let name = attempt_file(&format!("sheet_{number:03}"), ctx.attempt_tag(), "jpg");
        std::fs::rename(sheet, sheet.with_file_name(&name))
            .map_err(|error| ActivityError::io("rename a sheet", error))?;
        Ok(name)
    });
    renamed.collect()
}

/// Judges the index and its sheets as `telecine lint` does.
fn look(directory: &Path, index: &str) -> Result<Report, ActivityError> {
    let linted = Directory::open(directory).and_then(|set| {
        let terms = Terms {
            profile: Profile::House,
            recorded: None,
        };
        lint(&set, &[index.to_owned()], terms, &mut |_| ())
    });
    let linted = linted.map_err(|error| ActivityError::io("read the sheets", error))?;
    Ok(linted.report)
}

/// The WebVTT that leads to the tiles on sheets of these names.
fn vtt(made: &SpritesMade, sheets: &[String], end_ns: u64) -> String {
    let mut text = "WEBVTT\n".to_owned();
    for tile in 0..made.tiles {
        let from_ns = u64::from(tile) * made.interval_ns;
        let to_ns = (from_ns + made.interval_ns).min(end_ns);
        // A cue that lasts less than WebVTT can say would end as it begins.
        if to_ns / 1_000_000 <= from_ns / 1_000_000 {
            continue;
        }
        let (sheet, on_sheet) = (tile / PER_SHEET, tile % PER_SHEET);
        let Size { width, height } = made.tile;
        let (x, y) = (on_sheet % COLUMNS * width, on_sheet / COLUMNS * height);
        let name = sheets.get(sheet as usize).map_or("", String::as_str);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n{} --> {}\n{name}#xywh={x},{y},{width},{height}\n",
            clock(from_ns),
            clock(to_ns),
        );
    }
    text
}

/// Tiles on a full sheet.
const PER_SHEET: u32 = COLUMNS * ROWS;

/// `01:02:03.456`.
fn clock(time_ns: u64) -> String {
    let time = Duration::from_nanos(time_ns);
    let seconds = time.as_secs();
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        time.subsec_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vtt_leads_to_every_tile() {
        let (width, height) = (160, 90);
        let made = SpritesMade {
            tile: Size { width, height },
            tiles: 102,
            interval_ns: 36_000_000_000,
            sheets: Vec::new(),
        };
        let text = vtt(
            &made,
            &["s1.jpg".to_owned(), "s2.jpg".to_owned()],
            3_636_500_000_000,
        );
        let cues: Vec<&str> = text.split("\n\n").collect();
        assert_eq!(cues.len(), 103);
        assert_eq!(cues[0], "WEBVTT");
        assert_eq!(
            cues[100],
            "00:59:24.000 --> 01:00:00.000\ns1.jpg#xywh=1440,810,160,90"
        );
        assert_eq!(
            cues[102],
            "01:00:36.000 --> 01:00:36.500\ns2.jpg#xywh=160,0,160,90\n"
        );
    }

    #[test]
    fn no_cue_is_shorter_than_webvtt_can_say() {
        let (width, height) = (16, 9);
        let made = SpritesMade {
            tile: Size { width, height },
            tiles: 2,
            interval_ns: 1_000_000_000,
            sheets: Vec::new(),
        };
        let text = vtt(&made, &["s.jpg".to_owned()], 1_000_900_000);
        assert_eq!(text.matches(" --> ").count(), 1, "{text}");
    }
}
