//! What is in the samples of H.264.

use super::super::boxes::{BoxView, Fields};
use super::super::h264::{
    NAL_AUD, NAL_FILLER, NAL_IDR, NAL_PPS, NAL_SEI, NAL_SLICE, NAL_SPS, Picture, read_picture,
};
use super::super::header::Avc;
use super::super::report::{FileReport, Place};
use super::super::rules::Rule;
use super::track::shown;
use super::{Fragment, TrackSoFar};

/// Pictures behind which one is looked for that is shown later: none is reordered over more
/// than 16.
const REORDER_WINDOW: usize = 32;

/// What the pictures so far say of the next one.
#[derive(Debug, Default)]
pub(in crate::lint) struct Pictures {
    /// Frame number of the last picture that others refer to.
    reference: u32,
    /// High bits and low bits of its picture order count.
    order: (i64, u32),
    /// IDR pictures so far.
    period: u64,
    /// Place in the order of display, and time of display, of the pictures of the segment, in order
    /// of decoding.
    displayed: Vec<((u64, i64), i64)>,
    /// Whether display cannot be told from decoding alone (fields, cycles).
    untold: bool,
}

/// Checks the samples of a fragment.
pub(super) fn check(
    fragment: &Fragment,
    (avc, mdat): (&Avc, &BoxView<'_>),
    begins_segment: bool,
    so_far: &mut TrackSoFar,
    report: &mut FileReport<'_>,
) {
    let pictures = &mut so_far.pictures;
    if begins_segment {
        pictures.displayed.clear();
        pictures.untold = false;
    }
    let mut data = Fields::of(mdat.body);
    for (number, (sample, shown)) in fragment.samples.iter().zip(shown(fragment)).enumerate() {
        let Some(bytes) = data.bytes(sample.size as usize) else {
            // The sizes are found wrong elsewhere.
            break;
        };
        let context = InSample {
            avc,
            place: mdat.place(),
            number: number + 1,
        };
        let Some(picture) = context.picture(bytes, report) else {
            continue;
        };
        let first = begins_segment && number == 0;
        if first && !picture.idr {
            context.say(Rule::AvcIdr, "it is no IDR picture", report);
            // Its place among those before it, which may have been left out, is not known.
            pictures.untold = true;
        }
        if picture.idr != sample.is_sync() && (picture.idr || !first) {
            let what = "the flags say otherwise than the picture whether decoding can begin";
            context.say(Rule::CmafSampleFlags, what, report);
        }
        pictures.follow(&picture, shown, &context, report);
    }
}

struct InSample<'a> {
    avc: &'a Avc,
    place: Place,
    number: usize,
}

impl InSample<'_> {
    fn say(&self, rule: Rule, what: &str, report: &mut FileReport<'_>) {
        let what = format!("{what} (sample {})", self.number);
        report.say(rule, self.place.clone(), what);
    }

    /// The first slice of a sample.
    fn picture(&self, sample: &[u8], report: &mut FileReport<'_>) -> Option<Picture> {
        let (mut first, mut before) = (None, None);
        let mut rest = sample;
        while !rest.is_empty() {
            let Some((unit, next)) = split(rest, self.avc.length_bytes) else {
                self.say(Rule::AvcNal, "NAL units do not fill the sample", report);
                return first;
            };
            rest = next;
            if let Some(what) = broken_header(unit) {
                self.say(Rule::AvcNal, what, report);
                return first;
            }
            match unit[0] & 0x1f {
                NAL_SLICE | NAL_IDR => {
                    let picture = self.slice(unit, before.as_ref(), report);
                    first = first.or_else(|| picture.clone());
                    before = picture.or(before);
                }
                NAL_SPS | NAL_PPS => self.parameter_set(unit, report),
                _ => {}
            }
        }
        if first.is_none() {
            self.say(Rule::AvcNal, "the sample has no picture", report);
        }
        first
    }

    /// A slice, before which the sample has another or none.
    fn slice(
        &self,
        unit: &[u8],
        before: Option<&Picture>,
        report: &mut FileReport<'_>,
    ) -> Option<Picture> {
        let read = read_picture(unit, &self.avc.sequence, &self.avc.pictures);
        match read {
            Ok(picture) => {
                let other_field = |before: &Picture| before.bottom != picture.bottom;
                let begins = before.is_none_or(other_field);
                if begins != (picture.first_macroblock == 0) {
                    let what = "slices of a picture are missing or doubled";
                    self.say(Rule::AvcSlice, what, report);
                }
                if picture.idr && !matches!(picture.slice_type, 2 | 4) {
                    let what = "an IDR picture has a slice that depends on others";
                    self.say(Rule::AvcSlice, what, report);
                }
                Some(picture)
            }
            // Samples of avc3 may bring sets that are not followed here.
            Err(_) if self.avc.in_band => None,
            Err(what) => {
                self.say(Rule::AvcSlice, what, report);
                None
            }
        }
    }

    fn parameter_set(&self, unit: &[u8], report: &mut FileReport<'_>) {
        let known = self.avc.units.iter().any(|known| known == unit);
        if !known && !self.avc.in_band {
            let what = "a parameter set that the header does not have";
            self.say(Rule::AvcInBand, what, report);
        }
    }
}

/// The first NAL unit, which is not empty, and what is behind it.
fn split(bytes: &[u8], length_bytes: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(length_bytes)?;
    let length = length
        .iter()
        .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
    let parts = rest.split_at_checked(length)?;
    (length > 0).then_some(parts)
}

/// What is wrong with the first byte of a NAL unit.
fn broken_header(unit: &[u8]) -> Option<&'static str> {
    let (forbidden, reference, kind) = (unit[0] >> 7, unit[0] >> 5 & 3, unit[0] & 0x1f);
    match kind {
        _ if forbidden != 0 => Some("the forbidden bit of a NAL unit is set"),
        NAL_IDR if reference == 0 => Some("nothing may refer to an IDR picture"),
        NAL_SEI | NAL_AUD | 10..=NAL_FILLER if reference != 0 => {
            Some("a NAL unit that is no picture is said to be referred to")
        }
        NAL_SPS | NAL_PPS if reference == 0 => Some("a parameter set is said to be of no use"),
        0 | 2..=4 | 16..=18 | 22..=31 => Some("a NAL unit of a type that does not belong here"),
        _ => None,
    }
}

impl Pictures {
    fn follow(
        &mut self,
        picture: &Picture,
        shown: i64,
        context: &InSample<'_>,
        report: &mut FileReport<'_>,
    ) {
        let sps = &context.avc.sequence[picture.sps];
        if picture.field || !sps.frames_only {
            self.untold = true;
        }
        if picture.idr {
            self.period += 1;
            self.reference = 0;
            self.order = (0, 0);
            if picture.frame_num != 0 {
                let what = "the frame number of an IDR picture is not 0";
                context.say(Rule::AvcSlice, what, report);
            }
        } else if !self.untold && !sps.gaps_allowed {
            let expected = (self.reference + 1) % picture.frame_num_end;
            if self.period > 0 && picture.frame_num != expected {
                let what = "the frame number does not follow those before it";
                context.say(Rule::AvcSlice, what, report);
            }
        }
        let order = self.order_of(picture);
        if picture.reference {
            self.reference = picture.frame_num;
        }
        if let Some(order) = order {
            self.displayed.push(((self.period, order), shown));
        } else {
            self.untold = true;
        }
    }

    /// Picture order count (8.2.1), as far as it orders pictures.
    fn order_of(&mut self, picture: &Picture) -> Option<i64> {
        if picture.follows_decoding {
            return Some(self.displayed.len() as i64);
        }
        let (low, count) = picture.order_bits?;
        let (high_before, low_before) = self.order;
        let range = 1_i64 << count;
        let step = i64::from(low) - i64::from(low_before);
        let high = if step <= -range / 2 {
            high_before + range
        } else if step > range / 2 {
            high_before - range
        } else {
            high_before
        };
        if picture.reference {
            self.order = (high, low);
        }
        Some(high + i64::from(low))
    }

    pub(super) fn check_order(&mut self, avc: &Avc, place: &Place, report: &mut FileReport<'_>) {
        if self.untold {
            return;
        }
        let rule = Rule::AvcOrder;
        let reordered = reordered(&self.displayed);
        self.displayed.sort_unstable();
        if self.displayed.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            report.say(
                rule,
                place.clone(),
                "two pictures have one place in the order of display",
            );
        } else if self.displayed.windows(2).any(|pair| pair[0].1 >= pair[1].1) {
            let what = "pictures are shown in another order than they tell";
            report.say(rule, place.clone(), what);
        }
        let reorder = avc.sequence.first().and_then(|sps| sps.vui.reorder);
        if let Some((allowed, _)) = reorder
            && reordered > allowed as usize
        {
            let at = (place.clone(), "pictures that wait for an earlier one");
            report.differs(rule, at, format!("at most {allowed}"), reordered);
        }
    }
}

/// How many pictures at most are decoded before one that is shown before them.
fn reordered(displayed: &[((u64, i64), i64)]) -> usize {
    let waits = displayed.iter().enumerate().map(|(at, (_, shown))| {
        let before = &displayed[at.saturating_sub(REORDER_WINDOW)..at];
        before.iter().filter(|(_, other)| other > shown).count()
    });
    waits.max().unwrap_or(0)
}
