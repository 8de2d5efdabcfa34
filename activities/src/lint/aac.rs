//! `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1), as far as rules need it.

use super::bits::Bits;

/// Sample rates by index (table 1.18).
const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Channels by configuration (table 1.19); 0 is one that the stream tells, and another 0 is
/// reserved.
const CHANNELS: [u32; 15] = [0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8];

const EXPLICIT_RATE: u32 = 15;
const SBR: u32 = 5;
const PS: u32 = 29;
const ESCAPE: u32 = 31;

/// What stands before what older decoders do not know: replication, parametric stereo.
const SYNC_SBR: u32 = 0x2b7;
const SYNC_PS: u32 = 0x548;

/// Objects whose configuration goes on as `GASpecificConfig`.
const GENERAL: [u32; 6] = [1, 2, 3, 4, 6, 7];

/// What an AAC track decodes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AudioConfig {
    /// As CODECS names it: 2 for AAC-LC, 5 with spectral band replication, 29 with parametric
    /// stereo.
    pub(super) object: u32,
    /// What decoders decode that do not know what `object` adds, if the configuration lets them.
    pub(super) core: Option<u32>,
    /// Samples per second of the core.
    pub(super) rate: u32,
    /// Samples per second as heard.
    pub(super) heard_rate: u32,
    /// Channels of the core.
    pub(super) channels: u32,
    /// Channels as heard.
    pub(super) heard_channels: u32,
    /// Samples of the core per packet.
    pub(super) packet: u32,
}

/// Why there is no [`AudioConfig`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoConfig {
    /// The bytes are no configuration.
    Broken,
    /// They are one of another kind of object, which is not read.
    Other(u32),
}

impl AudioConfig {
    /// Reads a configuration.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, NoConfig> {
        let mut bits = Bits::of(bytes);
        let head = Head::read(&mut bits).ok_or(NoConfig::Broken)?;
        if !GENERAL.contains(&head.core) {
            return Err(NoConfig::Other(head.object));
        }
        Self::general(head, &mut bits).ok_or(NoConfig::Broken)
    }

    fn general(head: Head, bits: &mut Bits<'_>) -> Option<Self> {
        let short = bits.bit()?;
        if bits.bit()? {
            bits.u(14)?;
        }
        if bits.bit()? {
            return None;
        }
        let channels = match head.channels {
            0 => program(bits)?,
            index => *CHANNELS.get(index as usize).filter(|count| **count > 0)?,
        };
        let mut config = Self {
            object: head.object,
            core: None,
            rate: head.rate,
            heard_rate: head.heard_rate,
            channels,
            heard_channels: channels,
            packet: if short { 960 } else { 1024 },
        };
        if config.object == head.core {
            config.extend(bits);
        }
        if config.object == PS && channels == 1 {
            config.heard_channels = 2;
        }
        Some(config)
    }

    /// What older decoders pass over (1.6.6.1), if it is there.
    fn extend(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        if bits.u(11)? != SYNC_SBR || object(bits)? != SBR || !bits.bit()? {
            return None;
        }
        self.heard_rate = rate(bits)?;
        self.core = Some(self.object);
        self.object = SBR;
        if bits.u(11)? == SYNC_PS && bits.bit()? {
            self.object = PS;
        }
        Some(())
    }
}

/// The start of a configuration, which all objects have.
struct Head {
    object: u32,
    /// The object that replication adds to, or `object` itself.
    core: u32,
    rate: u32,
    heard_rate: u32,
    channels: u32,
}

impl Head {
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let object = object(bits)?;
        let rate = rate(bits)?;
        let channels = bits.u(4)?;
        let (mut core, mut heard_rate) = (object, rate);
        if matches!(object, SBR | PS) {
            heard_rate = self::rate(bits)?;
            core = self::object(bits)?;
        }
        Some(Self {
            object,
            core,
            rate,
            heard_rate,
            channels,
        })
    }
}

/// Channels of a `program_config_element` (4.4.1.1), with which a `GASpecificConfig` ends.
fn program(bits: &mut Bits<'_>) -> Option<u32> {
    bits.u(10)?;
    let counts = [bits.u(4)?, bits.u(4)?, bits.u(4)?];
    let low_frequency = bits.u(2)?;
    let (data, coupling) = (bits.u(3)?, bits.u(4)?);
    for mixdown_bits in [4, 4, 3] {
        if bits.bit()? {
            bits.u(mixdown_bits)?;
        }
    }
    let mut channels = low_frequency;
    for _ in 0..counts.iter().sum() {
        channels += 1 + u32::from(bits.bit()?);
        bits.u(4)?;
    }
    bits.u(4 * low_frequency + 4 * data + 5 * coupling)?;
    bits.align();
    let comment = bits.u(8)?;
    for _ in 0..comment {
        bits.u(8)?;
    }
    Some(channels).filter(|channels| *channels > 0)
}

fn object(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.u(5)? {
        0 => None,
        ESCAPE => Some(32 + bits.u(6)?),
        object => Some(object),
    }
}

fn rate(bits: &mut Bits<'_>) -> Option<u32> {
    match bits.u(4)? {
        EXPLICIT_RATE => bits.u(24).filter(|rate| *rate > 0),
        index => RATES.get(index as usize).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_are_read() {
        let lc = AudioConfig::read(&[0x11, 0x90, 0x56, 0xe5, 0]).unwrap();
        assert_eq!((lc.object, lc.rate, lc.heard_rate), (2, 48_000, 48_000));
        assert_eq!((lc.channels, lc.packet), (2, 1024));
        let sbr = AudioConfig::read(&[0x2b, 0x11, 0x88, 0x00]).unwrap();
        assert_eq!((sbr.object, sbr.rate, sbr.heard_rate), (5, 24_000, 48_000));
        assert_eq!(sbr.core, None);
    }

    #[test]
    fn replication_that_older_decoders_pass_over_is_read() {
        let sbr = AudioConfig::read(&[0x13, 0x10, 0x56, 0xe5, 0x98]).unwrap();
        assert_eq!((sbr.object, sbr.core), (5, Some(2)));
        assert_eq!((sbr.rate, sbr.heard_rate), (24_000, 48_000));
        let ps = AudioConfig::read(&[0x13, 0x08, 0x56, 0xe5, 0x9d, 0x48, 0x80]).unwrap();
        assert_eq!((ps.object, ps.core), (29, Some(2)));
        assert_eq!((ps.channels, ps.heard_channels), (1, 2));
    }

    #[test]
    fn channels_may_be_told_by_the_stream() {
        // Two front elements, one of them a pair, and one for low frequencies: 3.1.
        let bits = "00010 0011 0000 000 0000 01 0011 0010 0000 0000 01 000 0000 000 \
                    0 0000 1 0001 0000 0000000 00000000";
        let bits: String = bits.chars().filter(|c| *c != ' ').collect();
        let bytes = bits.as_bytes().chunks(8).map(|byte| {
            let text = std::str::from_utf8(byte).unwrap();
            u8::from_str_radix(text, 2).unwrap() << (8 - text.len())
        });
        let bytes: Vec<u8> = bytes.collect();
        assert_eq!(AudioConfig::read(&bytes).unwrap().channels, 4);
        let six_one = AudioConfig::read(&[0x11, 0xd8]).unwrap();
        assert_eq!(six_one.channels, 7);
    }

    #[test]
    fn other_objects_are_not_judged() {
        // Low delay, and unified speech and audio.
        assert_eq!(AudioConfig::read(&[0xb9, 0x90]), Err(NoConfig::Other(23)));
        assert_eq!(
            AudioConfig::read(&[0xf9, 0x46, 0x40]),
            Err(NoConfig::Other(42))
        );
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for bytes in [
            &[][..],
            &[0x11],
            &[0, 0],
            &[0x17, 0x90],
            &[0x16, 0xf0],
            &[0x11, 0xc8],
            &[0x11, 0x80],
        ] {
            assert_eq!(
                AudioConfig::read(bytes),
                Err(NoConfig::Broken),
                "{bytes:02x?}"
            );
        }
    }
}
