//! How good a picture is as a cover, from a small copy of it and of one that follows shortly.

use crate::media::paint::Rgb;

/// Margin that is left out on each side, as a part of the edge: the bars of a letterbox (13 % for
/// 2.39:1 in 16:9) would count as contrast and sharp edges.
const MARGIN: f64 = 0.15;

/// Mean luma (0 to 255) outside of which a picture is too dark or too bright, and that at which it
/// is worth nothing. Limited-range black is 0 here.
const DARK: (f64, f64) = (8.0, 50.0);
const BRIGHT: (f64, f64) = (247.0, 205.0);

/// Standard deviation of the luma of a picture with full contrast. A black frame with grain has
/// less than 5, a picture in a fade 10 to 20, scenes 30 and more.
const FULL_CONTRAST: f64 = 40.0;

/// Entropy of the luma in 64 steps, in bits, of a picture with full detail; of 6 at most. Titles
/// and colour cards have less than 2.5, scenes 4 and more.
const FULL_ENTROPY: f64 = 4.5;

/// Variance of the Laplacian of a sharp picture of the size that is looked at. Scenes have 100 to
/// 3000, a picture out of focus less than 15.
const SHARP: f64 = 150.0;

/// By how much of the mean luma a picture may change until the one that follows shortly, without
/// counting as a fade, and the change at which it is one for certain.
const FADE: (f64, f64) = (4.0, 16.0);

/// What is left of the score of a picture in the middle of a fade, and of one that stands still. The
/// latter is below [`GOOD`], so that something that moves is looked for, and well above a fade: of
/// photographs that are blended into each other, each is better than two at once.
const FADING_WORTH: f64 = 0.3;
const FROZEN_WORTH: f64 = 0.45;

/// From this score on a picture is good enough not to look at more.
pub(super) const GOOD: f64 = 0.5;

/// Two pictures are the same one if their lumas differ by less than this on average, and if fewer than this
/// part of the pixels differ by more than [`MOVES`]. Encoders improve a still from frame to frame, by 0.3 and
/// hardly anywhere by more than that; a camera before which nothing happens has noise of 0.8, rolling credits
/// 0.3 and 1 % of the pixels, scenes 10 % and more.
const FROZEN: (f64, f64) = (0.5, 0.001);
const MOVES: f64 = 12.0;

/// What is measured on one picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Looks {
    mean: f64,
    deviation: f64,
    entropy: f64,
    laplacian: f64,
    /// Change of the mean luma until shortly after, mean change of the luma of each pixel, and the part of
    /// the pixels that move.
    fade: f64,
    difference: f64,
    moved: f64,
}

impl Looks {
    /// Looks at a picture and at the one that follows shortly; the same one at the end of a video.
    pub(super) fn of(picture: &Rgb, after: &Rgb) -> Self {
        let (now, then) = (Grey::middle_of(picture), Grey::middle_of(after));
        let mean = now.mean();
        Self {
            mean,
            deviation: now.deviation(mean),
            entropy: now.entropy(),
            laplacian: now.laplacian_variance(),
            fade: (then.mean() - mean).abs(),
            difference: now.difference(&then),
            moved: now.moved(&then),
        }
    }

    /// From 0, black, to 1. Factors, so that one bad property is not made up for by the others.
    pub(super) fn score(&self) -> f64 {
        let exposure = ramp(self.mean, DARK).min(ramp(self.mean, BRIGHT));
        let contrast = (self.deviation / FULL_CONTRAST).min(1.0);
        let detail = (self.entropy / FULL_ENTROPY).min(1.0);
        let sharpness = (self.laplacian.ln_1p() / SHARP.ln_1p()).min(1.0);
        exposure * contrast.sqrt() * detail * sharpness * sharpness * self.steadiness()
    }

    fn steadiness(&self) -> f64 {
        if self.difference < FROZEN.0 && self.moved < FROZEN.1 {
            return FROZEN_WORTH;
        }
        1.0 - (1.0 - FADING_WORTH) * ramp(self.fade, FADE)
    }
}

/// 0 at the first value, 1 at the second, linear in between.
fn ramp(value: f64, (zero, one): (f64, f64)) -> f64 {
    ((value - zero) / (one - zero)).clamp(0.0, 1.0)
}

/// Lumas (0 to 255), row by row.
struct Grey {
    width: usize,
    lumas: Vec<f64>,
}

impl Grey {
    /// The middle of a picture, in BT.601 weights.
    fn middle_of(picture: &Rgb) -> Self {
        let (width, height) = (picture.size.width as usize, picture.size.height as usize);
        let middle = |length: usize| {
            let margin = (length as f64 * MARGIN) as usize;
            margin..length - margin
        };
        let (columns, rows) = (middle(width), middle(height));
        let luma = |[r, g, b]: &[u8; 3]| {
            0.299 * f64::from(*r) + 0.587 * f64::from(*g) + 0.114 * f64::from(*b)
        };
        let lumas = (picture.bytes.chunks_exact(width * 3))
            .skip(rows.start)
            .take(rows.len())
            .flat_map(|row| row.as_chunks::<3>().0[columns.clone()].iter().map(luma));
        Self {
            width: columns.len(),
            lumas: lumas.collect(),
        }
    }

    fn mean(&self) -> f64 {
        mean(self.lumas.iter().copied())
    }

    fn deviation(&self, mean_luma: f64) -> f64 {
        mean(self.lumas.iter().map(|luma| (luma - mean_luma).powi(2))).sqrt()
    }

    fn entropy(&self) -> f64 {
        let mut counts = [0_u32; 64];
        for luma in &self.lumas {
            counts[(*luma as usize / 4).min(63)] += 1;
        }
        let parts = counts.iter().filter(|count| **count > 0);
        parts
            .map(|count| f64::from(*count) / self.lumas.len() as f64)
            .map(|part| -part * part.log2())
            .sum()
    }

    /// Variance of the four-neighbour Laplacian: high where there are fine edges.
    fn laplacian_variance(&self) -> f64 {
        let rows: Vec<&[f64]> = self.lumas.chunks_exact(self.width.max(1)).collect();
        let laplacians = rows.windows(3).flat_map(|three| {
            let [above, row, below] = [three[0], three[1], three[2]];
            (1..row.len().saturating_sub(1))
                .map(move |x| above[x] + below[x] + row[x - 1] + row[x + 1] - 4.0 * row[x])
        });
        // Its mean is 0 but for the borders.
        mean(laplacians.map(|value| value * value))
    }

    fn difference(&self, other: &Self) -> f64 {
        let pairs = self.lumas.iter().zip(&other.lumas);
        mean(pairs.map(|(a, b)| (a - b).abs()))
    }

    /// The part of the pixels that differ visibly.
    fn moved(&self, other: &Self) -> f64 {
        let pairs = self.lumas.iter().zip(&other.lumas);
        mean(pairs.map(|(a, b)| f64::from((a - b).abs() > MOVES)))
    }
}

/// 0 for nothing.
fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    sum / f64::max(count, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::report::Size;

    const SIDE: usize = 64;

    fn grey(luma: impl Fn(usize, usize) -> f64) -> Rgb {
        let size = Size {
            width: SIDE as u32,
            height: SIDE as u32,
        };
        let lumas = (0..SIDE * SIDE).map(|n| luma(n % SIDE, n / SIDE) as u8);
        Rgb {
            size,
            bytes: lumas.flat_map(|luma| [luma; 3]).collect(),
        }
    }

    /// Something with edges and many tones, `level` as bright as it can be, moved to the right.
    fn scene(level: f64, moved: usize) -> Rgb {
        grey(move |x, y| {
            let x = x + moved;
            let tones = (x * 3 + y * 2) % 160;
            let edges = 60 * ((x / 5 + y / 7) % 2);
            level * (tones + edges) as f64
        })
    }

    fn score(picture: &Rgb, after: &Rgb) -> f64 {
        Looks::of(picture, after).score()
    }

    #[test]
    fn a_scene_beats_everything_that_is_no_picture() {
        let good = score(&scene(1.0, 0), &scene(1.0, 2));
        assert!(good > 0.8, "{good}");
        let letterbox = grey(|_, y| if (8..56).contains(&y) { 170.0 } else { 0.0 });
        let soft = grey(|x, y| 128.0 + 60.0 * ((x as f64 / 30.0).sin() + (y as f64 / 25.0).cos()));
        let card = grey(|x, _| if x < SIDE / 2 { 60.0 } else { 200.0 });
        for (what, picture) in [
            ("black", grey(|_, _| 0.0)),
            ("white", grey(|_, _| 255.0)),
            ("a letterbox around nothing", letterbox),
            ("out of focus", soft),
            ("a colour card", card),
        ] {
            let score = score(&picture, &picture);
            assert!(score < good / 2.0, "{what}: {score}");
        }
    }

    #[test]
    fn a_picture_that_fades_or_stands_still_is_worth_less() {
        let good = score(&scene(1.0, 0), &scene(1.0, 2));
        assert!(score(&scene(0.6, 0), &scene(0.3, 2)) < good / 2.0);
        let frozen = score(&scene(1.0, 0), &scene(1.0, 0));
        assert!(frozen < good / 2.0 && frozen < GOOD, "{frozen}");
        assert!(frozen > good / 3.0, "{frozen}");
    }

    #[test]
    fn a_picture_of_one_pixel_has_a_score() {
        let size = Size {
            width: 1,
            height: 1,
        };
        let bytes = vec![9; 3];
        let dot = Rgb { size, bytes };
        assert!(score(&dot, &dot).is_finite());
    }
}
