use super::super::aac::{AudioConfig, NoConfig};
use super::super::boxes::{BoxView, Fields, Layout};
use super::super::report::FileReport;
use super::super::rules::Rule;
use super::check_fixed;

/// An AAC sample entry.
#[derive(Debug)]
pub(in crate::lint) struct AudioEntry {
    pub(in crate::lint) channels: u32,
    pub(in crate::lint) rate: u32,
    /// As CODECS names it best, if it could be read.
    pub(in crate::lint) codec: Option<String>,
    /// Of AAC.
    pub(in crate::lint) config: Option<AudioConfig>,
}

const ENTRY: Layout = Layout {
    boxes: &[
        (b"esds", 1, 1),
        (b"chnl", 0, 1),
        (b"dmix", 0, 8),
        (b"sinf", 0, 8),
        (b"srat", 0, 1),
        (b"ludt", 0, 1),
    ],
    ordered: false,
};

/// Bytes of the fields of an audio sample entry.
const FIELDS_BYTES: usize = 28;

pub(super) fn read(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<AudioEntry> {
    let Some((channels, rate)) = read_fields(found, report) else {
        report.say(
            Rule::BoxSize,
            found.place(),
            "its fields end behind its end",
        );
        return None;
    };
    let boxes = found.children_behind(FIELDS_BYTES, &ENTRY, report);
    let read = boxes
        .one(b"esds")
        .map(|esds| (esds, read_descriptor(esds, report)));
    let (mut codec, mut config) = (None, None);
    match read {
        Some((_, Some(Sound::Aac(aac)))) => {
            codec = Some(format!("mp4a.40.{}", aac.object));
            check_entry(found, (aac, channels, rate), report);
            config = Some(aac);
        }
        Some((esds, Some(Sound::Other(name)))) => {
            report.say(
                Rule::NotJudged,
                esds.place(),
                format!("sound of type {name}"),
            );
            codec = Some(name);
        }
        Some((esds, None)) => {
            let what = "it holds no configuration of AAC that can be read";
            report.say(Rule::AacConfig, esds.place(), what);
        }
        None => {}
    }
    Some(AudioEntry {
        channels: config.map_or(channels, |config| config.heard_channels),
        rate,
        codec,
        config,
    })
}

/// What an `esds` describes.
enum Sound {
    Aac(AudioConfig),
    /// Something else, as CODECS names it.
    Other(String),
}

/// Sample entries tell channels and rate of the core, or as heard.
fn check_entry(
    found: &BoxView<'_>,
    (config, channels, rate): (AudioConfig, u32, u32),
    report: &mut FileReport<'_>,
) {
    let rule = Rule::AacConfig;
    if channels != config.heard_channels {
        let at = (found.place(), "the channels of the sample entry");
        report.equal(rule, at, config.channels, channels);
    }
    if rate != config.rate && rate != config.heard_rate && rate != 0 {
        let at = (found.place(), "the sample rate of the sample entry");
        report.equal(rule, at, config.rate, rate);
    }
}

/// Channels and samples per second.
fn read_fields(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<(u32, u32)> {
    let mut fields = found.fields();
    let mut fixed = vec![
        ("reserved", u64::from(fields.u32()?), 0),
        ("reserved", fields.u16()?.into(), 0),
        ("data_reference_index", fields.u16()?.into(), 1),
        ("reserved", fields.u64()?, 0),
    ];
    let channels = fields.u16()?;
    fixed.push(("samplesize", fields.u16()?.into(), 16));
    fixed.push(("pre_defined", fields.u16()?.into(), 0));
    fixed.push(("reserved", fields.u16()?.into(), 0));
    let rate = fields.u32()?;
    fixed.push(("fraction of the sample rate", (rate & 0xffff).into(), 0));
    check_fixed(found, (0, &fixed), report);
    Some((channels.into(), rate >> 16))
}

/// Tags of descriptors (ISO/IEC 14496-1, table 1).
const ES: u8 = 3;
const DECODER_CONFIG: u8 = 4;
const DECODER_SPECIFIC: u8 = 5;
const SL_CONFIG: u8 = 6;

/// AAC as an object type (table 5), and audio as a stream type (table 6) with its reserved bit.
const OBJECT_AAC: u8 = 0x40;
const STREAM_AUDIO: u8 = 0x15;

/// How synchronisation layers are configured in files (table 15).
const IN_MP4: u64 = 2;

/// Says what is wrong with an `esds`; `None` if it holds no configuration.
fn read_descriptor(found: &BoxView<'_>, report: &mut FileReport<'_>) -> Option<Sound> {
    let mut fields = found.fields();
    let (version, flags) = fields.full()?;
    let fixed = [
        ("version", u64::from(version), 0),
        ("flags", flags.into(), 0),
    ];
    check_fixed(found, (version, &fixed), report);
    let mut broken = |what: &str| report.say(Rule::AacDescriptor, found.place(), what);
    let Some(mut stream) = descriptor(&mut fields, ES) else {
        broken("there is no elementary stream descriptor");
        return None;
    };
    if fields.left() > 0 {
        broken("bytes are left behind the elementary stream descriptor");
    }
    let head = stream.u16().zip(stream.u8());
    if head.is_none_or(|(_, flags)| flags & 0xe0 != 0) {
        broken("the elementary stream depends on others");
    }
    let Some(mut decoder) = descriptor(&mut stream, DECODER_CONFIG) else {
        broken("there is no decoder configuration");
        return None;
    };
    let layer = descriptor(&mut stream, SL_CONFIG);
    if layer.and_then(|mut layer| layer.u8()).map(u64::from) != Some(IN_MP4) || stream.left() > 0 {
        broken("there is no configuration of the synchronisation layer for files");
    }
    let object = decoder.u8()?;
    if decoder.u8()? != STREAM_AUDIO {
        broken("the decoder configuration is not that of audio");
    }
    let (_, highest, average) = (decoder.u24()?, decoder.u32()?, decoder.u32()?);
    if highest > 0 && average > highest {
        broken("the average rate is higher than the highest");
    }
    let specific = descriptor(&mut decoder, DECODER_SPECIFIC);
    if decoder.left() > 0 {
        broken("bytes are left behind the decoder configuration");
    }
    if object != OBJECT_AAC {
        return Some(Sound::Other(format!("mp4a.{object:02x}")));
    }
    match AudioConfig::read(specific?.rest()) {
        Ok(config) => Some(Sound::Aac(config)),
        Err(NoConfig::Other(object)) => Some(Sound::Other(format!("mp4a.40.{object}"))),
        Err(NoConfig::Broken) => None,
    }
}

/// The contents of a descriptor that has to come next. Its size has up to four groups of seven
/// bits.
fn descriptor<'a>(fields: &mut Fields<'a>, tag: u8) -> Option<Fields<'a>> {
    if fields.u8()? != tag {
        return None;
    }
    let mut size = 0_usize;
    for _ in 0..4 {
        let byte = fields.u8()?;
        size = size << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return fields.bytes(size).map(Fields::of);
        }
    }
    None
}
