//! What the errors of cells add to those of rounding.

use super::{InputCoding, Slicing};
use crate::target::Cell;

/// Mean variances of a weight by the errors of its cells, in levels squared.
///
/// With an input that is driven as `code`, a product is off by
///
/// ```text
/// lasting x code^2  +  reading x sum over planes of 4^plane, where the bit is 1
/// ```
///
/// because an error that lasts is the same in every plane, and one that is
/// drawn for each reading is not. In two's complement a small negative code
/// has nearly all bits set: planes that nearly cancel, errors that do not.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct CellErrors {
    /// Of what the cells hold.
    pub lasting: f64,
    /// Of each reading.
    pub reading: f64,
}

impl CellErrors {
    /// Of weights at these levels.
    pub(crate) fn new(cell: &Cell, slicing: &Slicing, levels: &[i16]) -> Self {
        let variance = |digit: i16| cell.read_variance(digit.unsigned_abs());
        let of_weight = |&level: &i16| -> f64 {
            let slices = 0..slicing.n_slices();
            let of_slice = |slice| {
                let factor = slicing.factor(slice) as f64;
                factor * factor * variance(slicing.digit(level, slice))
            };
            slices.map(of_slice).sum()
        };
        let reading = match cell.read_noise_fraction > 0.0 {
            true => levels.iter().map(of_weight).sum::<f64>() / levels.len().max(1) as f64,
            false => 0.0,
        };
        Self { lasting: cell.pair_variance() * slicing.variance_factor(), reading }
    }

    /// Whether cells do not err at all.
    pub(crate) fn are_none(&self) -> bool {
        self.lasting <= 0.0 && self.reading <= 0.0
    }

    /// Both over the mean square of these levels: what products are off by,
    /// relative to what they are.
    pub(super) fn relative_to(&self, levels: &[i16]) -> Self {
        let squares: f64 = levels.iter().map(|&l| f64::from(l) * f64::from(l)).sum();
        let over = levels.len() as f64 / squares.max(1.0);
        Self { lasting: self.lasting * over, reading: self.reading * over }
    }

    /// Variance of a product with this input, in levels times input squared.
    pub(crate) fn of_input(&self, coding: &InputCoding, code: i32) -> f64 {
        let bits = code as u16 & (u16::MAX >> (16 - coding.bits.clamp(1, 16)));
        let (step, code) = (f64::from(coding.scale), f64::from(code));
        step * step * (self.lasting * code * code + self.reading * f64::from(spread(bits)))
    }
}

/// The sum of 4^plane over the bits that are 1: each is moved to twice its
/// place, by halves, quarters, eighths and sixteenths of the word.
fn spread(bits: u16) -> u32 {
    [(8, 0x00FF_00FF), (4, 0x0F0F_0F0F), (2, 0x3333_3333), (1, 0x5555_5555)]
        .into_iter()
        .fold(u32::from(bits), |bits, (shift, mask)| (bits | bits << shift) & mask)
}

#[cfg(test)]
mod tests {
    //! What errors of cells do to products, by hand.

    use super::*;
    use crate::target::{Target, builtin};

    #[test]
    fn a_reading_counts_the_planes_that_are_driven() {
        let coding = InputCoding { bits: 8, signed: true, scale: 0.5, zero_point: -3 };
        let errors = CellErrors { lasting: 2.0, reading: 3.0 };
        assert_eq!(errors.of_input(&coding, 5), 0.25 * (2.0 * 25.0 + 3.0 * (16.0 + 1.0)));
        // All planes: (4^8 - 1) / 3 of them.
        assert_eq!(errors.of_input(&coding, -1), 0.25 * (2.0 + 3.0 * 21_845.0));
        assert_eq!(errors.of_input(&coding, 0), 0.0);
        for bits in 0..=u16::MAX {
            let planes = (0..16).filter(|plane| bits >> plane & 1 == 1);
            assert_eq!(spread(bits), planes.map(|plane| 1u32 << (2 * plane)).sum::<u32>());
        }
    }

    #[test]
    fn slices_multiply_the_errors_of_their_cells() {
        let ideal = Target::from_yaml(builtin("ideal").unwrap(), "ideal", &[]).unwrap();
        let cell = Cell {
            levels: 8,
            conductance_min_us: 2.0,
            conductance_max_us: 16.0,
            read_noise_fraction: 0.1,
            ..ideal.cell
        };
        // Steps of 2 uS: a pair at 0 and 3 has 2 and 8 uS, off by 0.2 and 0.8.
        let one = |levels: &[i16], n| CellErrors::new(&cell, &Slicing::new(n, 7).unwrap(), levels);
        let of = |g: f64| (0.1 * g / 2.0) * (0.1 * g / 2.0);
        let close = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-12, "{found}");
        close(one(&[3], 1).reading, of(2.0) + of(8.0));
        close(one(&[-3, 0], 1).reading, (of(2.0) + of(8.0) + 2.0 * of(2.0)) / 2.0);
        // 46 = 3 x 15 + 1.
        close(one(&[46], 2).reading, 225.0 * (of(2.0) + of(8.0)) + of(2.0) + of(4.0));
        assert_eq!(one(&[46], 2).lasting, 0.0);
    }
}
