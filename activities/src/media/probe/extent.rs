//! Whether a file is as long as its own headers say, for containers without boxes.
//!
//! Demuxers take the end of the file for the end of the media, without a word. A file counts as cut
//! where it breaks a promise: of a length, or of the page or packet that it ends within. Bare frames
//! promise nothing: recordings of streams and parts of a file that was split end within one, and lose
//! no more than that. It is told, as is a mark that some writers forget.

mod flac;
mod mpeg_audio;
mod ogg;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::scrambling::is_scrambled;
use crate::media::demux;
use crate::media::sniff::Container;
use crate::tool::ToolError;

/// The largest EBML or ASF header that is read.
const HEADER_BYTES: u64 = 64 * 1024;

/// What a file says of its length; the default is one that is as long as it should be, or whose
/// container cannot tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// It ends before its headers say, or within a packet.
    pub(super) cut: bool,
    /// It does not mark where it ends, as its container would have it, or ends within a bare frame.
    pub(super) unmarked: bool,
    /// How long it lasts according to a header that demuxers do not report.
    pub(super) lasts_ns: Option<u64>,
    /// Up to where there is media for certain, even if demuxers lose it; 0 if that was not looked at.
    pub(super) seen_ns: u64,
}

/// Compares the headers of a file with its length.
///
/// # Errors
/// `malformed_source` if a header cannot be read, `encrypted_source`; the classes of [`ToolError::io`].
pub(super) fn inspect(
    file: &mut File,
    file_bytes: u64,
    container: Container,
) -> Result<Extent, ToolError> {
    let head = read(file, 0, HEADER_BYTES)?;
    let cut = match container {
        Container::Matroska | Container::Webm => matroska(&head, file_bytes)?,
        Container::Avi | Container::Wav => riff(&head, file_bytes),
        Container::Asf => asf(&head).is_some_and(|bytes| bytes > file_bytes),
        Container::Flv => flv(file, file_bytes)?,
        Container::MpegTs { packet } if is_scrambled(&head, packet) => {
            return Err(demux::encrypted());
        }
        Container::MpegTs { packet } => transport(&head, packet, file_bytes),
        Container::Ogg => return ogg::inspect(file, file_bytes),
        Container::Mp3 => return mpeg_audio::inspect(file, file_bytes),
        Container::Adts => return mpeg_audio::inspect_adts(file, file_bytes),
        Container::Flac => return flac::inspect(&head, file, file_bytes),
        _ => false,
    };
    Ok(Extent {
        cut,
        ..Extent::default()
    })
}

/// The last bytes of a file.
fn read_tail(file: &mut File, file_bytes: u64, bytes: u64) -> Result<Vec<u8>, ToolError> {
    read(file, file_bytes.saturating_sub(bytes), bytes)
}

fn read(file: &mut File, at: u64, bytes: u64) -> Result<Vec<u8>, ToolError> {
    let mut buffer = Vec::new();
    file.seek(SeekFrom::Start(at))
        .and_then(|_| file.take(bytes).read_to_end(&mut buffer))
        .map_err(|error| ToolError::io("read the source", error))?;
    Ok(buffer)
}

/// The EBML header is followed by one segment, whose size may be unknown (live recordings).
fn matroska(head: &[u8], file_bytes: u64) -> Result<bool, ToolError> {
    let malformed = || {
        ToolError::input(
            "malformed_source",
            "the source is not a valid Matroska or WebM file: its header is damaged",
        )
    };
    let (_, header_size, header_body) = element(head, 0).ok_or_else(malformed)?;
    let header_size = header_size.ok_or_else(malformed)?;
    let end = usize::try_from(header_size)
        .ok()
        .and_then(|size| header_body.checked_add(size))
        .filter(|end| *end <= head.len())
        .ok_or_else(malformed)?;
    check_elements(&head[header_body..end]).ok_or_else(malformed)?;
    let mut at = end;
    loop {
        let (id, size, body) = element(head, at).ok_or_else(malformed)?;
        match (id, size) {
            (0x1853_8067, None) => return Ok(false),
            (0x1853_8067, Some(size)) => return Ok((body as u64).saturating_add(size) > file_bytes),
            // Void and CRC-32 may stand before the segment.
            (0xec | 0xbf, Some(size)) => {
                at = usize::try_from(size)
                    .ok()
                    .and_then(|size| body.checked_add(size))
                    .ok_or_else(malformed)?;
            }
            _ => return Err(malformed()),
        }
    }
}

/// Walks the elements of the EBML header.
fn check_elements(body: &[u8]) -> Option<()> {
    let mut at = 0;
    while at < body.len() {
        let (_, size, content) = element(body, at)?;
        at = content.checked_add(usize::try_from(size?).ok()?)?;
    }
    (at == body.len()).then_some(())
}

/// `(id, size if known, offset of the body)` of the element at an offset (RFC 8794 section 4).
fn element(bytes: &[u8], at: usize) -> Option<(u64, Option<u64>, usize)> {
    let (id, id_bytes) = variable_int(bytes.get(at..)?, 4)?;
    let size_at = at + id_bytes;
    let (size, size_bytes) = variable_int(bytes.get(size_at..)?, 8)?;
    let marker = 1u64 << (7 * size_bytes);
    let value = size & (marker - 1);
    let known = (value != marker - 1).then_some(value);
    Some((id, known, size_at + size_bytes))
}

/// A number with its length marker, and its length.
fn variable_int(bytes: &[u8], longest: usize) -> Option<(u64, usize)> {
    let length = bytes.first()?.leading_zeros() as usize + 1;
    if length > longest {
        return None;
    }
    let value = bytes
        .get(..length)?
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((value, length))
}

/// A recorder that could not go back leaves 0 or all ones as the size.
fn riff(head: &[u8], file_bytes: u64) -> bool {
    let size = head.get(4..8).map_or(0, |size| {
        u32::from_le_bytes([size[0], size[1], size[2], size[3]])
    });
    size != u32::MAX && u64::from(size) + 8 > file_bytes + 1
}

/// A transport stream that begins with a whole packet ends with one. Its sync byte is the first,
/// or the fifth where a time code stands before it.
fn transport(head: &[u8], packet: usize, file_bytes: u64) -> bool {
    let sync = if packet == 192 { 4 } else { 0 };
    head.get(sync) == Some(&0x47) && !file_bytes.is_multiple_of(packet as u64)
}

/// The file size that the file properties object of an ASF header states.
fn asf(head: &[u8]) -> Option<u64> {
    const FILE_PROPERTIES: [u8; 16] = [
        0xa1, 0xdc, 0xab, 0x8c, 0x47, 0xa9, 0xcf, 0x11, 0x8e, 0xe4, 0, 0xc0, 0x0c, 0x20, 0x53, 0x65,
    ];
    let at = head.windows(16).position(|guid| guid == FILE_PROPERTIES)?;
    let size = head.get(at + 40..at + 48)?;
    Some(u64::from_le_bytes(size.try_into().ok()?))
}

/// Every tag is followed by its size, so a whole file ends with the size of its last tag.
fn flv(file: &mut File, file_bytes: u64) -> Result<bool, ToolError> {
    const TAG_HEADER: u64 = 11;
    const TRAILER: u64 = 4;
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |word, byte| word << 8 | u64::from(*byte))
    };
    let trailer = word(&read(file, file_bytes.saturating_sub(TRAILER), TRAILER)?);
    if trailer == 0 {
        return Ok(false); // A writer that leaves the sizes out.
    }
    let Some(tag_at) = file_bytes.checked_sub(TRAILER + trailer) else {
        return Ok(true);
    };
    let tag = read(file, tag_at, TAG_HEADER)?;
    let body = tag.get(1..4).map(word);
    // Some writers leave the header out of the size.
    Ok(body.is_none_or(|body| body + TAG_HEADER != trailer && body != trailer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_of_unknown_size_is_never_cut() {
        let header = [0x1a, 0x45, 0xdf, 0xa3, 0x80];
        let live = [&header[..], &[0x18, 0x53, 0x80, 0x67, 0xff]].concat();
        assert!(!matroska(&live, 10).unwrap());
        let sized = [&header[..], &[0x18, 0x53, 0x80, 0x67, 0x8a]].concat();
        assert!(!matroska(&sized, 20).unwrap());
        assert!(matroska(&sized, 19).unwrap());
    }

    #[test]
    fn a_damaged_ebml_header_is_malformed() {
        for head in [
            &[0x1a, 0x45, 0xdf, 0xa3][..],
            &[0x1a, 0x45, 0xdf, 0xa3, 0x82, 0, 0],
            &[0x1a, 0x45, 0xdf, 0xa3, 0x80, 0x42, 0x86, 0x81, 1],
        ] {
            assert_eq!(matroska(head, 100).unwrap_err().code, "malformed_source");
        }
    }

    #[test]
    fn a_riff_of_unknown_size_is_never_cut() {
        let riff_of = |size: u32| [b"RIFF", &size.to_le_bytes()[..], b"AVI "].concat();
        assert!(!riff(&riff_of(0), 1000));
        assert!(!riff(&riff_of(u32::MAX), 1000));
        assert!(!riff(&riff_of(992), 1000));
        assert!(riff(&riff_of(5000), 1000));
    }
}
