//! The last pages of an Ogg file (RFC 3533 section 6).

use std::collections::BTreeMap;
use std::fs::File;

use super::Extent;
use crate::tool::ToolError;

/// What a page begins with, and its version.
const CAPTURE: &[u8] = b"OggS\0";

/// How much of the end is looked at: sixteen pages of the largest size, so that the last page of sound
/// that ends a little before the picture is among them.
const TAIL_BYTES: u64 = 16 * 65_307;

/// The last page must be whole, and the last one of every stream be marked as such.
///
/// Without the mark the file may be cut between two pages. That alone is no proof: Android's recorder
/// never sets it, nor do some messengers, editors and live streams, and their files are whole. So it is
/// told, and not refused.
pub(super) fn inspect(file: &mut File, file_bytes: u64) -> Result<Extent, ToolError> {
    let tail = super::read_tail(file, file_bytes, TAIL_BYTES)?;
    let pages = (0..tail.len()).filter(|at| tail[*at..].starts_with(CAPTURE));
    let mut marked = BTreeMap::new();
    let mut last = None;
    for at in pages {
        marked.extend(mark(&tail[at..]));
        last = Some(at);
    }
    Ok(Extent {
        cut: last.is_some_and(|at| ends_within_page(&tail[at..])),
        unmarked: marked.values().any(|marked| !marked),
        ..Extent::default()
    })
}

/// The stream of a page, and whether the page is marked as its last one.
fn mark(page: &[u8]) -> Option<(u32, bool)> {
    const END_OF_STREAM: u8 = 4;
    let stream = page.get(14..18)?.try_into().ok()?;
    Some((u32::from_le_bytes(stream), page[5] & END_OF_STREAM != 0))
}

/// Whether a page, or the capture pattern of another one behind it, is not whole.
fn ends_within_page(page: &[u8]) -> bool {
    let segments = page.get(26).map_or(0, |count| usize::from(*count));
    let Some(table) = page.get(27..27 + segments) else {
        return true;
    };
    let body: usize = table.iter().map(|bytes| usize::from(*bytes)).sum();
    let behind = page.get(27 + segments + body..);
    behind.is_none_or(|behind| !behind.is_empty() && CAPTURE.starts_with(behind))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A page of some stream with a body of 300 bytes.
    fn page(stream: u8, flags: u8) -> Vec<u8> {
        let mut page = [CAPTURE, &[flags], &[0; 8], &[stream, 0, 0, 0], &[0; 8]].concat();
        page.extend([2, 255, 45]);
        page.extend([7; 300]);
        page
    }

    fn extent(bytes: &[u8]) -> (bool, bool) {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, bytes).unwrap();
        let extent = inspect(&mut file, bytes.len() as u64).unwrap();
        (extent.cut, extent.unmarked)
    }

    #[test]
    fn a_file_that_ends_within_a_page_is_cut_wherever_that_is() {
        let whole = [page(1, 2), page(1, 4)].concat();
        assert_eq!(extent(&whole), (false, false));
        let second = whole.len() / 2;
        for end in second + 1..whole.len() {
            assert!(extent(&whole[..end]).0, "{} bytes of a page", end - second);
        }
    }

    #[test]
    fn a_file_that_ends_between_pages_lacks_the_mark() {
        assert_eq!(extent(&page(1, 2)), (false, true));
        // The sound ended, the picture goes on.
        let pages = [page(1, 2), page(2, 2), page(1, 4), page(2, 0)].concat();
        assert_eq!(extent(&pages), (false, true));
        let cut_behind_the_sound = &pages[..pages.len() / 4 * 3];
        assert_eq!(extent(cut_behind_the_sound), (false, true));
    }

    #[test]
    fn streams_behind_each_other_are_marked_one_by_one() {
        let chained = [page(1, 2), page(1, 4), page(2, 2), page(2, 4)].concat();
        assert_eq!(extent(&chained), (false, false));
        assert_eq!(extent(&chained[..chained.len() / 4 * 3]), (false, true));
    }
}
