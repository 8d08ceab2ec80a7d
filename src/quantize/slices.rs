//! Levels beyond those of one pair, held as digits by several pairs.
//!
//! A pair of 8-level cells holds -7..7, the digits of a balanced numeral of
//! base 15. Two pairs hold -112..112, three -1687..1687:
//!
//! ```text
//! level 100 = 7 x 15 - 5       slice 1: 7     slice 0: -5
//! ```
//!
//! Every slice is multiplied on its own; its sums are recombined digitally,
//! times the power of the base. Errors of a slice's cells are multiplied
//! likewise, so slices add levels, not exactness.

use crate::target::Cell;

/// The largest level of a pair of these cells.
pub fn pair_max(cell: &Cell) -> i16 {
    i16::try_from(cell.max_level()).unwrap_or(i16::MAX)
}

/// How levels are cut into digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slicing {
    n_slices: u8,
    /// Signed levels of a pair, always odd.
    base: u16,
}

/// What a level may be: as its type, without the number that has no opposite.
const MAX_LEVEL: i64 = i16::MAX as i64;

impl Slicing {
    /// So many slices, on pairs whose largest level is this; `None` where 16
    /// bits do not hold the level, or nothing is to be held.
    pub fn new(n_slices: u8, pair_max: i16) -> Option<Self> {
        let base = u16::try_from(2 * i32::from(pair_max) + 1).ok().filter(|&base| base >= 3)?;
        let slicing = Self { n_slices, base };
        let top = (0..n_slices).try_fold(0i64, |top, _| {
            let top = top * i64::from(base) + i64::from(pair_max);
            (top <= MAX_LEVEL).then_some(top)
        })?;
        (top > 0).then_some(slicing)
    }

    /// The most slices that pairs of this largest level can be cut into.
    pub fn most(pair_max: i16) -> u8 {
        (1..=16).take_while(|&n| Self::new(n, pair_max).is_some()).last().unwrap_or(1)
    }

    /// Slices; at least 1.
    pub fn n_slices(&self) -> u8 {
        self.n_slices
    }

    /// Signed levels of a pair.
    pub fn base(&self) -> u16 {
        self.base
    }

    /// The largest level of a pair.
    pub fn pair_max(&self) -> i16 {
        (self.base / 2) as i16
    }

    /// The largest level of all slices together.
    pub fn max_level(&self) -> i16 {
        // At most `MAX_LEVEL`, see `new`.
        ((self.factor(self.n_slices) - 1) / 2) as i16
    }

    /// What a level of this slice counts: a power of the base.
    pub fn factor(&self, slice: u8) -> i64 {
        i64::from(self.base).pow(slice.into())
    }

    /// The digit of a level that a slice holds, 0 the least significant.
    pub fn digit(&self, level: i16, slice: u8) -> i16 {
        let (base, top) = (i32::from(self.base), i32::from(self.pair_max()));
        let digit = |rest: i32| (rest + top).rem_euclid(base) - top;
        let rest = (0..slice).fold(i32::from(level), |rest, _| (rest - digit(rest)) / base);
        // The uppermost digit is all that is left, so that a level never loses
        // a part of it; within `max_level` it is a digit anyway.
        (if slice + 1 == self.n_slices { rest } else { digit(rest) }) as i16
    }

    /// By how much the variance of a pair grows to that of a level.
    pub fn variance_factor(&self) -> f64 {
        (0..self.n_slices).map(|slice| self.factor(slice) as f64).map(|f| f * f).sum()
    }
}

#[cfg(test)]
mod tests {
    //! Digits are those of a pair, and add up to the level.

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn digits_add_up(n_slices in 1u8..6, pair_max in 1i16..40, level in any::<i16>()) {
            let Some(slicing) = Slicing::new(n_slices, pair_max) else { return Ok(()) };
            let level = (i32::from(level) % (i32::from(slicing.max_level()) + 1)) as i16;
            let digits: Vec<i16> = (0..n_slices).map(|s| slicing.digit(level, s)).collect();
            prop_assert!(digits.iter().all(|d| d.abs() <= pair_max), "{digits:?}");
            let sum: i64 = digits.iter().zip(0..).map(|(&d, s)| i64::from(d) * slicing.factor(s)).sum();
            prop_assert_eq!(sum, i64::from(level));
        }
    }

    #[test]
    fn two_slices_of_15_levels_hold_225_values() {
        let slicing = Slicing::new(2, 7).unwrap();
        assert_eq!(2 * i32::from(slicing.max_level()) + 1, 225);
        assert_eq!(Slicing::most(7), 4);
        assert_eq!(Slicing::new(5, 7), None);
        assert_eq!(Slicing::new(1, 0), None);
        assert_eq!(Slicing::new(1, i16::MAX).map(|s| s.max_level()), Some(i16::MAX));
    }
}
