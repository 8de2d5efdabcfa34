//! `video.sprites`: small pictures of a whole video, and the WebVTT that says which is where.

use std::fmt::Write as _;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use telecine_engine::activity::{Activity, ActivityError, Context};
use telecine_engine::objects::Artifact;

use crate::child::ToolHost;
use crate::media::report::{Size, VideoTrack};
use crate::media::sprites::{COLUMNS, ROWS, Sprites, SpritesSpec};
use crate::picture::{self, nanoseconds};
use crate::{keys, source};

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
    /// The sheets, in order. Tiles fill each row by row.
    sheets: Vec<Artifact>,
    /// Size of a tile.
    tile: Size,
    /// Tiles across a sheet.
    columns: u32,
    /// Tiles on a full sheet.
    per_sheet: u32,
    /// Number of tiles.
    tiles: u32,
    /// Time from one tile to the next, from 0 on.
    interval_ns: u64,
    /// End of the video, and of the last tile's time.
    end_ns: u64,
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
        let spec = SpritesSpec {
            footage,
            interval_ns: input.interval_s.map(nanoseconds),
            short_edge: input.short_edge,
            directory: source::scratch_dir(ctx, "sheets")?,
        };
        let made = self.host.run::<Sprites>(ctx, spec, limits).await?;
        let directory = keys::sprites(&input.prefix);
        let mut sheets = Vec::new();
        for (number, sheet) in (1..).zip(&made.sheets) {
            let stem = format!("sheet_{number:03}");
            sheets.push(picture::store(ctx, &directory, &stem, sheet).await?);
        }
        Ok(SpriteSheets {
            sheets,
            tile: made.tile,
            columns: COLUMNS,
            per_sheet: COLUMNS * ROWS,
            tiles: made.tiles,
            interval_ns: made.interval_ns,
            end_ns,
        })
    }
}

impl SpriteSheets {
    /// The WebVTT: for each interval the place of its tile, `sheet_001.jpg#xywh=x,y,w,h`.
    #[must_use]
    pub fn vtt(&self) -> String {
        let mut text = "WEBVTT\n".to_owned();
        for tile in 0..self.tiles {
            let from_ns = u64::from(tile) * self.interval_ns;
            let to_ns = (from_ns + self.interval_ns).min(self.end_ns);
            // A cue that lasts less than WebVTT can say would end as it begins.
            if to_ns / 1_000_000 <= from_ns / 1_000_000 {
                continue;
            }
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "\n{} --> {}\n{}\n",
                clock(from_ns),
                clock(to_ns),
                self.place(tile)
            );
        }
        text
    }

    fn place(&self, tile: u32) -> String {
        let Size { width, height } = self.tile;
        let on_sheet = tile % self.per_sheet;
        let (x, y) = (
            on_sheet % self.columns * width,
            on_sheet / self.columns * height,
        );
        let sheet = self.sheets.get((tile / self.per_sheet) as usize);
        let key = sheet.map_or("", |sheet| sheet.key.as_str());
        let name = key.rsplit('/').next().unwrap_or_default();
        format!("{name}#xywh={x},{y},{width},{height}")
    }
}

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
        let sheet = |key: &str| Artifact {
            key: key.to_owned(),
            size: 1,
            sha256: String::new(),
            media_type: "image/jpeg".to_owned(),
        };
        let sheets = SpriteSheets {
            sheets: vec![sheet("a/sprites/s1.jpg"), sheet("a/sprites/s2.jpg")],
            tile: Size {
                width: 160,
                height: 90,
            },
            columns: 2,
            per_sheet: 4,
            tiles: 5,
            interval_ns: 900_000_000_000,
            end_ns: 3_600_500_000_000,
        };
        let text = sheets.vtt();
        let cues: Vec<&str> = text.split("\n\n").collect();
        assert_eq!(cues.len(), 6);
        assert_eq!(cues[0], "WEBVTT");
        assert_eq!(
            cues[4],
            "00:45:00.000 --> 01:00:00.000\ns1.jpg#xywh=160,90,160,90"
        );
        assert_eq!(
            cues[5],
            "01:00:00.000 --> 01:00:00.500\ns2.jpg#xywh=0,0,160,90\n"
        );
    }
}
