//! Reads CMAF headers and media segments back, to compare them with what was recorded. Pure.

use mp4_atom::{Atom, Avc1, Codec, Decode, FourCC, Ftyp, Moof, Moov, Mp4a, Styp, Traf, Trak};

use super::report::Size;

/// A coded slice of an IDR picture (ITU-T H.264, table 7-1).
const NAL_IDR: u8 = 5;

/// The bit of `sample_flags` that says a sample is no point of entry.
const NON_SYNC: u32 = 0x0001_0000;

/// Why boxes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// A box ends behind the end of the data.
    #[error("a box is cut off")]
    CutOff,
    /// A box that has to be there is missing.
    #[error("there is no {0} box")]
    Missing(FourCC),
    /// A box of which one is allowed is there more than once.
    #[error("there is more than one {0}")]
    Several(&'static str),
    /// A codec that no rendition has.
    #[error("the sample entry is neither avc1 nor mp4a")]
    Codec,
    /// Contents of a box that make no sense.
    #[error("a box cannot be read: {0}")]
    Box(String),
}

impl From<mp4_atom::Error> for ReadError {
    fn from(error: mp4_atom::Error) -> Self {
        Self::Box(error.to_string())
    }
}

/// What a CMAF header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Compatible brands.
    pub brands: Vec<FourCC>,
    /// Ticks per second.
    pub timescale: u32,
    /// RFC 6381.
    pub codecs: String,
    /// Video or audio, with what else is told of it.
    pub media: Media,
    /// Composition time at which the presentation begins, in ticks.
    pub media_time: u64,
    /// Duration of a sample where its segment names none.
    pub default_duration: u32,
    /// `sample_flags` of a sample where its segment names none.
    pub default_flags: u32,
}

/// What kind of track a header describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// Pictures of a size, in NAL units whose lengths have so many bytes.
    Video {
        /// Picture size.
        size: Size,
        /// Bytes of the length before each NAL unit.
        length_bytes: usize,
    },
    /// Sound.
    Audio {
        /// Number of channels.
        channels: u32,
    },
}

/// What a media segment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Compatible brands.
    pub brands: Vec<FourCC>,
    /// `sequence_number`.
    pub number: u32,
    /// Decode time of the first sample.
    pub start_ticks: u64,
    /// Durations of all samples.
    pub duration_ticks: u64,
    /// Number of samples.
    pub samples: u32,
    /// Earliest presentation time, with the header's edit applied; `None` without samples.
    pub first_shown_ticks: Option<i64>,
    /// Latest presentation time.
    pub last_shown_ticks: Option<i64>,
    /// Whether addresses count from the start of the `moof`.
    pub base_is_moof: bool,
    /// Whether the samples fill the `mdat` from its first to its last byte.
    pub fills_data: bool,
    /// Whether decoding can begin at the first sample; of H.264, that it is an IDR picture.
    pub begins_with_sync: bool,
}

/// Reads a CMAF header.
///
/// # Errors
/// If it is no header of one H.264 or AAC track.
pub fn read_header(bytes: &[u8]) -> Result<Header, ReadError> {
    let brands = decode::<Ftyp>(bytes)?.compatible_brands;
    let moov = decode::<Moov>(bytes)?;
    let [track] = moov.trak.as_slice() else {
        return Err(ReadError::Several("track"));
    };
    let [entry] = track.mdia.minf.stbl.stsd.codecs.as_slice() else {
        return Err(ReadError::Several("sample entry"));
    };
    let (codecs, media) = match entry {
        Codec::Avc1(avc1) => video(avc1),
        Codec::Mp4a(mp4a) => audio(mp4a),
        _ => return Err(ReadError::Codec),
    };
    let defaults = moov.mvex.iter().flat_map(|mvex| &mvex.trex).next();
    Ok(Header {
        brands,
        timescale: track.mdia.mdhd.timescale,
        codecs,
        media,
        media_time: media_time(track),
        default_duration: defaults.map_or(0, |trex| trex.default_sample_duration),
        default_flags: defaults.map_or(0, |trex| trex.default_sample_flags),
    })
}

/// Start of the first edit, or 0 if there is none.
fn media_time(track: &Trak) -> u64 {
    let edits = track.edts.iter().filter_map(|edts| edts.elst.as_ref());
    let first = edits.flat_map(|elst| &elst.entries).next();
    first.and_then(|edit| edit.media_time).unwrap_or(0)
}

fn video(entry: &Avc1) -> (String, Media) {
    let avcc = &entry.avcc;
    let codecs = format!(
        "avc1.{:02x}{:02x}{:02x}",
        avcc.avc_profile_indication, avcc.profile_compatibility, avcc.avc_level_indication
    );
    let size = Size {
        width: entry.visual.width.into(),
        height: entry.visual.height.into(),
    };
    let length_bytes = avcc.length_size.into();
    (codecs, Media::Video { size, length_bytes })
}

fn audio(entry: &Mp4a) -> (String, Media) {
    let config = &entry.esds.es_desc.dec_config;
    let object = config
        .dec_specific
        .as_ref()
        .map_or(0, |specific| specific.profile);
    let codecs = format!("mp4a.{:x}.{object}", config.object_type_indication);
    let channels = entry.audio.channel_count.into();
    (codecs, Media::Audio { channels })
}

/// Reads a media segment of the track that `header` describes.
///
/// # Errors
/// If it is no segment with one fragment.
pub fn read_segment(bytes: &[u8], header: &Header) -> Result<Fragment, ReadError> {
    let (moof_at, _) = find(bytes, Moof::KIND)?.ok_or(ReadError::Missing(Moof::KIND))?;
    let moof = decode::<Moof>(bytes)?;
    let [traf] = moof.traf.as_slice() else {
        return Err(ReadError::Several("track fragment"));
    };
    let [trun] = traf.trun.as_slice() else {
        return Err(ReadError::Several("track run"));
    };
    let samples = samples(traf, header);
    let data_at = trun
        .data_offset
        .and_then(|offset| moof_at.checked_add_signed(offset as isize));
    let data = mdat(bytes)?;
    let sizes: usize = samples.iter().map(|sample| sample.size).sum();
    let first = samples.first();
    let first_data = data.1.get(..first.map_or(0, |sample| sample.size));
    Ok(Fragment {
        brands: decode::<Styp>(bytes)?.compatible_brands,
        number: moof.mfhd.sequence_number,
        start_ticks: start(traf),
        duration_ticks: samples
            .iter()
            .map(|sample| u64::from(sample.duration))
            .sum(),
        samples: u32::try_from(samples.len()).unwrap_or(u32::MAX),
        first_shown_ticks: samples.iter().map(|sample| sample.shown).min(),
        last_shown_ticks: samples.iter().map(|sample| sample.shown).max(),
        base_is_moof: traf.tfhd.default_base_is_moof,
        fills_data: data_at == Some(data.0) && sizes == data.1.len(),
        begins_with_sync: first.is_some_and(|sample| sample.sync)
            && first_data.is_some_and(|data| is_entry(data, header.media)),
    })
}

fn start(traf: &Traf) -> u64 {
    traf.tfdt
        .as_ref()
        .map_or(0, |tfdt| tfdt.base_media_decode_time)
}

/// One sample of a fragment.
struct Sample {
    duration: u32,
    size: usize,
    /// Presentation time.
    shown: i64,
    sync: bool,
}

fn samples(traf: &Traf, header: &Header) -> Vec<Sample> {
    let mut decoded = start(traf) as i64;
    let entries = traf.trun.iter().flat_map(|trun| trun.samples.iter());
    entries
        .map(|entry| {
            let duration = entry.duration.or(traf.tfhd.default_sample_duration);
            let duration = duration.unwrap_or(header.default_duration);
            let size = entry.size.or(traf.tfhd.default_sample_size).unwrap_or(0);
            let flags = entry.flags.or(traf.tfhd.default_sample_flags);
            let offset = entry.cts.map_or(0, i64::from);
            let sample = Sample {
                duration,
                size: size as usize,
                shown: decoded + offset - header.media_time as i64,
                sync: flags.unwrap_or(header.default_flags) & NON_SYNC == 0,
            };
            decoded += i64::from(duration);
            sample
        })
        .collect()
}

/// Whether decoding can begin with a sample. Every AAC packet is such a point; of H.264, IDR
/// pictures are.
fn is_entry(sample: &[u8], media: Media) -> bool {
    match media {
        Media::Audio { .. } => true,
        Media::Video { length_bytes, .. } => {
            nal_types(sample, length_bytes).any(|kind| kind == NAL_IDR)
        }
    }
}

/// Types of the NAL units of a sample, as far as it is whole.
fn nal_types(sample: &[u8], length_bytes: usize) -> impl Iterator<Item = u8> {
    let mut rest = sample;
    std::iter::from_fn(move || {
        let (length, unit) = rest.split_at_checked(length_bytes)?;
        let length = length
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (unit, next) = unit.split_at_checked(length)?;
        rest = next;
        unit.first().map(|byte| byte & 0x1f)
    })
}

/// Decodes the only box of a type at the top level.
fn decode<A: Atom + Decode>(bytes: &[u8]) -> Result<A, ReadError> {
    let (at, end) = find(bytes, A::KIND)?.ok_or(ReadError::Missing(A::KIND))?;
    Ok(A::decode(&mut &bytes[at..end])?)
}

/// Place of the payload of `mdat`, and the payload.
fn mdat(bytes: &[u8]) -> Result<(usize, &[u8]), ReadError> {
    const MDAT: FourCC = FourCC::new(b"mdat");
    let (at, end) = find(bytes, MDAT)?.ok_or(ReadError::Missing(MDAT))?;
    let payload = at + HEADER_BYTES;
    Ok((payload, &bytes[payload..end]))
}

/// Size and type.
const HEADER_BYTES: usize = 8;

/// The bytes `[from, to)` of the only box of a type at the top level. Boxes of 4 GiB and more,
/// which need a longer header, are in no segment.
fn find(bytes: &[u8], kind: FourCC) -> Result<Option<(usize, usize)>, ReadError> {
    let mut found = None;
    let mut at = 0;
    while at < bytes.len() {
        let header = bytes.get(at..at + HEADER_BYTES).ok_or(ReadError::CutOff)?;
        let size = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let end = at + size;
        if size < HEADER_BYTES || end > bytes.len() {
            return Err(ReadError::CutOff);
        }
        if header[4..] == <[u8; 4]>::from(kind) && found.replace((at, end)).is_some() {
            return Err(ReadError::Several("box of a kind"));
        }
        at = end;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::fmp4;

    fn header() -> Header {
        Header {
            brands: Vec::new(),
            timescale: 1000,
            codecs: String::new(),
            media: Media::Video {
                size: Size {
                    width: 2,
                    height: 2,
                },
                length_bytes: 4,
            },
            media_time: 80,
            default_duration: 0,
            default_flags: 0,
        }
    }

    fn frame(pts_ticks: u64, sync: bool, data: &[u8]) -> fmp4::Sample<'_> {
        fmp4::Sample {
            pts_ticks,
            sync,
            data,
        }
    }

    const IDR: &[u8] = &[0, 0, 0, 1, 9, 0, 0, 0, 2, 0x65, 1];
    const SLICE: &[u8] = &[0, 0, 0, 2, 0x41, 1];

    #[test]
    fn a_written_segment_reads_back_as_it_was() {
        let frames = [
            frame(6000, true, IDR),
            frame(6080, false, SLICE),
            frame(6040, false, SLICE),
        ];
        let bytes = fmp4::video_segment(2, &frames, 6120, 80).unwrap();
        let read = read_segment(&bytes, &header()).unwrap();
        assert_eq!((read.number, read.samples), (2, 3));
        assert_eq!((read.start_ticks, read.duration_ticks), (6000, 120));
        assert_eq!(
            (read.first_shown_ticks, read.last_shown_ticks),
            (Some(6000), Some(6080))
        );
        assert!(read.begins_with_sync && read.fills_data && read.base_is_moof);
        assert!(read.brands.contains(&FourCC::new(b"cmfs")));
    }

    #[test]
    fn a_keyframe_that_is_no_idr_picture_is_no_entry() {
        let bytes = fmp4::video_segment(1, &[frame(0, true, SLICE)], 40, 80).unwrap();
        assert!(!read_segment(&bytes, &header()).unwrap().begins_with_sync);
    }

    #[test]
    fn missing_bytes_are_noticed() {
        let bytes = fmp4::video_segment(1, &[frame(0, true, IDR)], 40, 80).unwrap();
        for cut in [1, 7, bytes.len() - 20, bytes.len() - 1] {
            assert!(read_segment(&bytes[..cut], &header()).is_err(), "{cut}");
        }
        assert_eq!(
            read_segment(&[], &header()),
            Err(ReadError::Missing(Moof::KIND))
        );
    }

    #[test]
    fn boxes_of_no_size_do_not_loop() {
        assert_eq!(read_segment(&[0; 64], &header()), Err(ReadError::CutOff));
    }
}
