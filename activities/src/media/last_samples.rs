//! The last samples of MP4 files with edit lists, which `qtdemux` 1.22 drops.
//!
//! It compares the media time of a sample with the length of the movie, so a track whose edit
//! begins at media time *t* ends *t* early: an AAC track loses its last packet (21 ms), a clip
//! that was trimmed by 1.38 s without re-encoding lost its last 1.38 s of sound. Every edit ends
//! by itself, so the movie may as well claim to be longer: its duration is raised while the bytes
//! pass, and the file stays as it is.

use std::fs::File;
use std::path::Path;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::isobmff::{self, DurationField};
use crate::tool::ToolError;

/// Makes a `filesrc` that feeds `qtdemux` show a movie that covers all its edits.
///
/// # Errors
/// The classes of [`ToolError::io`].
pub(crate) fn keep(filesrc: &gst::Element, source: &Path) -> Result<(), ToolError> {
    let failed = |error| ToolError::io("read the source", error);
    let mut file = File::open(source).map_err(failed)?;
    let file_bytes = file.metadata().map_err(failed)?.len();
    let Some(field) = isobmff::duration_field(&mut file, file_bytes)? else {
        return Ok(());
    };
    let (Some(patch), Some(pad)) = (Patch::of(&field), filesrc.static_pad("src")) else {
        return Ok(());
    };
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::PULL | gst::PadProbeType::PUSH;
    pad.add_probe(types, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            patch.apply(buffer);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Bytes that replace those at an offset of the file.
#[derive(Debug, PartialEq)]
struct Patch {
    at: u64,
    bytes: Vec<u8>,
}

impl Patch {
    /// `None` where nothing has to change.
    fn of(field: &DurationField) -> Option<Self> {
        let largest = match field.bytes {
            4 => u64::from(u32::MAX),
            _ => u64::MAX,
        };
        // 0 and all ones stand for an unknown duration.
        let known = field.ticks > 0 && field.ticks < largest;
        let ticks = field.ticks.saturating_add(field.latest_edit_ticks);
        (known && field.latest_edit_ticks > 0 && ticks < largest).then(|| Self {
            at: field.at,
            bytes: ticks.to_be_bytes()[8 - field.bytes..].to_vec(),
        })
    }

    /// Writes what lies inside a buffer of the file.
    fn apply(&self, buffer: &mut gst::Buffer) {
        let start = buffer.offset();
        let end = start.saturating_add(buffer.size() as u64);
        let patch_end = self.at + self.bytes.len() as u64;
        if patch_end <= start || self.at >= end {
            return;
        }
        let (from, to) = (self.at.max(start), patch_end.min(end));
        if let Ok(mut map) = buffer.make_mut().map_writable() {
            let into = (from - start) as usize..(to - start) as usize;
            let of = (from - self.at) as usize..(to - self.at) as usize;
            map[into].copy_from_slice(&self.bytes[of]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_written_wherever_its_bytes_fall() {
        gst::init().unwrap();
        let patch = Patch {
            at: 10,
            bytes: vec![1, 2, 3, 4],
        };
        let patched = |offset: u64, size: usize| {
            let mut buffer = gst::Buffer::from_mut_slice(vec![0u8; size]);
            buffer.get_mut().unwrap().set_offset(offset);
            patch.apply(&mut buffer);
            buffer.map_readable().unwrap().to_vec()
        };
        assert_eq!(patched(8, 8), [0, 0, 1, 2, 3, 4, 0, 0]);
        assert_eq!(patched(0, 11), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(patched(12, 3), [3, 4, 0]);
        assert_eq!(patched(14, 2), [0, 0]);
        assert_eq!(patched(0, 10), [0; 10]);
    }

    #[test]
    fn an_unknown_duration_stays_unknown() {
        let field = |ticks, latest_edit_ticks| DurationField {
            at: 0,
            bytes: 4,
            ticks,
            latest_edit_ticks,
        };
        assert_eq!(Patch::of(&field(0, 5)), None);
        assert_eq!(Patch::of(&field(u64::from(u32::MAX), 5)), None);
        assert_eq!(Patch::of(&field(100, 0)), None);
        assert_eq!(Patch::of(&field(100, 5)).unwrap().bytes, [0, 0, 0, 105]);
    }
}
