//! Whether a JPEG is all there. Its decoder fills what is missing with grey and says nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read as _};
use std::path::Path;

/// Markers that matter here; those from `RST0` to `RST7` stand inside the data of a scan.
const END_OF_IMAGE: u8 = 0xd9;
const START_OF_SCAN: u8 = 0xda;
const RESTARTS: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;

/// Whether the picture's end marker is in the file. What comes behind it (other pictures, films,
/// maps) is not looked at.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn is_complete(path: &Path) -> io::Result<bool> {
    let mut file = BufReader::with_capacity(64 << 10, File::open(path)?);
    match find_end(&mut file) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        result => result.map(|()| true),
    }
}

/// Reads up to the end marker.
fn find_end(file: &mut impl BufRead) -> io::Result<()> {
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
    use super::find_end;

    /// A comment that holds an end marker, a scan with an escaped byte and a restart, the end.
    const WHOLE: &[u8] =
        b"\xff\xd8\xff\xfe\x00\x04\xff\xd9\xff\xda\x00\x03\x01\x11\xff\x00\xff\xd0\x22\xff\xff\xd9";

    #[test]
    fn an_end_is_found_only_behind_the_scan() {
        assert!(find_end(&mut &WHOLE[..]).is_ok());
        assert!(find_end(&mut &[WHOLE, b"more"].concat()[..]).is_ok());
        for length in 0..WHOLE.len() {
            assert!(find_end(&mut &WHOLE[..length]).is_err(), "{length}");
        }
    }
}
