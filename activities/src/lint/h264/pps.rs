use super::sps::{Sps, scaling_lists};
use crate::lint::bits::{Bits, payload};

/// A picture parameter set, as far as slice headers need it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::lint) struct Pps {
    pub(in crate::lint) id: u32,
    pub(in crate::lint) sps: u32,
    pub(in crate::lint) cabac: bool,
    pub(super) order_in_frame: bool,
    /// Whether it has what only the high profiles have.
    pub(in crate::lint) is_high: bool,
}

impl Pps {
    /// Reads a NAL unit; `None` if it is none, or has other bits than its syntax asks for. Slice
    /// groups, which only the extended and baseline profiles have, are not read.
    pub(in crate::lint) fn read(unit: &[u8], sets: &[Sps]) -> Option<Self> {
        let payload = payload(unit);
        let mut bits = Bits::of(&payload);
        let id = bits.ue().filter(|id| *id < 256)?;
        let sps = bits.ue().filter(|id| *id < 32)?;
        let cabac = bits.bit()?;
        let order_in_frame = bits.bit()?;
        bits.ue().filter(|groups| *groups == 0)?;
        for _ in 0..2 {
            bits.ue().filter(|references| *references < 32)?;
        }
        bits.bit()?;
        bits.u(2).filter(|weighted| *weighted < 3)?;
        for _ in 0..2 {
            bits.se()
                .filter(|quantiser| (-62..=25).contains(quantiser))?;
        }
        bits.se().filter(|offset| (-12..=12).contains(offset))?;
        // Deblocking control, constrained intra prediction, redundant pictures.
        bits.u(3)?;
        let is_high = bits.more();
        if is_high {
            let transform = bits.bit()?;
            let planes = sets.iter().find(|set| set.id == sps);
            let large = planes.map_or(2, |set| if set.chroma_format == 3 { 6 } else { 2 });
            if bits.bit()? {
                scaling_lists(&mut bits, 6 + if transform { large } else { 0 })?;
            }
            bits.se().filter(|offset| (-12..=12).contains(offset))?;
        }
        bits.ends().then_some(Self {
            id,
            sps,
            cabac,
            order_in_frame,
            is_high,
        })
    }
}
