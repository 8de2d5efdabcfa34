//! Small pictures of a whole video on few sheets, for the bar on which a player seeks.

mod schedule;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use telecine_engine::activity::Progress;

use super::footage::{self, Footage, bad_option};
use super::frames::FrameReader;
use super::paint::{Painter, Rgb};
use super::report::Size;
use super::vips::Image;
use crate::tool::{Emitter, Tool, ToolError};
use schedule::Schedule;

/// Tiles across a sheet.
pub const COLUMNS: u32 = 10;

/// Tiles down a full sheet. A sheet of 100 tiles of 160x90 has about 500 KB: one request that is
/// not felt.
pub const ROWS: u32 = 10;

/// Tiles of one video. A bar on which a player seeks is about a thousand pixels wide; more than two
/// hundred steps are not told apart.
pub const MAX_TILES: u32 = 200;

/// Short and long edges of a tile, in pixels.
const EDGES: std::ops::RangeInclusive<u32> = 16..=360;
const LONGEST: u32 = 4;

/// JPEG quality. Tiles are looked at for a moment each.
const QUALITY: u8 = 72;

/// A video with few keyframes is decoded as a whole up to this length; in a longer one, tiles show
/// the keyframe before their time.
const DECODED_THROUGH_NS: u64 = 300_000_000_000;

/// Makes sheets of tiles.
#[derive(Debug)]
pub struct Sprites;

/// What tiles are made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SpritesSpec {
    /// The video.
    pub footage: Footage,
    /// Time from one tile to the next; by the length of the video unless given.
    pub interval_ns: Option<u64>,
    /// The shorter edge of a tile, in pixels.
    pub short_edge: u32,
    /// Where sheets are written: `sheet_001.jpg` ...
    pub directory: PathBuf,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpritesMade {
    /// Size of a tile.
    pub tile: Size,
    /// Number of tiles. They fill the sheets row by row, [`COLUMNS`] in each.
    pub tiles: u32,
    /// Time from one tile to the next, from 0 on.
    pub interval_ns: u64,
    /// The sheets, in order.
    pub sheets: Vec<PathBuf>,
}

impl Tool for Sprites {
    const NAME: &'static str = "sprites";
    type Spec = SpritesSpec;
    type Event = ();
    type Output = SpritesMade;

    /// # Errors
    /// Class `input`: `bad_option`, `no_frames`, and those of sniffing and decoding.
    fn run(spec: SpritesSpec, emit: &Emitter<()>) -> Result<SpritesMade, ToolError> {
        if !EDGES.contains(&spec.short_edge) {
            let (from, to) = (EDGES.start(), EDGES.end());
            return Err(bad_option(format!(
                "the shorter edge of a tile must be {from} to {to} pixels"
            )));
        }
        let footage = &spec.footage;
        let schedule = Schedule::of(footage.video.end_ns, spec.interval_ns)?;
        let mut camera = Camera {
            by_keyframe: by_keyframe(footage, &schedule),
            painter: footage.painter(within(footage.video.display, spec.short_edge)),
            reader: footage.open()?,
        };
        let mut sheets = Vec::new();
        let mut sheet = Sheet::new(camera.painter.size());
        for (tile, time_ns) in (1..).zip(schedule.times_ns()) {
            sheet.add(&camera.take(time_ns.max(footage.video.start_ns))?);
            emit.progress(Progress {
                counter: tile,
                percent: Some(tile as f64 / f64::from(schedule.tiles) * 100.0),
                ..Progress::default()
            });
            if sheet.is_full() || tile == u64::from(schedule.tiles) {
                sheets.push(sheet.write(&spec.directory, sheets.len() + 1)?);
            }
        }
        Ok(SpritesMade {
            tile: sheet.tile,
            tiles: schedule.tiles,
            interval_ns: schedule.interval_ns,
            sheets,
        })
    }
}

/// The box of a tile.
fn within(display: Size, short_edge: u32) -> Size {
    let long = short_edge * LONGEST;
    if display.width >= display.height {
        Size {
            width: long,
            height: short_edge,
        }
    } else {
        Size {
            width: short_edge,
            height: long,
        }
    }
}

/// Whether tiles show the keyframe before their time, so that no other frame is decoded. Not in a
/// short video with keyframes so far apart that several tiles would show the same one.
fn by_keyframe(footage: &Footage, schedule: &Schedule) -> bool {
    let apart_ns = footage.length_ns() / footage.video.keyframes.max(1);
    let dense = apart_ns <= schedule.interval_ns;
    footage.exact_seeks && (dense || footage.length_ns() > DECODED_THROUGH_NS)
}

#[derive(Debug)]
struct Camera {
    reader: FrameReader,
    painter: Painter,
    by_keyframe: bool,
}

impl Camera {
    fn take(&mut self, time_ns: u64) -> Result<Rgb, ToolError> {
        let frame = if self.by_keyframe {
            self.reader.keyframe_before(time_ns)?
        } else {
            self.reader.at(time_ns)?
        };
        self.painter.paint(&frame)
    }
}

/// A sheet that is being filled, as rows of tiles.
#[derive(Debug)]
struct Sheet {
    tile: Size,
    tiles: u32,
    /// Rows of pixels of the whole width; black where there is no tile yet.
    pixels: Vec<u8>,
}

impl Sheet {
    fn new(tile: Size) -> Self {
        Self {
            tile,
            tiles: 0,
            pixels: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.tiles == COLUMNS * ROWS
    }

    fn row_bytes(&self) -> usize {
        self.tile.width as usize * COLUMNS as usize * 3
    }

    fn add(&mut self, picture: &Rgb) {
        let (column, row) = (self.tiles % COLUMNS, self.tiles / COLUMNS);
        let (tile_bytes, row_bytes) = (self.tile.width as usize * 3, self.row_bytes());
        let height = self.tile.height as usize;
        if column == 0 {
            self.pixels
                .resize(row_bytes * height * (row as usize + 1), 0);
        }
        let top = row_bytes * height * row as usize;
        let left = tile_bytes * column as usize;
        let lines = self.pixels[top..].chunks_exact_mut(row_bytes);
        for (line, pixels) in lines.zip(picture.bytes.chunks_exact(tile_bytes)) {
            line[left..left + tile_bytes].copy_from_slice(pixels);
        }
        self.tiles += 1;
    }

    /// Writes the sheet, as wide as its tiles, and begins the next one.
    fn write(&mut self, directory: &Path, number: usize) -> Result<PathBuf, ToolError> {
        let rows = self.tiles.div_ceil(COLUMNS);
        let whole = Size {
            width: self.tile.width * COLUMNS,
            height: self.tile.height * rows,
        };
        let filled = Size {
            width: self.tile.width * self.tiles.min(COLUMNS),
            ..whole
        };
        let pixels = std::mem::take(&mut self.pixels);
        let sheet = Image::from_rgb(whole, &pixels)?.part((0, 0), filled)?;
        let encoded = sheet.encode("jpg", &format!("Q={QUALITY},optimize_coding=true"))?;
        let file = directory.join(format!("sheet_{number:03}.jpg"));
        footage::write(&file, &encoded)?;
        self.tiles = 0;
        Ok(file)
    }
}
