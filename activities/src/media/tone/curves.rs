//! The curves between numbers and light, and what is done with light that is too bright.

/// Luminance of reference white in high dynamic range, in cd/m² (ITU-R BT.2408): the white of paper
/// and of captions. It becomes the brightest that standard range has.
pub(super) const WHITE_NITS: f64 = 203.0;

/// The brightest that HLG is made for, in cd/m², and the gamma of its system there (ITU-R BT.2100,
/// table 5).
pub(super) const HLG_PEAK_NITS: f64 = 1000.0;
const HLG_GAMMA: f64 = 1.2;

/// The brightest that PQ can say, in cd/m².
const PQ_PEAK_NITS: f64 = 10_000.0;

/// Luminance of a number of PQ, from 0 to 1, in cd/m² (SMPTE ST 2084).
pub(super) fn pq_nits(number: f64) -> f64 {
    let power = number.clamp(0.0, 1.0).powf(1.0 / M2);
    PQ_PEAK_NITS * ((power - C1).max(0.0) / (C2 - C3 * power)).powf(1.0 / M1)
}

/// The number of PQ for a luminance in cd/m².
pub(super) fn pq_number(nits: f64) -> f64 {
    let power = (nits / PQ_PEAK_NITS).max(0.0).powf(M1);
    ((C1 + C2 * power) / (1.0 + C3 * power)).powf(M2)
}

const M1: f64 = 2610.0 / 16_384.0;
const M2: f64 = 2523.0 / 32.0;
const C1: f64 = 3424.0 / 4096.0;
const C2: f64 = 2413.0 / 128.0;
const C3: f64 = 2392.0 / 128.0;

/// Red, green and blue of HLG, from 0 to 1, as a display of [`HLG_PEAK_NITS`] shows them, in cd/m²
/// (ITU-R BT.2100, table 5). `weights` are those of luminance.
pub(super) fn hlg_nits(numbers: [f64; 3], weights: [f64; 3]) -> [f64; 3] {
    let scene = numbers.map(hlg_scene);
    let luminance: f64 = scene
        .iter()
        .zip(weights)
        .map(|(c, weight)| c * weight)
        .sum();
    let gain = HLG_PEAK_NITS * luminance.max(0.0).powf(HLG_GAMMA - 1.0);
    scene.map(|channel| channel * gain)
}

/// Light before the camera, from 0 to 1, of a number of HLG.
fn hlg_scene(number: f64) -> f64 {
    const A: f64 = 0.178_832_77;
    const B: f64 = 1.0 - 4.0 * A;
    let number = number.clamp(0.0, 1.0);
    if number <= 0.5 {
        return number * number / 3.0;
    }
    let c = 0.5 - A * (4.0 * A).ln();
    (((number - c) / A).exp() + B) / 12.0
}

/// What is left of a luminance on a display that ends at [`WHITE_NITS`], if the brightest is
/// `peak_nits`: the same in the dark, and less and less the brighter it is (ITU-R BT.2390, section 5.4.1,
/// with a black of 0).
pub(super) fn rolled_off(nits: f64, peak_nits: f64) -> f64 {
    let peak = pq_number(peak_nits);
    let number = (pq_number(nits) / peak).min(1.0);
    let white = pq_number(WHITE_NITS) / peak;
    let knee = 1.5 * white - 0.5;
    if number < knee {
        return nits;
    }
    let t = (number - knee) / (1.0 - knee);
    let (t2, t3) = (t * t, t * t * t);
    let bent = (2.0 * t3 - 3.0 * t2 + 1.0) * knee
        + (t3 - 2.0 * t2 + t) * (1.0 - knee)
        + (3.0 * t2 - 2.0 * t3) * white;
    pq_nits(bent * peak)
}

/// The number in standard range for light from 0 to 1, as its displays show it (ITU-R BT.1886).
pub(super) fn standard_number(light: f64) -> f64 {
    light.clamp(0.0, 1.0).powf(1.0 / 2.4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, within: f64) {
        assert!((a - b).abs() <= within, "{a} is not {b}");
    }

    #[test]
    fn pq_is_what_its_standard_says() {
        // The numbers of 100, 203, 1000 and 10000 cd/m² in ITU-R BT.2408.
        for (number, nits) in [
            (0.0, 0.0),
            (0.508, 100.0),
            (0.581, 203.0),
            (0.752, 1000.0),
            (1.0, 10_000.0),
        ] {
            near(pq_nits(number), nits, nits * 0.005);
            near(pq_number(nits), number, 0.0005);
        }
    }

    #[test]
    fn hlg_is_what_its_standard_says() {
        let weights = [0.2627, 0.678, 0.0593];
        // Grey of 18 %, reference white and the peak in ITU-R BT.2408.
        for (number, nits) in [(0.0, 0.0), (0.38, 26.0), (0.75, 203.0), (1.0, 1000.0)] {
            for channel in hlg_nits([number; 3], weights) {
                near(channel, nits, nits * 0.01 + 1e-9);
            }
        }
    }

    #[test]
    fn only_what_is_bright_is_rolled_off_and_the_peak_becomes_white() {
        for peak in [400.0, 1000.0, 4000.0, 10_000.0] {
            near(rolled_off(peak, peak), WHITE_NITS, 0.01);
            near(rolled_off(2.0 * peak, peak), WHITE_NITS, 0.01);
            assert_eq!(rolled_off(5.0, peak), 5.0, "{peak}");
            let rolled: Vec<f64> = (0..1000)
                .map(|n| rolled_off(peak * f64::from(n) / 1000.0, peak))
                .collect();
            assert!(rolled.is_sorted(), "{peak}");
        }
        let white = rolled_off(WHITE_NITS, 1000.0);
        assert!((140.0..180.0).contains(&white), "{white}");
    }

    #[test]
    fn numbers_of_standard_range_are_those_of_its_displays() {
        assert_eq!([standard_number(0.0), standard_number(1.0)], [0.0, 1.0]);
        near(standard_number(0.18), 0.489, 0.001);
    }
}
