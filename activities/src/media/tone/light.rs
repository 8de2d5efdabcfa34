//! The way of one colour through light.

use gstreamer_video::{VideoColorMatrix, VideoColorRange};

use super::cube::Levels;
use super::{HighRange, curves};
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
    pub(super) range: VideoColorRange,
    pub(super) matrix: VideoColorMatrix,
    curve: Curve,
    to_bt709: Matrix,
}

#[derive(Debug)]
enum Curve {
    Pq { peak_nits: f64 },
    Hlg,
}

impl Source {
    /// What a source says, and limited range and BT.2020 where it says nothing, or that its numbers are RGB;
    /// `None` for standard range.
    pub(super) fn of(said: &Colour) -> Option<Self> {
        let curve = match super::kind(said)? {
            HighRange::Hlg => Curve::Hlg,
            HighRange::Hdr10 => Curve::Pq {
                peak_nits: peak_nits(said),
            },
        };
        let range = match said.range.as_deref() {
            Some("full") => VideoColorRange::Range0_255,
            _ => VideoColorRange::Range16_235,
        };
        let matrix = match said.matrix.as_deref() {
            Some("bt709") => VideoColorMatrix::Bt709,
            Some("smpte170m") => VideoColorMatrix::Bt601,
            _ => VideoColorMatrix::Bt2020,
        };
        let to_bt709 = match said.primaries.as_deref() {
            // Those of standard definition are nearly the same.
            Some("bt709" | "smpte170m" | "bt470bg") => FROM_BT709,
            Some("smpte432") => FROM_P3,
            _ => FROM_BT2020,
        };
        Some(Self {
            range,
            matrix,
            curve,
            to_bt709,
        })
    }

    /// A colour of ten bits as one of BT.709 with eight, limited range.
    pub(super) fn standard(&self, [y, cb, cr]: Levels) -> Levels {
        let (y, cb, cr) = if self.range == VideoColorRange::Range0_255 {
            (y / 1023.0, (cb - 512.0) / 1023.0, (cr - 512.0) / 1023.0)
        } else {
            (
                (y - 64.0) / 876.0,
                (cb - 512.0) / 896.0,
                (cr - 512.0) / 896.0,
            )
        };
        let light = self.light(rgb([y, cb, cr], self.luma_weights()));
        let [y, cb, cr] = ycbcr(light.map(curves::standard_number));
        [16.0 + 219.0 * y, 128.0 + 224.0 * cb, 128.0 + 224.0 * cr]
    }

    /// How much each of red, green and blue adds to luma.
    fn luma_weights(&self) -> [f64; 3] {
        match self.matrix {
            VideoColorMatrix::Bt709 => WEIGHTS,
            VideoColorMatrix::Bt601 => BT601_WEIGHTS,
            _ => WIDE_WEIGHTS,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: [f64; 3], b: [f64; 3], within: f64) {
        let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        assert!(off.fold(0.0, f64::max) <= within, "{a:?} is not {b:?}");
    }

    fn times(matrix: Matrix, [r, g, b]: [f64; 3]) -> [f64; 3] {
        matrix.map(|row| row[0] * r + row[1] * g + row[2] * b)
    }

    fn said(primaries: &str, matrix: &str) -> Colour {
        let word = |word: &str| Some(word.to_owned());
        Colour {
            primaries: word(primaries),
            transfer: word("smpte2084"),
            matrix: word(matrix),
            range: word("limited"),
            peak_nits: None,
        }
    }

    #[test]
    fn white_is_the_same_in_all_primaries() {
        for matrix in [FROM_BT2020, FROM_P3, FROM_BT709] {
            near(times(matrix, [1.0; 3]), [1.0; 3], 2e-6);
        }
    }

    #[test]
    fn luminance_is_the_same_in_all_primaries() {
        // Y of the primaries of P3 with its white at D65 (SMPTE RP 432).
        let p3 = [0.228_975, 0.691_739, 0.079_287];
        for (matrix, weights) in [(FROM_BT2020, WIDE_WEIGHTS), (FROM_P3, p3)] {
            for (primary, weight) in weights.into_iter().enumerate() {
                let mut light = [0.0; 3];
                light[primary] = 1.0;
                let told = luminance(times(matrix, light));
                assert!((told - weight).abs() < 2e-4, "{told} is not {weight}");
            }
        }
    }

    #[test]
    fn ycbcr_and_rgb_are_the_way_there_and_back() {
        for colour in [[0.2, 0.5, 0.9], [1.0, 0.0, 0.0], [0.3, 0.3, 0.3]] {
            near(rgb(ycbcr(colour), WEIGHTS), colour, 1e-12);
        }
    }

    #[test]
    fn colours_outside_the_gamut_keep_their_luminance() {
        let green = times(FROM_BT2020, [0.0, 1.0, 0.0]);
        assert!(green[0] < 0.0);
        let shown = within_gamut(green);
        assert!(shown.iter().all(|channel| *channel >= -1e-12));
        assert!((luminance(shown) - luminance(green)).abs() < 1e-12);
        assert_eq!(within_gamut([0.1, 0.2, 0.3]), [0.1, 0.2, 0.3]);
    }

    #[test]
    fn the_same_light_is_the_same_picture_whatever_it_is_written_in() {
        // Reflected light of a colour that all three can say.
        let bt709 = [120.0, 60.0, 90.0];
        let back = |matrix: Matrix| {
            // Solved by stepping: the matrices are near to that of doing nothing.
            let mut light = bt709;
            for _ in 0..200 {
                let off = times(matrix, light);
                light = [0, 1, 2].map(|n| light[n] + (bt709[n] - off[n]) * 0.5);
            }
            light
        };
        let picture = |primaries: &str, light: [f64; 3], matrix: &str, [kr, kg, kb]: [f64; 3]| {
            let [r, g, b] = light.map(curves::pq_number);
            let y = kr * r + kg * g + kb * b;
            let levels = [
                64.0 + 876.0 * y,
                512.0 + 896.0 * (b - y) / (2.0 * (1.0 - kb)),
                512.0 + 896.0 * (r - y) / (2.0 * (1.0 - kr)),
            ];
            Source::of(&said(primaries, matrix))
                .unwrap()
                .standard(levels)
        };
        let right = picture("bt709", bt709, "bt709", WEIGHTS);
        let wide = back(FROM_BT2020);
        let p3 = back(FROM_P3);
        near(
            picture("bt2020", wide, "bt2020nc", WIDE_WEIGHTS),
            right,
            0.01,
        );
        near(
            picture("smpte432", p3, "bt2020nc", WIDE_WEIGHTS),
            right,
            0.01,
        );
        near(
            picture("bt2020", wide, "smpte170m", BT601_WEIGHTS),
            right,
            0.01,
        );
        near(picture("bt470bg", bt709, "bt709", WEIGHTS), right, 0.01);
    }
}
