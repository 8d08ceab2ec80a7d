//! Second-order rounding of a matrix.
//!
//! Errors `e` of a column's weights raise its mean squared output error by
//! `e^T H e`, `H` the second moments of the inputs (Hassibi & Stork 1993).
//! With `H = L L^T` this is the sum over places `p` of
//!
//! ```text
//! (L_pp e_p + sum over q > p of L_qp e_q)^2
//! ```
//!
//! so going down from the last place, each weight can make up for what was
//! lost with those before it: it is rounded to the level nearest to
//! `w_p + sum of L_qp e_q / L_pp`. This is the rule of GPTQ (Frantar et al.
//! 2022), whose factor of `H^-1` is the inverse of this one, with the weights
//! of the largest diagonal first. Then single levels are changed for as long as
//! that lowers the error.

use super::factor::{Columns, Curvature};
use super::product::LANES;

/// Shares of the scale that just holds the largest weight, in percent: those
/// that are tried.
const SCALES: std::ops::RangeInclusive<u32> = 28..=103;
const SCALE_STEP: usize = 3;

/// Times all weights are looked at for a level that could be changed.
const SWEEPS: usize = 4;

/// Levels of some columns, `[place]`, and the rise of each column's error.
#[derive(Debug, Clone)]
pub(super) struct Rounded {
    pub levels: Vec<Columns>,
    pub errors: Columns,
}

/// Some columns of weights, `[place]` in the order of the curvature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Problem<'a> {
    pub curvature: &'a Curvature,
    pub weights: &'a [Columns],
    pub max_level: f64,
}

impl Problem<'_> {
    /// For each column the scale of least error: of rounding, and of cells
    /// whose errors in levels raise it by `cells` times the scale squared.
    pub(super) fn best_scales(&self, largest: &Columns, cells: f64) -> Columns {
        let mut best = largest.map(|largest| largest / self.max_level);
        let mut least = [f64::INFINITY; LANES];
        for percent in SCALES.step_by(SCALE_STEP) {
            let scales = largest.map(|w| w / self.max_level * f64::from(percent) / 100.0);
            let scales = scales.map(|scale| if scale > 0.0 { scale } else { 1.0 });
            let rounded = self.propagate(&scales);
            for column in 0..LANES {
                let scale = scales[column];
                let error = rounded.errors[column] + cells * scale * scale;
                if error < least[column] {
                    (best[column], least[column]) = (scale, error);
                }
            }
        }
        best
    }

    /// Rounds at these scales; no column gets worse than with each weight at
    /// its nearest level.
    pub(super) fn round(&self, scales: &Columns) -> Rounded {
        let (mut best, nearest) = (self.propagate(scales), self.nearest(scales));
        for column in 0..LANES {
            if nearest.errors[column] < best.errors[column] {
                for (best, nearest) in best.levels.iter_mut().zip(&nearest.levels) {
                    best[column] = nearest[column];
                }
            }
        }
        self.improve(scales, &mut best.levels);
        best.errors = self.errors(scales, &best.levels);
        best
    }

    /// Each weight by itself.
    fn nearest(&self, scales: &Columns) -> Rounded {
        let level = |weights: &Columns| std::array::from_fn(|c| self.level(weights[c] / scales[c]));
        let levels: Vec<Columns> = self.weights.iter().map(level).collect();
        let errors = self.errors(scales, &levels);
        Rounded { levels, errors }
    }

    /// Each weight with what was lost before it.
    fn propagate(&self, scales: &Columns) -> Rounded {
        let n = self.curvature.len();
        let mut levels = vec![[0.0; LANES]; n];
        // Sums of `L_qp e_q`.
        let mut lost = vec![[0.0; LANES]; n];
        let mut errors = [0.0; LANES];
        for place in (0..n).rev() {
            let row = self.curvature.lower(place);
            let pivot = row[place];
            let mut error = [0.0; LANES];
            for column in 0..LANES {
                let (weight, scale) = (self.weights[place][column], scales[column]);
                let goal = weight + lost[place][column] / pivot;
                let level = self.level(goal / scale);
                let left = pivot * (goal - level * scale);
                errors[column] += left * left;
                error[column] = weight - level * scale;
                levels[place][column] = level;
            }
            for (lost, &factor) in lost[..place].iter_mut().zip(row) {
                lost.iter_mut().zip(&error).for_each(|(lost, error)| *lost += factor * error);
            }
        }
        Rounded { levels, errors }
    }

    /// Moves one level after the other to where the error is least, the others
    /// as they are.
    fn improve(&self, scales: &Columns, levels: &mut [Columns]) {
        let mut slopes = self.slopes(scales, levels);
        for _ in 0..SWEEPS {
            let mut changed = false;
            for place in (0..levels.len()).rev() {
                let row = self.curvature.row(place);
                let mut change = [0.0; LANES];
                for column in 0..LANES {
                    let step = slopes[place][column] / (row[place] * scales[column]);
                    let level = levels[place][column];
                    // Half a level must not go back and forth.
                    if step.abs() > 0.5 + 1e-9 {
                        levels[place][column] = self.level(level + step);
                        change[column] = (levels[place][column] - level) * scales[column];
                    }
                }
                if change != [0.0; LANES] {
                    changed = true;
                    for (slopes, &factor) in slopes.iter_mut().zip(row) {
                        let slopes = slopes.iter_mut().zip(&change);
                        slopes.for_each(|(slope, change)| *slope -= factor * change);
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// `H e`.
    fn slopes(&self, scales: &Columns, levels: &[Columns]) -> Vec<Columns> {
        let error = |(weights, levels): (&Columns, &Columns)| -> Columns {
            std::array::from_fn(|c| weights[c] - levels[c] * scales[c])
        };
        let errors: Vec<Columns> = self.weights.iter().zip(levels).map(error).collect();
        (0..self.curvature.len())
            .map(|place| {
                let mut slope = [0.0; LANES];
                for (&factor, error) in self.curvature.row(place).iter().zip(&errors) {
                    slope.iter_mut().zip(error).for_each(|(slope, e)| *slope += factor * e);
                }
                slope
            })
            .collect()
    }

    /// `e^T H e`.
    fn errors(&self, scales: &Columns, levels: &[Columns]) -> Columns {
        let mut errors = [0.0; LANES];
        let slopes = self.slopes(scales, levels);
        for ((weights, levels), slopes) in self.weights.iter().zip(levels).zip(&slopes) {
            for column in 0..LANES {
                let error = weights[column] - levels[column] * scales[column];
                errors[column] += error * slopes[column];
            }
        }
        errors
    }

    fn level(&self, goal: f64) -> f64 {
        goal.round_ties_even().clamp(-self.max_level, self.max_level)
    }
}

#[cfg(test)]
mod tests {
    //! What rounding by error promises about the error.

    use super::*;
    use proptest::prelude::*;

    /// Second moments of vectors that share a common part.
    fn gram(data: &[f64], n: usize) -> Vec<f64> {
        (0..n * n)
            .map(|at| data.chunks_exact(n).map(|row| row[at / n] * row[at % n]).sum())
            .collect()
    }

    fn weights(values: &[f64]) -> Vec<Columns> {
        values.chunks_exact(LANES).map(|row| std::array::from_fn(|c| row[c])).collect()
    }

    proptest! {
        #[test]
        fn the_error_is_never_above_that_of_nearest_levels(
            data in prop::collection::vec(-1f64..1.0, 12 * 20),
            values in prop::collection::vec(-1f64..1.0, 12 * LANES),
            scale in 0.02f64..0.5,
        ) {
            let curvature = Curvature::new(&gram(&data, 12), 12);
            let weights = weights(&values);
            let problem = Problem { curvature: &curvature, weights: &weights, max_level: 7.0 };
            let (rounded, nearest) = (problem.round(&[scale; LANES]), problem.nearest(&[scale; LANES]));
            for column in 0..LANES {
                prop_assert!(rounded.errors[column] <= nearest.errors[column] * (1.0 + 1e-9));
            }
            prop_assert!(rounded.levels.iter().flatten().all(|l| l.abs() <= 7.0));
            // The sum that is kept on the way is the error.
            let propagated = problem.propagate(&[scale; LANES]);
            let errors = problem.errors(&[scale; LANES], &propagated.levels);
            for (kept, error) in propagated.errors.iter().zip(errors) {
                prop_assert!((kept - error).abs() <= 1e-9 * (1.0 + error));
            }
        }

        #[test]
        fn inputs_that_have_nothing_in_common_leave_the_nearest_levels(
            values in prop::collection::vec(-1f64..1.0, 9 * LANES), scale in 0.02f64..0.5
        ) {
            let unit: Vec<f64> = (0..81).map(|at| f64::from(u8::from(at % 10 == 0))).collect();
            let curvature = Curvature::new(&unit, 9);
            let weights = weights(&values);
            let problem = Problem { curvature: &curvature, weights: &weights, max_level: 7.0 };
            let scales = [scale; LANES];
            prop_assert_eq!(problem.round(&scales).levels, problem.nearest(&scales).levels);
        }
    }

    #[test]
    fn inputs_with_much_in_common_lose_far_less() {
        // Every vector is one number for all rows and a little of its own.
        let number = |i: usize| ((i * 7919 + 13) % 1009) as f64 / 1009.0 - 0.5;
        let data: Vec<f64> =
            (0..24 * 100).map(|i| number(i / 24 + 5000) + 0.2 * number(i)).collect();
        let curvature = Curvature::new(&gram(&data, 24), 24);
        let values: Vec<f64> = (0..24 * LANES).map(|i| number(3 * i + 77)).collect();
        let weights = weights(&values);
        let problem = Problem { curvature: &curvature, weights: &weights, max_level: 7.0 };
        let scales = [0.5 / 7.0; LANES];
        let sum = |errors: Columns| errors.iter().sum::<f64>();
        let (rounded, nearest) =
            (sum(problem.round(&scales).errors), sum(problem.nearest(&scales).errors));
        assert!(rounded < 0.5 * nearest, "{rounded} and {nearest}");
    }

    #[test]
    fn errors_of_cells_ask_for_smaller_scales() {
        let unit: Vec<f64> = (0..256).map(|at| f64::from(u8::from(at % 17 == 0))).collect();
        let curvature = Curvature::new(&unit, 16);
        let values: Vec<f64> = (0..16 * LANES).map(|i| (i as f64 * 0.37) % 2.0 - 1.0).collect();
        let weights = weights(&values);
        let problem = Problem { curvature: &curvature, weights: &weights, max_level: 7.0 };
        let exact = problem.best_scales(&[1.0; LANES], 0.0);
        let noisy = problem.best_scales(&[1.0; LANES], 16.0);
        assert!(noisy.iter().zip(&exact).all(|(noisy, exact)| noisy <= exact));
        assert!(noisy.iter().sum::<f64>() < exact.iter().sum::<f64>());
    }
}
