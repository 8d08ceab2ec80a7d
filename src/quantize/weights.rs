//! Levels for weights.

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
    let largest = crossbar.weights.iter().fold(0f32, |max, w| max.max(w.abs()));
    let plain = scale_for(largest, max_level);
    let mut levels = vec![0; crossbar.weights.len()];
    let mut scales = Vec::with_capacity(crossbar.bias.len());
    let block = n_rows * n_columns;
    let mut column = vec![0.0; n_rows];
    for (weights, levels) in crossbar.weights.chunks(block).zip(levels.chunks_mut(block)) {
        for c in 0..n_columns {
            for (row, weight) in column.iter_mut().enumerate() {
                *weight = weights[row * n_columns + c];
            }
            let scale = match rule {
                WeightRule::Plain => plain,
                WeightRule::PerColumn | WeightRule::SecondOrder => best_scale(&column, max_level),
            };
            for (row, &weight) in column.iter().enumerate() {
                levels[row * n_columns + c] = nearest(weight, scale, max_level);
            }
            scales.push(scale);
        }
    }
    (levels, scales)
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
    let mut least = squared_error(column, best, max_level);
    // Clipping below 0.3 of the largest weight never pays with two levels or
    // more; scales above the plain one spend levels that nobody uses, but can
    // line up better with few weights.
    for step in 30..=130 {
        let scale = scale_for(largest, max_level) * (step as f32 / 100.0);
        for candidate in [scale, refit(column, scale, max_level)] {
            let error = squared_error(column, candidate, max_level);
            if error < least {
                (best, least) = (candidate, error);
            }
        }
    }
    best
}

fn refit(column: &[f32], scale: f32, max_level: i16) -> f32 {
    let (mut product, mut square) = (0.0, 0.0);
    for &weight in column {
        let level = f64::from(nearest(weight, scale, max_level));
        product += f64::from(weight) * level;
        square += level * level;
    }
    let fitted = (product / square) as f32;
    if fitted.is_finite() && fitted > 0.0 { fitted } else { scale }
}

fn squared_error(column: &[f32], scale: f32, max_level: i16) -> f64 {
    column
        .iter()
        .map(|&weight| {
            let error =
                f64::from(weight) - f64::from(nearest(weight, scale, max_level)) * f64::from(scale);
            error * error
        })
        .sum()
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
            prop_assert!(
                squared_error(&column, best, max_level) <= squared_error(&column, plain, max_level)
            );
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
