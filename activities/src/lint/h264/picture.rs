use super::NAL_IDR;
use super::pps::Pps;
use super::sps::{Order, Sps};
use crate::lint::bits::{Bits, payload};

/// Bytes of a slice that its header is looked for in: the start of it has 20 at most.
const HEADER_BYTES: usize = 64;

/// The start of the header of a slice.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::lint) struct Picture {
    pub(in crate::lint) idr: bool,
    /// Whether others may refer to it.
    pub(in crate::lint) reference: bool,
    pub(in crate::lint) first_macroblock: u32,
    /// 0 P, 1 B, 2 I, 3 SP, 4 SI.
    pub(in crate::lint) slice_type: u32,
    pub(in crate::lint) frame_num: u32,
    /// One more than the largest frame number.
    pub(in crate::lint) frame_num_end: u32,
    /// A field of an interlaced picture.
    pub(in crate::lint) field: bool,
    /// The lower of two fields.
    pub(in crate::lint) bottom: bool,
    /// The low bits of the picture order count, and how many there are.
    pub(in crate::lint) order_bits: Option<(u32, u32)>,
    pub(in crate::lint) follows_decoding: bool,
    pub(in crate::lint) sps: usize,
}

/// Reads the header of a slice. `Err` says what is wrong with it.
pub(in crate::lint) fn read_picture(
    unit: &[u8],
    sequence: &[Sps],
    pictures: &[Pps],
) -> Result<Picture, &'static str> {
    let payload = payload(unit.get(..HEADER_BYTES).unwrap_or(unit));
    let mut bits = Bits::of(&payload);
    let short = "a slice header is cut off";
    let first_macroblock = bits.ue().ok_or(short)?;
    let slice_type = bits.ue().ok_or(short)?;
    if slice_type > 9 {
        return Err("a slice has no type that exists");
    }
    let id = bits.ue().ok_or(short)?;
    let pps = pictures.iter().find(|set| set.id == id);
    let pps = pps.ok_or("a slice refers to a picture parameter set that is not there")?;
    let place = sequence.iter().position(|set| set.id == pps.sps);
    let place = place.ok_or("a picture parameter set refers to a sequence that is not there")?;
    let header = unit.first().copied().unwrap_or(0);
    let mut picture = Picture {
        idr: header & 0x1f == NAL_IDR,
        reference: header & 0x60 != 0,
        first_macroblock,
        slice_type: slice_type % 5,
        frame_num: 0,
        frame_num_end: 1 << sequence[place].frame_num_bits,
        field: false,
        bottom: false,
        order_bits: None,
        follows_decoding: false,
        sps: place,
    };
    picture
        .rest(&mut bits, &sequence[place], pps)
        .ok_or(short)?;
    if u64::from(first_macroblock) >= sequence[place].macroblocks() {
        return Err("a slice begins behind the end of the picture");
    }
    Ok(picture)
}

impl Picture {
    fn rest(&mut self, bits: &mut Bits<'_>, sps: &Sps, pps: &Pps) -> Option<()> {
        if sps.separate_planes {
            bits.u(2)?;
        }
        self.frame_num = bits.u(sps.frame_num_bits)?;
        if !sps.frames_only {
            self.field = bits.bit()?;
            if self.field {
                self.bottom = bits.bit()?;
            }
        }
        if self.idr {
            bits.ue().filter(|id| *id < 1 << 16)?;
        }
        match sps.order {
            Order::Bits(count) => {
                self.order_bits = Some((bits.u(count)?, count));
                if pps.order_in_frame && !self.field {
                    bits.se()?;
                }
            }
            Order::Cycle { always_zero: false } => {
                bits.se()?;
            }
            Order::Cycle { .. } => {}
            Order::Decoding => self.follows_decoding = true,
        }
        Some(())
    }
}
