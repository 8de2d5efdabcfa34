//! Whether a JPEG or a PNG is all there. Their decoders fill what is missing with grey and black and
//! say nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read as _};
use std::path::Path;

/// Markers that matter here; those from `RST0` to `RST7` stand inside the data of a scan.
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const RESTARTS: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;

/// The signature of a PNG, in bytes.
const SIGNATURE: u64 = 8;

/// Whether a JPEG has its end marker. What comes behind it (other pictures, films, maps) is not
/// looked at.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn jpeg(path: &Path) -> io::Result<bool> {
    ends(path, end_of_jpeg)
}

/// Whether a PNG has its last chunk.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn png(path: &Path) -> io::Result<bool> {
    ends(path, end_of_png)
}

fn ends(path: &Path, find: fn(&mut BufReader<File>) -> io::Result<()>) -> io::Result<bool> {
    let mut file = BufReader::with_capacity(64 << 10, File::open(path)?);
    match find(&mut file) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        result => result.map(|()| true),
    }
}

/// Reads up to the last chunk: length, name, body, checksum.
fn end_of_png(file: &mut impl BufRead) -> io::Result<()> {
    skip(file, SIGNATURE)?;
    let mut head = [0; 8];
    while head[4..] != *b"IEND" {
        file.read_exact(&mut head)?;
        let [length @ .., _, _, _, _] = head;
        skip(file, u64::from(u32::from_be_bytes(length)) + 4)?;
    }
    Ok(())
}

/// Reads up to the end marker.
fn end_of_jpeg(file: &mut impl BufRead) -> io::Result<()> {
    // The marker at the start of the file has no length.
    skip(file, 2)?;
    let mut marker = next_marker(file)?;
    while marker != END_OF_IMAGE {
        let mut length = [0; 2];
        file.read_exact(&mut length)?;
        skip(
            file,
            u64::from(u16::from_be_bytes(length)).saturating_sub(2),
        )?;
        let in_scan = marker == START_OF_SCAN;
        marker = next_marker(file)?;
        while in_scan && (marker == 0 || RESTARTS.contains(&marker)) {
            marker = next_marker(file)?;
        }
    }
    Ok(())
}

/// The byte behind the next run of `ff`; 0 is an escaped `ff` in the data of a scan.
fn next_marker(file: &mut impl BufRead) -> io::Result<u8> {
    let found = file.skip_until(0xff)?;
    let mut byte = [0xff];
    while found > 0 && byte == [0xff] {
        file.read_exact(&mut byte)?;
    }
    if found == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(byte[0])
}

fn skip(file: &mut impl BufRead, bytes: u64) -> io::Result<()> {
    let skipped = io::copy(&mut file.take(bytes), &mut io::sink())?;
    if skipped < bytes {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{end_of_jpeg, end_of_png};

    /// A comment that holds an end marker, a scan with an escaped byte and a restart, the end.
    const WHOLE: &[u8] =
        b"\xff\xd8\xff\xfe\x00\x04\xff\xd9\xff\xda\x00\x03\x01\x11\xff\x00\xff\xd0\x22\xff\xff\xd9";

    #[test]
    fn a_png_ends_with_its_last_chunk() {
        let whole = b"\x89PNG\r\n\x1a\n\0\0\0\x01IDATxcrc.\0\0\0\0IENDcrc.";
        assert!(end_of_png(&mut &whole[..]).is_ok());
        for length in 0..whole.len() {
            assert!(end_of_png(&mut &whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn an_end_is_found_only_behind_the_scan() {
        assert!(end_of_jpeg(&mut &WHOLE[..]).is_ok());
        assert!(end_of_jpeg(&mut &[WHOLE, b"more"].concat()[..]).is_ok());
        for length in 0..WHOLE.len() {
            assert!(end_of_jpeg(&mut &WHOLE[..length]).is_err(), "{length}");
        }
    }
}
