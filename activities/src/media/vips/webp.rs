//! WebP files without metadata. libvips 8.14 writes an EXIF block into every WebP, also when it is
//! told not to; it says nothing, takes 194 bytes, and ffmpeg complains about it.

/// Bytes of the head of a file and of a chunk.
const FILE_HEAD: usize = 12;
const CHUNK_HEAD: usize = 8;

/// Chunks that hold metadata, and the bits of the extended header that announce them.
const METADATA: [&[u8; 4]; 3] = [b"EXIF", b"XMP ", b"ICCP"];
const METADATA_FLAGS: u8 = 0x08 | 0x04 | 0x20;

/// The same file without EXIF, XMP and profile; unchanged if it is no WebP.
pub(super) fn without_metadata(file: Vec<u8>) -> Vec<u8> {
    let Some(mut kept) = file.get(..FILE_HEAD).map(<[u8]>::to_vec) else {
        return file;
    };
    let mut rest = &file[FILE_HEAD..];
    while let Some((chunk, behind)) = split_chunk(rest) {
        rest = behind;
        if METADATA.iter().any(|name| chunk.starts_with(*name)) {
            continue;
        }
        let at = kept.len() + CHUNK_HEAD;
        kept.extend_from_slice(chunk);
        if chunk.starts_with(b"VP8X")
            && let Some(flags) = kept.get_mut(at)
        {
            *flags &= !METADATA_FLAGS;
        }
    }
    let Ok(length) = u32::try_from(kept.len() - CHUNK_HEAD) else {
        return file;
    };
    kept[4..8].copy_from_slice(&length.to_le_bytes());
    kept
}

/// The first chunk with its padding, and what follows it.
fn split_chunk(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = bytes.get(4..8)?.first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    bytes.split_at_checked(CHUNK_HEAD + length.next_multiple_of(2))
}

#[cfg(test)]
mod tests {
    use super::without_metadata;

    #[test]
    fn metadata_goes_and_everything_else_stays() {
        let chunk = |name: &[u8; 4], body: &[u8]| {
            let mut chunk = name.to_vec();
            chunk.extend((body.len() as u32).to_le_bytes());
            chunk.extend(body);
            chunk.resize(chunk.len().next_multiple_of(2), 0);
            chunk
        };
        let file = |chunks: &[Vec<u8>]| {
            let body = [b"WEBP".to_vec(), chunks.concat()].concat();
            [
                b"RIFF".to_vec(),
                (body.len() as u32).to_le_bytes().to_vec(),
                body,
            ]
            .concat()
        };
        let pixels = chunk(b"VP8 ", b"odd");
        let with = file(&[
            chunk(b"VP8X", &[0x3e; 10]),
            chunk(b"ICCP", b"profile"),
            pixels.clone(),
            chunk(b"EXIF", b"place"),
        ]);
        let mut header = [0x3e; 10];
        header[0] = 0x12;
        assert_eq!(
            without_metadata(with),
            file(&[chunk(b"VP8X", &header), pixels])
        );
        assert_eq!(without_metadata(b"GIF".to_vec()), b"GIF");
    }
}
