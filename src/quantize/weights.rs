//! Levels for weights.

use rayon::prelude::*;

use crate::graph::CrossbarLayer;

/// How weights become levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightRule {
    /// A scale per output column, chosen by least squared error. A scale costs
    /// nothing: it is one digital multiply per output that is there anyway.
    #[default]
    PerColumn,
    /// As `PerColumn`, then rounded again one layer after the other by what the
    /// calibration's inputs do to the outputs: [`crate::refine`].
    SecondOrder,
    /// One scale a layer, its largest weight at the top level, every weight at
    /// the nearest level: the way of Yao et al. 2020.
    Plain,
}

/// What second-order rounding does beside rounding; all of it unless said
/// otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrections {
    /// Weights aim at making up for what layers before did to their inputs.
    pub compensation: bool,
    /// The scale of a column is fitted again once its levels are known.
    pub scales: bool,
    /// The mean error of a column is taken off its bias.
    pub bias: bool,
    /// Scales and codes are chosen with the errors of the target's cells in
    /// mind.
    pub cells: bool,
}

impl Default for Corrections {
    fn default() -> Self {
        Self { compensation: true, scales: true, bias: true, cells: true }
    }
}

/// Levels `[group][row][column]` and the real value of a level
/// `[group][column]`.
pub(super) fn levels(
    crossbar: &CrossbarLayer,
    max_level: i16,
    rule: WeightRule,
) -> (Vec<i16>, Vec<f32>) {
    let nest = &crossbar.nest;
    let (n_rows, n_columns) = (nest.n_rows(), nest.n_columns());
    let scales = match rule {
        WeightRule::Plain => {
            let largest = crossbar.weights.par_iter().map(|w| w.abs()).reduce(|| 0.0, f32::max);
            vec![scale_for(largest, max_level); nest.n_groups() * n_columns]
        }
        WeightRule::PerColumn | WeightRule::SecondOrder => best_scales(crossbar, max_level),
    };
    let mut levels = vec![0; crossbar.weights.len()];
    levels
        .par_chunks_mut(n_columns)
        .zip(crossbar.weights.par_chunks(n_columns))
        .enumerate()
        .for_each(|(row, (levels, weights))| {
            let scales = &scales[row / n_rows * n_columns..];
            for (level, (&weight, &scale)) in levels.iter_mut().zip(weights.iter().zip(scales)) {
                *level = nearest(weight, scale, max_level);
            }
        });
    (levels, scales)
}

/// The scale of least squared error for each column, `[group][column]`.
fn best_scales(crossbar: &CrossbarLayer, max_level: i16) -> Vec<f32> {
    /// Neighbours in a row: as many as a line of the cache holds.
    const COLUMNS: usize = 16;
    let (n_rows, n_columns) = (crossbar.nest.n_rows(), crossbar.nest.n_columns());
    let groups = crossbar.weights.par_chunks(n_rows * n_columns);
    let of_group = |weights: &[f32]| -> Vec<f32> {
        let blocks = (0..n_columns.div_ceil(COLUMNS)).into_par_iter();
        let of_block = |block: usize| -> Vec<f32> {
            let own = COLUMNS * block..n_columns.min(COLUMNS * (block + 1));
            let mut columns = vec![0.0; own.len() * n_rows];
            for (row, weights) in weights.chunks_exact(n_columns).enumerate() {
                for (column, &weight) in
                    columns[row..].iter_mut().step_by(n_rows).zip(&weights[own.clone()])
                {
                    *column = weight;
                }
            }
            columns.chunks_exact(n_rows).map(|column| best_scale(column, max_level)).collect()
        };
        blocks.flat_map_iter(of_block).collect()
    };
    groups.flat_map_iter(of_group).collect()
}

/// The nearest level, ties to even.
pub(crate) fn nearest(weight: f32, scale: f32, max_level: i16) -> i16 {
    // The clamp makes the cast exact.
    let top = f32::from(max_level);
    (weight / scale).round_ties_even().clamp(-top, top) as i16
}

/// The scale that puts `largest` at the top level; 1 for a column of zeros.
fn scale_for(largest: f32, max_level: i16) -> f32 {
    let scale = largest / f32::from(max_level);
    if scale > 0.0 { scale.max(f32::MIN_POSITIVE) } else { 1.0 }
}

/// The scale of least squared error for one column: a grid of clipping points,
/// then for the best of them the scale that fits its levels exactly
/// (least squares, `sum w l / sum l^2`), as long as that is better.
fn best_scale(column: &[f32], max_level: i16) -> f32 {
    let largest = column.iter().fold(0f32, |max, w| max.max(w.abs()));
    if largest == 0.0 {
        return 1.0;
    }
    let mut best = scale_for(largest, max_level);
    let mut fit = Fit::new(column, best, max_level);
    let mut least = fit.squared_error(best);
    // Clipping below 0.3 of the largest weight never pays with two levels or
    // more; scales above the plain one spend levels that nobody uses, but can
    // line up better with few weights.
    for step in 30..=130 {
        let scale = scale_for(largest, max_level) * (step as f32 / 100.0);
        fit = Fit::new(column, scale, max_level);
        // What the grid's own scale gives is never better than its refit, with
        // the levels that it found.
        let refit = fit.scale().unwrap_or(scale);
        let error = fit.squared_error(refit);
        if error < least {
            (best, least) = (refit, error);
        }
    }
    // Levels follow the scale, and the scale the levels, to where both stay.
    for _ in 0..8 {
        fit = Fit::new(column, best, max_level);
        let Some(refit) = fit.scale() else { break };
        let error = Fit::new(column, refit, max_level).squared_error(refit);
        if error >= least {
            break;
        }
        (best, least) = (refit, error);
    }
    best
}

/// Sums over a column and the levels that a scale gives it.
struct Fit {
    /// Of squared weights.
    weights: f64,
    /// Of weights times levels.
    products: f64,
    /// Of squared levels.
    levels: f64,
}

impl Fit {
    fn new(column: &[f32], scale: f32, max_level: i16) -> Self {
        /// Sums side by side, so that the compiler has vectors to work with.
        const LANES: usize = 8;
        let (inverse, top) = (1.0 / scale, f32::from(max_level));
        let mut sums = [[0f64; LANES]; 3];
        // Few enough for sums in f32, which lose nothing that matters here.
        for run in column.chunks(64 * LANES) {
            let mut run_sums = [[0f32; LANES]; 3];
            let (eights, rest) = run.as_chunks::<LANES>();
            let mut last = [0.0; LANES];
            last[..rest.len()].copy_from_slice(rest);
            for weights in eights.iter().chain([&last]) {
                for lane in 0..LANES {
                    let weight = weights[lane];
                    // The level as `nearest` has it, but for the last bit of a
                    // division; adding 1.5 x 2^23 rounds ties to even.
                    const ROUND: f32 = 12_582_912.0;
                    // Comparisons, because `min` and `max` also look for NaNs.
                    let steps = weight * inverse;
                    let steps = if steps < top { steps } else { top };
                    let steps = if steps > -top { steps } else { -top };
                    let level = (steps + ROUND) - ROUND;
                    run_sums[0][lane] += weight * weight;
                    run_sums[1][lane] += weight * level;
                    run_sums[2][lane] += level * level;
                }
            }
            for (sums, run_sums) in sums.iter_mut().zip(run_sums) {
                sums.iter_mut().zip(run_sums).for_each(|(sum, own)| *sum += f64::from(own));
            }
        }
        let [weights, products, levels] = sums.map(|lanes| lanes.iter().sum());
        Self { weights, products, levels }
    }

    /// The scale of least squared error for these levels.
    fn scale(&self) -> Option<f32> {
        let scale = (self.products / self.levels) as f32;
        (scale.is_finite() && scale > 0.0).then_some(scale)
    }

    /// `sum (w - s l)^2`.
    fn squared_error(&self, scale: f32) -> f64 {
        let scale = f64::from(scale);
        self.weights - 2.0 * scale * self.products + scale * scale * self.levels
    }
}

#[cfg(test)]
mod tests {
    //! Levels stay inside the pair and lose as little as they can.

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_best_scale_is_never_worse_than_the_plain_one(
            column in prop::collection::vec(-3f32..3.0, 1..40), max_level in 1i16..31
        ) {
            let largest = column.iter().fold(0f32, |max, w| max.max(w.abs()));
            let plain = scale_for(largest, max_level);
            let best = best_scale(&column, max_level);
            let error = |scale: f32| -> f64 {
                let lost = |&w: &f32| w - f32::from(nearest(w, scale, max_level)) * scale;
                column.iter().map(|w| f64::from(lost(w)) * f64::from(lost(w))).sum()
            };
            prop_assert!(error(best) <= error(plain) * (1.0 + 1e-5) + 1e-12);
            for &weight in &column {
                prop_assert!(nearest(weight, best, max_level).abs() <= max_level);
            }
        }

        #[test]
        fn weights_that_are_levels_already_are_kept(
            levels in prop::collection::vec(-7i16..=7, 2..20), scale in 0.01f32..10.0
        ) {
            prop_assume!(levels.iter().any(|&l| l.abs() == 7));
            let column: Vec<f32> = levels.iter().map(|&l| f32::from(l) * scale).collect();
            let found = best_scale(&column, 7);
            // Another scale may hit them all too: 7 and -7 are also 6 and -6.
            for &weight in &column {
                let again = f32::from(nearest(weight, found, 7)) * found;
                prop_assert!((again - weight).abs() <= 1e-5 * weight.abs());
            }
        }
    }
}
