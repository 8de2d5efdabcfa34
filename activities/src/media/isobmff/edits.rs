//! Edit lists, as far as the movie's duration has to cover them.

use super::{DurationField, be_u32, be_u64, child, children, versioned};

/// The duration field of the `moov` whose body begins at an offset of the file.
pub(super) fn duration_field(moov: &[u8], moov_at: u64) -> Option<DurationField> {
    let mvhd = child(moov, b"mvhd")?;
    let timescale = be_u32(mvhd, versioned(mvhd, 12, 20)?)?;
    let (offset, bytes) = (versioned(mvhd, 16, 24)?, versioned(mvhd, 4, 8)?);
    let ticks = match bytes {
        4 => u64::from(be_u32(mvhd, offset)?),
        _ => be_u64(mvhd, offset)?,
    };
    let latest = children(moov)
        .filter(|(kind, _)| kind == b"trak")
        .filter_map(|(_, trak)| latest_edit(trak, timescale))
        .max();
    let inside = mvhd.as_ptr().addr() - moov.as_ptr().addr() + offset;
    Some(DurationField {
        at: moov_at + inside as u64,
        bytes,
        ticks,
        latest_edit_ticks: latest.unwrap_or(0),
    })
}

/// The latest media time at which an edit of a track begins, rounded up to ticks of the movie.
fn latest_edit(trak: &[u8], movie_timescale: u32) -> Option<u64> {
    let elst = child(child(trak, b"edts")?, b"elst")?;
    let mdhd = child(child(trak, b"mdia")?, b"mdhd")?;
    let timescale = u128::from(be_u32(mdhd, versioned(mdhd, 12, 20)?)?.max(1));
    let entry_bytes = versioned(elst, 12, 20)?;
    let starts = elst.get(8..)?.chunks_exact(entry_bytes);
    let latest = starts.filter_map(media_time).max()?;
    let ticks = (u128::from(latest) * u128::from(movie_timescale)).div_ceil(timescale);
    u64::try_from(ticks).ok()
}

/// Where in the media an edit begins; `None` for an empty one (-1).
fn media_time(entry: &[u8]) -> Option<u64> {
    let time = match entry.len() {
        12 => i64::from(be_u32(entry, 4)?.cast_signed()),
        _ => be_u64(entry, 8)?.cast_signed(),
    };
    u64::try_from(time).ok()
}
