//! CMAF headers: `ftyp` and `moov`.

use mp4_atom::esds::{DecoderConfig, DecoderSpecific, EsDescriptor, SLConfig};
use mp4_atom::{
    Audio, Avc1, Avcc, AvccExt, Codec, Colr, Decode as _, Dinf, Dref, Edts, Elst, ElstEntry,
    Encode as _, Esds, Ftyp, Hdlr, Matrix, Mdhd, Mp4a, Mvex, Mvhd, Pasp, Smhd, Stbl, Stco, Stsd,
    Tkhd, Trex, Url, Visual, Vmhd,
};

use super::{AAC_PACKET_SAMPLES, BoxError, DEPENDENT_FLAGS, SYNC_FLAGS, TRACK_ID, container};
use crate::media::report::Size;

/// Object type of AAC in `esds` (ISO/IEC 14496-1, table 5).
const OBJECT_TYPE_AAC: u8 = 0x40;

/// Stream type "audio" in `esds` (ISO/IEC 14496-1, table 6).
const STREAM_TYPE_AUDIO: u8 = 5;

/// Colour description by code points of ISO/IEC 23091-2. The range is always limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nclx {
    /// `colour_primaries`.
    pub primaries: u16,
    /// `transfer_characteristics`.
    pub transfer: u16,
    /// `matrix_coefficients`.
    pub matrix: u16,
}

/// What the header of an H.264 rendition says.
#[derive(Debug, Clone, Copy)]
pub struct VideoHeader<'a> {
    /// Picture size; pixels are square.
    pub size: Size,
    /// Ticks per second.
    pub timescale: u32,
    /// Reorder depth of the rendition, in ticks: `media_time` of the edit.
    pub reorder_ticks: u32,
    /// Decoder configuration record, the body of `avcC`.
    pub avcc: &'a [u8],
    /// Colour description.
    pub colour: Nclx,
}

/// What the header of an AAC rendition says.
#[derive(Debug, Clone, Copy)]
pub struct AudioHeader<'a> {
    /// Samples, and ticks, per second.
    pub sample_rate: u32,
    /// Number of channels.
    pub channels: u32,
    /// Rate of the encoder, bit/s.
    pub bitrate: u32,
    /// `AudioSpecificConfig`.
    pub config: &'a [u8],
    /// ISO 639-2 code; anything else is written as `und`.
    pub language: &'a str,
}

/// The header of an H.264 track: `ftyp`, `moov`.
///
/// # Errors
/// If `avcc` is no decoder configuration record, or the picture is larger than 65535 pixels.
pub fn video_init(header: &VideoHeader<'_>) -> Result<Vec<u8>, BoxError> {
    let width = pixels(header.size.width)?;
    let height = pixels(header.size.height)?;
    let track = TrackBoxes {
        // `cmf2` would forbid the edit list.
        brands: &[b"cmfc", b"iso6", b"mp41"],
        handler: b"vide",
        timescale: header.timescale,
        language: "und",
        tkhd: Tkhd {
            width: width.into(),
            height: height.into(),
            ..track_header()
        },
        edit: Some(header.reorder_ticks),
        entry: avc1(header, width, height)?,
        default_duration: 0,
        default_flags: DEPENDENT_FLAGS,
    };
    track.encode()
}

/// The header of an AAC track: `ftyp`, `moov`. It has no edit: sample 0 is presented at 0.
///
/// # Errors
/// If the sample rate does not fit the sample entry (65535 Hz).
pub fn audio_init(header: &AudioHeader<'_>) -> Result<Vec<u8>, BoxError> {
    let track = TrackBoxes {
        brands: &[b"cmfc", b"cmf2", b"iso6", b"mp41"],
        handler: b"soun",
        timescale: header.sample_rate,
        language: header.language,
        tkhd: Tkhd {
            volume: 1.into(),
            ..track_header()
        },
        edit: None,
        entry: mp4a(header)?,
        default_duration: AAC_PACKET_SAMPLES,
        default_flags: SYNC_FLAGS,
    };
    track.encode()
}

/// The parts in which headers differ.
struct TrackBoxes<'a> {
    brands: &'a [&'a [u8; 4]],
    handler: &'a [u8; 4],
    timescale: u32,
    language: &'a str,
    tkhd: Tkhd,
    edit: Option<u32>,
    entry: Codec,
    default_duration: u32,
    default_flags: u32,
}

impl TrackBoxes<'_> {
    fn encode(self) -> Result<Vec<u8>, BoxError> {
        let mut out = Vec::with_capacity(1024);
        self.ftyp().encode(&mut out)?;
        container(&mut out, b"moov", |out| {
            self.mvhd().encode(out)?;
            container(out, b"trak", |out| self.trak(out))?;
            self.mvex().encode(out)?;
            Ok(())
        })?;
        Ok(out)
    }

    fn ftyp(&self) -> Ftyp {
        Ftyp {
            major_brand: (*self.brands[0]).into(),
            minor_version: 0,
            compatible_brands: self.brands.iter().map(|brand| (**brand).into()).collect(),
        }
    }

    fn mvhd(&self) -> Mvhd {
        Mvhd {
            timescale: self.timescale,
            rate: 1.into(),
            volume: 1.into(),
            next_track_id: TRACK_ID + 1,
            ..Mvhd::default()
        }
    }

    fn trak(&self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        self.tkhd.encode(out)?;
        if let Some(reorder_ticks) = self.edit {
            edit(reorder_ticks).encode(out)?;
        }
        container(out, b"mdia", |out| {
            self.mdhd().encode(out)?;
            self.hdlr().encode(out)?;
            container(out, b"minf", |out| self.minf(out))
        })
    }

    fn mdhd(&self) -> Mdhd {
        let known =
            self.language.len() == 3 && self.language.bytes().all(|b| b.is_ascii_lowercase());
        Mdhd {
            timescale: self.timescale,
            language: if known { self.language } else { "und" }.to_owned(),
            ..Mdhd::default()
        }
    }

    fn hdlr(&self) -> Hdlr {
        Hdlr {
            handler: (*self.handler).into(),
            name: String::from_utf8_lossy(self.handler).into_owned(),
        }
    }

    fn minf(&self, out: &mut Vec<u8>) -> Result<(), BoxError> {
        match self.handler {
            b"vide" => Vmhd::default().encode(out)?,
            _ => Smhd::default().encode(out)?,
        }
        same_file().encode(out)?;
        let tables = Stbl {
            stsd: Stsd {
                codecs: vec![self.entry.clone()],
            },
            stco: Some(Stco::default()),
            ..Stbl::default()
        };
        tables.encode(out)?;
        Ok(())
    }

    fn mvex(&self) -> Mvex {
        Mvex {
            mehd: None,
            trex: vec![Trex {
                track_id: TRACK_ID,
                default_sample_description_index: 1,
                default_sample_duration: self.default_duration,
                default_sample_size: 0,
                default_sample_flags: self.default_flags,
            }],
        }
    }
}

fn track_header() -> Tkhd {
    Tkhd {
        track_id: TRACK_ID,
        enabled: true,
        in_movie: true,
        matrix: Matrix::default(),
        ..Tkhd::default()
    }
}

/// One edit over the whole presentation that begins at composition time `reorder_ticks`.
fn edit(reorder_ticks: u32) -> Edts {
    Edts {
        elst: Some(Elst {
            entries: vec![ElstEntry {
                segment_duration: 0,
                media_time: Some(reorder_ticks.into()),
                media_rate: 1.into(),
            }],
        }),
    }
}

/// Says that the media data is in the same file.
fn same_file() -> Dinf {
    Dinf {
        dref: Dref {
            entries: vec![Url::default().into()],
        },
    }
}

fn avc1(header: &VideoHeader<'_>, width: u16, height: u16) -> Result<Codec, BoxError> {
    let mut record = Vec::with_capacity(header.avcc.len() + 8);
    container(&mut record, b"avcC", |out| {
        out.extend(header.avcc);
        Ok(())
    })?;
    let entry = Avc1 {
        visual: Visual {
            data_reference_index: 1,
            width,
            height,
            ..Visual::default()
        },
        avcc: complete(Avcc::decode(&mut record.as_slice())?),
        colr: Some(Colr::new(
            header.colour.primaries,
            header.colour.transfer,
            header.colour.matrix,
            false,
        )?),
        pasp: Some(Pasp::new(1, 1)?),
        ..Avc1::default()
    };
    Ok(entry.into())
}

/// Profiles whose record also tells chroma format and bit depth (ISO/IEC 14496-15, 5.3.3.1.2).
const EXTENDED_PROFILES: [u8; 4] = [100, 110, 122, 144];

/// Adds what h264parse leaves out of the record of a high profile. Encoders here are only given
/// 4:2:0 with 8 bits, which is the default.
fn complete(mut avcc: Avcc) -> Avcc {
    if EXTENDED_PROFILES.contains(&avcc.avc_profile_indication) {
        avcc.ext.get_or_insert_with(AvccExt::default);
    }
    avcc
}

fn mp4a(header: &AudioHeader<'_>) -> Result<Codec, BoxError> {
    let overflow = |what| BoxError::Overflow { what };
    let sample_rate = u16::try_from(header.sample_rate).map_err(|_| overflow("the sample rate"))?;
    let entry = Mp4a {
        audio: Audio {
            data_reference_index: 1,
            channel_count: u16::try_from(header.channels).map_err(|_| overflow("channels"))?,
            sample_size: 16,
            sample_rate: sample_rate.into(),
        },
        esds: Esds {
            es_desc: EsDescriptor {
                dec_config: DecoderConfig {
                    object_type_indication: OBJECT_TYPE_AAC,
                    stream_type: STREAM_TYPE_AUDIO,
                    max_bitrate: header.bitrate,
                    avg_bitrate: header.bitrate,
                    dec_specific: Some(DecoderSpecific {
                        raw: header.config.to_vec(),
                        ..DecoderSpecific::default()
                    }),
                    ..DecoderConfig::default()
                },
                sl_config: SLConfig::default(),
                ..EsDescriptor::default()
            },
        },
        btrt: None,
        taic: None,
    };
    Ok(entry.into())
}

fn pixels(value: u32) -> Result<u16, BoxError> {
    u16::try_from(value).map_err(|_| BoxError::Overflow {
        what: "the picture size",
    })
}
