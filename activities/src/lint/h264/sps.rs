use crate::lint::bits::{Bits, payload};

/// A sequence parameter set.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::lint) struct Sps {
    pub(in crate::lint) profile: u8,
    /// Constraint flags and reserved bits.
    pub(in crate::lint) compatibility: u8,
    pub(in crate::lint) level: u8,
    pub(in crate::lint) id: u32,
    pub(in crate::lint) chroma_format: u8,
    pub(in crate::lint) bit_depth: (u8, u8),
    pub(super) separate_planes: bool,
    pub(super) frame_num_bits: u32,
    pub(super) order: Order,
    pub(in crate::lint) reference_frames: u32,
    pub(in crate::lint) gaps_allowed: bool,
    macroblocks: (u32, u32),
    pub(in crate::lint) frames_only: bool,
    /// Left, right, top, bottom, in pixels.
    crop: [u32; 4],
    pub(in crate::lint) vui: Vui,
}

/// How the order of display is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lint) enum Order {
    /// Its low bits stand in each slice.
    Bits(u32),
    /// Differences to a cycle; not followed here.
    Cycle { always_zero: bool },
    /// The order of decoding.
    Decoding,
}

/// What a sequence parameter set says about display.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::lint) struct Vui {
    /// Sample aspect ratio, if it says one.
    pub(in crate::lint) aspect: Option<(u16, u16)>,
    /// Full range, primaries, transfer, matrix; the last three if it says them.
    pub(in crate::lint) full_range: Option<bool>,
    pub(in crate::lint) colour: Option<[u8; 3]>,
    /// Frames per second times a denominator, the denominator, and whether the rate is fixed.
    pub(in crate::lint) timing: Option<(u64, u64, bool)>,
    /// Frames by which pictures are reordered at most, and frames that are buffered.
    pub(in crate::lint) reorder: Option<(u32, u32)>,
}

/// Ratios by `aspect_ratio_idc`, from 1 (table E-1).
const ASPECTS: [(u16, u16); 16] = [
    (1, 1),
    (12, 11),
    (10, 11),
    (16, 11),
    (40, 33),
    (24, 11),
    (20, 11),
    (32, 11),
    (80, 33),
    (18, 11),
    (15, 11),
    (64, 33),
    (160, 99),
    (4, 3),
    (3, 2),
    (2, 1),
];

const EXTENDED_ASPECT: u32 = 255;

/// Profiles whose parameter sets tell chroma and bit depth.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Whether a profile is one of those whose parameter sets tell chroma and bit depth.
pub(super) fn is_high(profile: u8) -> bool {
    HIGH_PROFILES.contains(&profile)
}

/// The largest edge in macroblocks: 16,384 pixels.
const MAX_MACROBLOCKS: u32 = 1024;

impl Sps {
    /// Reads a NAL unit; `None` if it is none, or has other bits than its syntax asks for.
    pub(in crate::lint) fn read(unit: &[u8]) -> Option<Self> {
        let payload = payload(unit);
        let mut bits = Bits::of(&payload);
        let mut sps = Self::start(&mut bits)?;
        sps.frame(&mut bits)?;
        if bits.bit()? {
            sps.vui = vui(&mut bits)?;
        }
        bits.ends().then_some(sps)
    }

    /// Up to the number of reference frames.
    fn start(bits: &mut Bits<'_>) -> Option<Self> {
        let profile = bits.u(8)? as u8;
        let compatibility = bits.u(8)? as u8;
        let level = bits.u(8)? as u8;
        let id = bits.ue().filter(|id| *id < 32)?;
        let (mut chroma_format, mut separate_planes, mut bit_depth) = (1, false, (8, 8));
        if is_high(profile) {
            chroma_format = bits.ue().filter(|format| *format <= 3)? as u8;
            separate_planes = chroma_format == 3 && bits.bit()?;
            let mut depth = || Some(8 + bits.ue().filter(|more| *more <= 6)? as u8);
            bit_depth = (depth()?, depth()?);
            bits.bit()?;
            if bits.bit()? {
                scaling_lists(bits, if chroma_format == 3 { 12 } else { 8 })?;
            }
        }
        Some(Self {
            profile,
            compatibility,
            level,
            id,
            chroma_format,
            bit_depth,
            separate_planes,
            frame_num_bits: 4 + bits.ue().filter(|more| *more <= 12)?,
            order: order(bits)?,
            reference_frames: bits.ue().filter(|frames| *frames <= 16)?,
            gaps_allowed: bits.bit()?,
            macroblocks: (0, 0),
            frames_only: true,
            crop: [0; 4],
            vui: Vui::default(),
        })
    }

    /// Size and cropping.
    fn frame(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let mut edge = || Some(1 + bits.ue().filter(|edge| *edge < MAX_MACROBLOCKS)?);
        self.macroblocks = (edge()?, edge()?);
        self.frames_only = bits.bit()?;
        if !self.frames_only {
            self.macroblocks.1 *= 2;
            bits.bit()?;
        }
        bits.bit()?;
        if bits.bit()? {
            let (x, y) = self.crop_units();
            for (edge, unit) in self.crop.iter_mut().zip([x, x, y, y]) {
                *edge = bits.ue()?.checked_mul(unit)?;
            }
        }
        let (width, height) = self.coded();
        let [left, right, top, bottom] = self.crop;
        let rest = |edge: u32, a: u32, b: u32| edge > a.saturating_add(b);
        (rest(width, left, right) && rest(height, top, bottom)).then_some(())
    }

    fn crop_units(&self) -> (u32, u32) {
        let (x, y) = match (self.chroma_format, self.separate_planes) {
            (1, _) => (2, 2),
            (2, _) => (2, 1),
            _ => (1, 1),
        };
        (x, if self.frames_only { y } else { 2 * y })
    }

    fn coded(&self) -> (u32, u32) {
        (self.macroblocks.0 * 16, self.macroblocks.1 * 16)
    }

    /// Size of the pictures after cropping.
    pub(in crate::lint) fn size(&self) -> (u32, u32) {
        let (width, height) = self.coded();
        let [left, right, top, bottom] = self.crop;
        (width - left - right, height - top - bottom)
    }

    pub(super) fn macroblocks(&self) -> u64 {
        u64::from(self.macroblocks.0) * u64::from(self.macroblocks.1)
    }
}

/// Passes over scaling lists (7.3.2.1.1.1).
pub(super) fn scaling_lists(bits: &mut Bits<'_>, count: usize) -> Option<()> {
    for list in 0..count {
        if !bits.bit()? {
            continue;
        }
        let (mut last, mut next) = (8, 8);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                let delta = bits.se().filter(|delta| (-128..128).contains(delta))?;
                next = (last + delta + 256) % 256;
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

fn order(bits: &mut Bits<'_>) -> Option<Order> {
    match bits.ue()? {
        0 => Some(Order::Bits(4 + bits.ue().filter(|more| *more <= 12)?)),
        1 => {
            let always_zero = bits.bit()?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue().filter(|count| *count <= 255)? {
                bits.se()?;
            }
            Some(Order::Cycle { always_zero })
        }
        2 => Some(Order::Decoding),
        _ => None,
    }
}

fn vui(bits: &mut Bits<'_>) -> Option<Vui> {
    let mut vui = Vui::default();
    if bits.bit()? {
        vui.aspect = aspect(bits)?;
    }
    if bits.bit()? {
        bits.bit()?;
    }
    if bits.bit()? {
        bits.u(3)?;
        vui.full_range = Some(bits.bit()?);
        if bits.bit()? {
            vui.colour = Some([bits.u(8)? as u8, bits.u(8)? as u8, bits.u(8)? as u8]);
        }
    }
    if bits.bit()? {
        bits.ue().filter(|place| *place <= 5)?;
        bits.ue().filter(|place| *place <= 5)?;
    }
    if bits.bit()? {
        let (units, scale) = (u64::from(bits.u(32)?), u64::from(bits.u(32)?));
        let fixed = bits.bit()?;
        // Two units are a frame, because one is a field.
        vui.timing = (units > 0 && scale > 0).then_some((scale, 2 * units, fixed));
        vui.timing?;
    }
    let (nal, vcl) = (hrd(bits)?, hrd(bits)?);
    if nal || vcl {
        bits.bit()?;
    }
    bits.bit()?;
    if bits.bit()? {
        vui.reorder = Some(restriction(bits)?);
    }
    Some(vui)
}

fn aspect(bits: &mut Bits<'_>) -> Option<Option<(u16, u16)>> {
    match bits.u(8)? {
        0 => Some(None),
        EXTENDED_ASPECT => {
            let ratio = (bits.u(16)? as u16, bits.u(16)? as u16);
            Some((ratio.0 > 0 && ratio.1 > 0).then_some(ratio))
        }
        known => ASPECTS.get(known as usize - 1).copied().map(Some),
    }
}

/// Passes over buffering parameters; whether there are any.
fn hrd(bits: &mut Bits<'_>) -> Option<bool> {
    if !bits.bit()? {
        return Some(false);
    }
    let count = bits.ue().filter(|count| *count < 32)?;
    bits.u(8)?;
    for _ in 0..=count {
        bits.ue()?;
        bits.ue()?;
        bits.bit()?;
    }
    bits.u(20)?;
    Some(true)
}

fn restriction(bits: &mut Bits<'_>) -> Option<(u32, u32)> {
    bits.bit()?;
    for _ in 0..4 {
        bits.ue().filter(|value| *value <= 16)?;
    }
    let reorder = bits.ue().filter(|frames| *frames <= 16)?;
    let buffered = bits.ue().filter(|frames| *frames <= 16)?;
    (reorder <= buffered).then_some((reorder, buffered))
}
