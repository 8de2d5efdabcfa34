//! Reads bits and Exp-Golomb codes (ITU-T H.264, 7.2 and 9.1); every read answers `None` behind
//! the end.

use std::borrow::Cow;

#[derive(Debug, Clone)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn bit(&mut self) -> Option<bool> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit == 1)
    }

    /// At most 32 bits.
    pub(super) fn u(&mut self, count: u32) -> Option<u32> {
        let mut value = 0_u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    /// Passes over what is left of a byte.
    pub(super) fn align(&mut self) {
        self.at = self.at.next_multiple_of(8);
    }

    /// An unsigned Exp-Golomb code.
    pub(super) fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let tail = self.u(zeros)?;
        ((1_u32 << zeros) - 1).checked_add(tail)
    }

    /// A signed Exp-Golomb code.
    pub(super) fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code % 2 == 1 {
            (code + 1) / 2
        } else {
            -code / 2
        })
    }

    /// Whether more follows than the one bit and the zeros that end a payload.
    pub(super) fn more(&self) -> bool {
        let last = self.bytes.iter().rposition(|byte| *byte != 0);
        let end = last.map_or(0, |last| {
            last * 8 + 7 - self.bytes[last].trailing_zeros() as usize
        });
        self.at < end
    }

    /// Whether what follows is the end of a payload: a one bit, and zeros to the end of its byte,
    /// which is the last.
    pub(super) fn ends(&mut self) -> bool {
        if self.bit() != Some(true) {
            return false;
        }
        while !self.at.is_multiple_of(8) {
            if self.bit() != Some(false) {
                return false;
            }
        }
        self.at / 8 == self.bytes.len()
    }
}

/// A NAL unit without its header and without the bytes that keep it from looking like a start
/// code.
pub(super) fn payload(unit: &[u8]) -> Cow<'_, [u8]> {
    let body = unit.get(1..).unwrap_or_default();
    if !body.windows(3).any(|three| three == [0, 0, 3]) {
        return Cow::Borrowed(body);
    }
    let mut plain = Vec::with_capacity(body.len());
    let mut zeros = 0;
    for byte in body {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        plain.push(*byte);
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read() {
        // 1 010 011 00100 1 | stop
        let mut bits = Bits::of(&[0b1010_0110, 0b0100_1100]);
        assert_eq!(bits.ue(), Some(0));
        assert_eq!(bits.ue(), Some(1));
        assert_eq!(bits.se(), Some(-1));
        assert_eq!(bits.ue(), Some(3));
        assert_eq!(bits.u(1), Some(1));
        assert!(!bits.more());
        assert!(bits.ends());
        assert_eq!(bits.bit(), None);
    }

    #[test]
    fn endless_zeros_are_no_code() {
        assert_eq!(Bits::of(&[0; 64]).ue(), None);
        assert_eq!(Bits::of(&[]).ue(), None);
        assert_eq!(Bits::of(&[0, 0, 0, 0, 128, 255, 255, 255]).ue(), None);
    }

    #[test]
    fn emulation_prevention_is_taken_out() {
        assert_eq!(*payload(&[0x67, 0, 0, 3, 1, 0, 0, 3]), [0, 0, 1, 0, 0]);
        assert_eq!(*payload(&[0x67, 0, 3]), [0, 3]);
    }
}
