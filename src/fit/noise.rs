//! Where slices help most for their cells, from weights and statistics of their
//! inputs alone.

use std::collections::BTreeMap;

use crate::frontend::Model;
use crate::graph::{CrossbarLayer, Layer};
use crate::quantize::{
    ByLayer, Calibration, Precision, QuantizeError, QuantizeOptions, Slicing, WeightRule, pair_max,
    quantize,
};
use crate::target::Target;

/// Levels that are enough for any weight: more slices than hold them are not
/// tried.
const MAX_LEVEL: i16 = 1024;

/// Slices of which one fewer would not be fine enough for any weight.
pub(super) fn most_slices(target: &Target) -> u8 {
    let pair_max = pair_max(&target.cell);
    let is_coarse = |n| Slicing::new(n, pair_max).is_some_and(|s| s.max_level() < MAX_LEVEL);
    (1..=Slicing::most(pair_max)).take_while(|&n| n == 1 || is_coarse(n - 1)).last().unwrap_or(1)
}

/// Names of layers that get one slice more each, in the order in which that
/// takes most noise away for its cells.
pub(super) fn steps(
    model: &Model,
    target: &Target,
    calibration: &Calibration,
    options: &QuantizeOptions,
) -> Result<Vec<String>, QuantizeError> {
    let of = |n_slices| noises(model, target, calibration, options, n_slices);
    let noises = (1..=most_slices(target)).map(of).collect::<Result<Vec<_>, _>>()?;
    let mut steps: Vec<(f64, String)> = Vec::new();
    for (name, &(noise, n_weights)) in &noises[0] {
        let mut before = noise;
        let mut limit = f64::INFINITY;
        for finer in &noises[1..] {
            let Some(&(noise, _)) = finer.get(name) else { continue };
            // A layer's second step never comes before its first.
            limit = limit.min((before - noise).max(0.0) / n_weights as f64);
            steps.push((limit, name.clone()));
            before = noise;
        }
    }
    steps.sort_by(|a, b| b.0.total_cmp(&a.0));
    Ok(steps.into_iter().map(|(_, name)| name).collect())
}

/// Noise and number of weights of every layer whose weights have so many
/// slices.
fn noises(
    model: &Model,
    target: &Target,
    calibration: &Calibration,
    options: &QuantizeOptions,
    n_slices: u8,
) -> Result<BTreeMap<String, (f64, usize)>, QuantizeError> {
    let graph = &model.graph;
    let weights = match options.weights {
        // It starts from these, and would take minutes.
        WeightRule::SecondOrder => WeightRule::PerColumn,
        rule => rule,
    };
    let slices = ByLayer { all: Some(n_slices), ..ByLayer::default() };
    let precision = Precision { slices, ..Precision::default() };
    let options = QuantizeOptions { weights, precision, ..options.clone() };
    let quantized = quantize(graph, calibration, target, &options)?;
    let own = graph.crossbar_layers().filter(|(id, ..)| graph.matrix_of(*id) == *id);
    let noise = |(id, layer, crossbar): (_, &Layer, &CrossbarLayer)| {
        let integers = quantized.get(&id)?;
        let samples = &calibration.layers.get(&layer.name)?.samples;
        let (n_rows, n_columns) = (crossbar.nest.n_rows(), crossbar.nest.n_columns());
        let mut squares = vec![0f64; crossbar.nest.n_groups() * n_rows];
        for sample in samples.chunks_exact(squares.len().max(1)) {
            squares.iter_mut().zip(sample).for_each(|(s, &x)| *s += f64::from(x) * f64::from(x));
        }
        let (mut error, mut power) = (0.0, 0.0);
        let levels = integers.levels.chunks_exact(n_columns.max(1));
        let rows = crossbar.weights.chunks_exact(n_columns.max(1)).zip(levels).zip(&squares);
        for (row, ((weights, levels), square)) in rows.enumerate() {
            let scales = &integers.weight_scales[row / n_rows * n_columns..];
            for ((&weight, &level), &scale) in weights.iter().zip(levels).zip(scales) {
                let off = f64::from(weight) - f64::from(level) * f64::from(scale);
                error += square * off * off;
                power += square * f64::from(weight) * f64::from(weight);
            }
        }
        let noise = if power > 0.0 { error / power } else { 0.0 };
        Some((layer.name.clone(), (noise, crossbar.weights.len().max(1))))
    };
    Ok(own.filter_map(noise).collect())
}
