//! A table from colours to colours, and how pictures go through it.

/// Codes of Y from one row of the table to the next, and of Cb and Cr, which colours crowd the middle of.
/// With these, the luma of colours of P3 is a third of a level off on average, and four levels of one in a
/// hundred; with 32 for all twice as much, with 8 for chroma half as much in tables of 12 MiB.
const LUMA_BITS: usize = 5;
const CHROMA_BITS: usize = 4;
const LUMA_STEP: usize = 1 << LUMA_BITS;
const CHROMA_STEP: usize = 1 << CHROMA_BITS;

/// Spaces between rows, for codes of ten bits.
const CODES: usize = 1024;
const LUMA_SPACES: usize = CODES / LUMA_STEP;
const CHROMA_SPACES: usize = CODES / CHROMA_STEP;

/// What is stored is this much times a level: six bits behind the point.
const FRACTION_BITS: usize = 6;

/// Corners of a square of the two chromas.
const CORNERS: usize = 4;

/// A colour as Y, Cb and Cr.
pub(super) type Levels = [f64; 3];

/// A table of a function from colours with ten bits to colours with eight. Between its rows it is
/// linear in each of the three.
#[derive(Debug)]
pub(super) struct Cube {
    /// Y, Cb and Cr. In each, for a square of Cb and Cr and a row of Y, the values at the corners
    /// of the square; so the eight around a colour are side by side.
    tables: [Vec<i16>; 3],
}

/// The square of Cb and Cr that a colour is in, and the part that each of its corners has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Where the square begins in a table.
    start: usize,
    parts: [i32; CORNERS],
}

impl Cube {
    /// Computes the table, for 140,000 colours.
    pub(super) fn of(colour: impl Fn(Levels) -> Levels) -> Self {
        let (lumas, chromas) = (LUMA_SPACES + 1, CHROMA_SPACES + 1);
        let mut nodes = Vec::with_capacity(lumas * chromas * chromas);
        for cb in (0..chromas).map(|row| (row * CHROMA_STEP) as f64) {
            for cr in (0..chromas).map(|row| (row * CHROMA_STEP) as f64) {
                let ys = (0..lumas).map(|row| (row * LUMA_STEP) as f64);
                nodes.extend(ys.map(|y| colour([y, cb, cr]).map(stored)));
            }
        }
        let node = |cb: usize, cr: usize, y: usize| nodes[(cb * chromas + cr) * lumas + y];
        let tables = [0, 1, 2].map(|component| {
            let mut table = Vec::with_capacity(CHROMA_SPACES * CHROMA_SPACES * lumas * CORNERS);
            for (cb, cr) in (0..CHROMA_SPACES * CHROMA_SPACES).map(square) {
                let corners = [(cb, cr), (cb + 1, cr), (cb, cr + 1), (cb + 1, cr + 1)];
                let rows = (0..lumas).map(|y| corners.map(|(cb, cr)| node(cb, cr, y)[component]));
                table.extend(rows.flatten());
            }
            table
        });
        Self { tables }
    }

    /// Y of a colour.
    pub(super) fn luma(&self, y: u16, place: &Place) -> u8 {
        level(&self.tables[0], y, place)
    }

    /// Cb and Cr of a colour.
    pub(super) fn chroma(&self, y: u16, place: &Place) -> [u8; 2] {
        [1, 2].map(|component| level(&self.tables[component], y, place))
    }
}

impl Place {
    /// Where Cb and Cr are.
    pub(super) fn of(cb: u16, cr: u16) -> Self {
        let (cb, right) = split(cb, CHROMA_STEP);
        let (cr, low) = split(cr, CHROMA_STEP);
        let (left, high) = (CHROMA_STEP as i32 - right, CHROMA_STEP as i32 - low);
        Self {
            start: (cb * CHROMA_SPACES + cr) * (LUMA_SPACES + 1) * CORNERS,
            parts: [left * high, right * high, left * low, right * low],
        }
    }
}

/// The spaces of Cb and Cr of the square with a number.
fn square(number: usize) -> (usize, usize) {
    (number / CHROMA_SPACES, number % CHROMA_SPACES)
}

/// The space that a code is in, and how far.
fn split(code: u16, step: usize) -> (usize, i32) {
    let code = usize::from(code).min(CODES - 1);
    (code / step, (code % step) as i32)
}

fn level(table: &[i16], y: u16, place: &Place) -> u8 {
    const POINT: usize = FRACTION_BITS + LUMA_BITS + 2 * CHROMA_BITS;
    let (row, part) = split(y, LUMA_STEP);
    let around = table[place.start + row * CORNERS..].first_chunk();
    let around: [i16; 2 * CORNERS] = around.copied().unwrap_or_default();
    let at = |first: usize| -> i32 {
        let corners = around[first..first + CORNERS].iter().zip(place.parts);
        corners.map(|(value, part)| i32::from(*value) * part).sum()
    };
    let value = at(0) * (LUMA_STEP as i32 - part) + at(CORNERS) * part;
    ((value + (1 << (POINT - 1))) >> POINT) as u8
}

/// A level as it is stored.
fn stored(level: f64) -> i16 {
    (level.clamp(0.0, 255.0) * f64::from(1 << FRACTION_BITS)).round() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_is_linear_comes_out_as_it_is() {
        let cube = Cube::of(|[y, cb, cr]| [y / 4.0, (y + cb) / 8.0, (cr + 3.0 * cb) / 16.0]);
        for (y, cb, cr) in [(0, 0, 0), (940, 512, 512), (980, 1000, 980), (77, 803, 333)] {
            let place = Place::of(cb, cr);
            let told = [
                f64::from(cube.luma(y, &place)),
                f64::from(cube.chroma(y, &place)[0]),
                f64::from(cube.chroma(y, &place)[1]),
            ];
            let [y, cb, cr] = [y, cb, cr].map(f64::from);
            let right = [y / 4.0, (y + cb) / 8.0, (cr + 3.0 * cb) / 16.0];
            for (told, right) in told.iter().zip(right) {
                assert!((told - right).abs() <= 0.52, "{told} is not {right}");
            }
        }
    }
}
