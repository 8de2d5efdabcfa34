//! The way of one colour through light.

use super::cube::Levels;
use super::curves;
use crate::media::report::Colour;

/// Peak of PQ whose peak is not said: that of the displays on which most of it is made.
const USUAL_PEAK_NITS: f64 = 1000.0;

/// What is said of the peak is believed within these: it is wrong often.
const PEAKS_NITS: (f64, f64) = (400.0, 10_000.0);

/// How much each of red, green and blue adds to luminance, in BT.2020, BT.709 and BT.601.
const WIDE_WEIGHTS: [f64; 3] = [0.2627, 0.678, 0.0593];
const WEIGHTS: [f64; 3] = [0.2126, 0.7152, 0.0722];
const BT601_WEIGHTS: [f64; 3] = [0.299, 0.587, 0.114];

type Matrix = [[f64; 3]; 3];

/// From light in other primaries to light in those of BT.709: BT.2020 (ITU-R BT.2407), and P3 with its
/// white at D65 (SMPTE RP 432).
const FROM_BT2020: Matrix = [
    [1.660_491, -0.587_641, -0.072_850],
    [-0.124_550, 1.132_899, -0.008_349],
    [-0.018_151, -0.100_579, 1.118_730],
];
const FROM_P3: Matrix = [
    [1.224_940, -0.224_940, 0.0],
    [-0.042_057, 1.042_057, 0.0],
    [-0.019_638, -0.078_636, 1.098_274],
];
const FROM_BT709: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// Which light the numbers of a source stand for.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) full_range: bool,
    curve: Curve,
    /// How much each of red, green and blue adds to luma.
    luma_weights: [f64; 3],
    to_bt709: Matrix,
}

#[derive(Debug)]
enum Curve {
    Pq { peak_nits: f64 },
    Hlg,
}

impl Source {
    /// What a source says, and BT.2020 where it says nothing; `None` for standard range.
    pub(super) fn of(said: &Colour) -> Option<Self> {
        let curve = match super::kind(said)? {
            "hlg" => Curve::Hlg,
            _ => Curve::Pq {
                peak_nits: peak_nits(said),
            },
        };
        let luma_weights = match said.matrix.as_deref() {
            Some("bt709") => WEIGHTS,
            Some("smpte170m") => BT601_WEIGHTS,
            _ => WIDE_WEIGHTS,
        };
        let to_bt709 = match said.primaries.as_deref() {
            Some("bt709") => FROM_BT709,
            Some("smpte432") => FROM_P3,
            _ => FROM_BT2020,
        };
        // RGB has become limited range on the way here.
        let rgb = said.matrix.as_deref() == Some("gbr");
        Some(Self {
            full_range: !rgb && said.range.as_deref() == Some("full"),
            curve,
            luma_weights,
            to_bt709,
        })
    }

    /// A colour of ten bits as one of BT.709 with eight, limited range.
    pub(super) fn standard(&self, [y, cb, cr]: Levels) -> Levels {
        let (y, cb, cr) = if self.full_range {
            (y / 1023.0, (cb - 512.0) / 1023.0, (cr - 512.0) / 1023.0)
        } else {
            (
                (y - 64.0) / 876.0,
                (cb - 512.0) / 896.0,
                (cr - 512.0) / 896.0,
            )
        };
        let light = self.light(rgb([y, cb, cr], self.luma_weights));
        let [y, cb, cr] = ycbcr(light.map(curves::standard_number));
        [16.0 + 219.0 * y, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr]
    }

    /// Light of the primaries of BT.709, from 0 to 1.
    fn light(&self, numbers: [f64; 3]) -> [f64; 3] {
        let (nits, peak_nits) = match self.curve {
            Curve::Pq { peak_nits } => (numbers.map(curves::pq_nits), peak_nits),
            Curve::Hlg => (
                curves::hlg_nits(numbers, WIDE_WEIGHTS),
                curves::HLG_PEAK_NITS,
            ),
        };
        let [r, g, b] = nits;
        let shown = within_gamut(
            self.to_bt709
                .map(|row| row[0] * r + row[1] * g + row[2] * b),
        );
        let brightest = shown.into_iter().fold(0.0, f64::max);
        if brightest <= 0.0 {
            return [0.0; 3];
        }
        let part = curves::rolled_off(brightest, peak_nits) / brightest / curves::WHITE_NITS;
        shown.map(|channel| channel * part)
    }
}

/// Peak of PQ. `said` is the level of the brightest pixel, or what the mastering display could show.
fn peak_nits(said: &Colour) -> f64 {
    let (least, most) = PEAKS_NITS;
    let said = said.peak_nits.map(f64::from);
    said.map_or(USUAL_PEAK_NITS, |nits| nits.clamp(least, most))
}

/// Mixes a colour that BT.709 does not have, as one channel is less than nothing, with grey of the same
/// luminance, as little as will do.
fn within_gamut(light: [f64; 3]) -> [f64; 3] {
    let (luminance, least) = (luminance(light), light.into_iter().fold(0.0, f64::min));
    if least >= 0.0 || luminance <= 0.0 {
        return light.map(|channel| channel.max(0.0));
    }
    let part = luminance / (luminance - least);
    light.map(|channel| luminance + part * (channel - luminance))
}

fn luminance(light: [f64; 3]) -> f64 {
    light
        .iter()
        .zip(WEIGHTS)
        .map(|(channel, weight)| channel * weight)
        .sum()
}

/// Y, Cb and Cr around 0 as red, green and blue.
fn rgb([y, cb, cr]: [f64; 3], [kr, kg, kb]: [f64; 3]) -> [f64; 3] {
    let (r, b) = (y + 2.0 * (1.0 - kr) * cr, y + 2.0 * (1.0 - kb) * cb);
    [r, (y - kr * r - kb * b) / kg, b]
}

/// Red, green and blue as Y, Cb and Cr of BT.709.
fn ycbcr([r, g, b]: [f64; 3]) -> [f64; 3] {
    let y = luminance([r, g, b]);
    let [kr, _, kb] = WEIGHTS;
    [
        y,
        (b - y) / (2.0 * (1.0 - kb)),
        (r - y) / (2.0 * (1.0 - kr)),
    ]
}
