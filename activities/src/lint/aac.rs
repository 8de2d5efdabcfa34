//! `AudioSpecificConfig` (ISO/IEC 14496-3, 1.6.2.1), as far as rules need it.

use super::bits::Bits;

/// Sample rates by index (table 1.18).
const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

/// Channels by configuration (table 1.19); what 0 leaves to the stream is not read.
const CHANNELS: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 8];

const EXPLICIT_RATE: u32 = 15;
const SBR: u32 = 5;
const PS: u32 = 29;
const ESCAPE: u32 = 31;

/// Objects whose configuration goes on as `GASpecificConfig`.
const GENERAL: [u32; 6] = [1, 2, 3, 4, 6, 7];

/// What an AAC track decodes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AudioConfig {
    /// As CODECS names it: 2 for AAC-LC, 5 with spectral band replication, 29 with parametric
    /// stereo.
    pub(super) object: u32,
    /// Samples per second of the core.
    pub(super) rate: u32,
    /// Samples per second as heard.
    pub(super) heard_rate: u32,
    pub(super) channels: u32,
    /// Samples of the core per packet.
    pub(super) packet: u32,
}

impl AudioConfig {
    /// Reads a configuration; `None` if it is none.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut bits = Bits::of(bytes);
        let object = object(&mut bits)?;
        let rate = rate(&mut bits)?;
        let channels = *CHANNELS
            .get(bits.u(4)? as usize)
            .filter(|count| **count > 0)?;
        let (mut core, mut heard_rate) = (object, rate);
        if matches!(object, SBR | PS) {
            heard_rate = self::rate(&mut bits)?;
            core = self::object(&mut bits)?;
        }
        if !GENERAL.contains(&core) {
            return None;
        }
        let short = bits.bit()?;
        if bits.bit()? {
            bits.u(14)?;
        }
        if bits.bit()? {
            return None;
        }
        Some(Self {
            object,
            rate,
            heard_rate,
            channels,
            packet: if short { 960 } else { 1024 },
        })
    }
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
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for bytes in [
            &[][..],
            &[0x11],
            &[0, 0],
            &[0x17, 0x90],
            &[0x16, 0xf0],
            &[0x11, 0xf8],
        ] {
            assert_eq!(AudioConfig::read(bytes), None, "{bytes:02x?}");
        }
    }
}
