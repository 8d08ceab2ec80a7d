//! Layers along one axis: softmax, and whatever else computes a row of results
//! from a row of values.

use super::{Batch, asked};
use crate::chip::exp;
use crate::graph::AxisReach;
use crate::runtime::digital::Cut;

/// Values of a row that are moved one after the other at most.
const ASKED_MAX: usize = 256;

/// The axis that a layer works along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tuning) struct Axis {
    /// Values of a row.
    n: usize,
    /// Values between two of them.
    step: usize,
}

/// What is done to a row.
#[derive(Debug, Clone)]
pub(in crate::tuning) enum Row {
    /// `exp x / sum of exp x`
    Softmax,
    /// `x / sqrt(mean of x^2 + a little)`, the little being this.
    RootMeanSquare(f64),
    /// The layer itself, to be asked with one value moved.
    Asked(Cut),
}

impl Axis {
    /// The one axis along which a result of a layer with one input needs
    /// everything.
    pub fn new(reach: &[AxisReach], inputs: &[Vec<usize>], output: &[usize]) -> Option<Self> {
        let [input] = inputs else { return None };
        let all = |(_, reach): &(usize, &AxisReach)| **reach == AxisReach::All;
        let (axis, _) = reach.iter().enumerate().find(all)?;
        let others = reach.iter().enumerate().filter(|(other, _)| *other != axis);
        let alone = others.into_iter().all(|(_, reach)| *reach == AxisReach::Same);
        if !alone || input != output || reach.len() != input.len() {
            return None;
        }
        Some(Self { n: input[axis], step: input[axis + 1..].iter().product() })
    }

    /// Whether its values can be moved one after the other.
    pub fn is_short(&self) -> bool {
        self.n <= ASKED_MAX
    }

    /// Where each row begins among so many values.
    fn starts(&self, n_values: usize) -> impl Iterator<Item = usize> + '_ {
        let block = (self.n * self.step).max(1);
        let blocks = (0..n_values / block).map(move |nth| nth * block);
        blocks.flat_map(|start| start..start + self.step)
    }

    /// Softmax of all rows.
    pub fn softmax(&self, values: &[f32]) -> Vec<f32> {
        let mut shares = values.to_vec();
        for start in self.starts(values.len()) {
            let at = |nth: usize| start + nth * self.step;
            let largest = (0..self.n).map(|nth| values[at(nth)]).fold(f32::NEG_INFINITY, f32::max);
            let of = |nth: usize| exp(f64::from(values[at(nth)]) - f64::from(largest));
            let sum: f64 = (0..self.n).map(of).sum();
            (0..self.n).for_each(|nth| shares[at(nth)] = (of(nth) / sum) as f32);
        }
        shares
    }

    /// Rows of root mean square 1.
    pub fn normalised(&self, values: &[f32], little: f64) -> Vec<f32> {
        let mut results = values.to_vec();
        for start in self.starts(values.len()) {
            let scale = self.scale(values, start, little);
            for at in (0..self.n).map(|nth| start + nth * self.step) {
                results[at] = (f64::from(values[at]) * scale) as f32;
            }
        }
        results
    }

    /// One over the root mean square of a row.
    fn scale(&self, values: &[f32], start: usize, little: f64) -> f64 {
        let square = |nth: usize| f64::from(values[start + nth * self.step]);
        let sum: f64 = (0..self.n).map(square).map(|x| x * x).sum();
        1.0 / (sum / self.n.max(1) as f64 + little).sqrt()
    }

    /// Adds the gradient of the input.
    pub fn backward(&self, row: &Row, batch: &Batch<'_>, own: &mut [f32]) -> Result<(), String> {
        let Batch { inputs, gradient, n } = batch;
        let (shape, values) = inputs[0];
        match row {
            Row::Softmax => {
                let shares = self.softmax(values);
                for start in self.starts(values.len()) {
                    let at = |nth: usize| start + nth * self.step;
                    let both = |nth: usize| shares[at(nth)] * gradient[at(nth)];
                    let mean: f32 = (0..self.n).map(both).sum();
                    for at in (0..self.n).map(at) {
                        own[at] += shares[at] * (gradient[at] - mean);
                    }
                }
            }
            Row::RootMeanSquare(little) => {
                for start in self.starts(values.len()) {
                    let scale = self.scale(values, start, *little);
                    let places = || (0..self.n).map(|nth| start + nth * self.step);
                    let both = |at: usize| f64::from(values[at]) * f64::from(gradient[at]);
                    let mean = places().map(both).sum::<f64>() / self.n.max(1) as f64;
                    for at in places() {
                        // Of y = x s the row's own scale changes by -x s^3 / n.
                        let along = f64::from(values[at]) * scale * scale * mean;
                        own[at] += (scale * (f64::from(gradient[at]) - along)) as f32;
                    }
                }
            }
            Row::Asked(cut) => {
                /// As for one value alone.
                const STEP: f32 = 1.0 / 128.0;
                let mut moved = values.to_vec();
                for nth in 0..self.n {
                    let mut results = [Vec::new(), Vec::new()];
                    for (results, sign) in results.iter_mut().zip([STEP, -STEP]) {
                        for at in self.starts(values.len()).map(|start| start + nth * self.step) {
                            moved[at] = values[at] + sign * values[at].abs().max(1.0);
                        }
                        *results = asked(cut, &[(shape, &moved)], *n)?;
                    }
                    let [high, low] = results;
                    for start in self.starts(values.len()) {
                        let at = start + nth * self.step;
                        let places = (0..self.n).map(|nth| start + nth * self.step);
                        let change: f32 =
                            places.map(|at| gradient[at] * (high[at] - low[at])).sum();
                        own[at] += change / (2.0 * STEP * values[at].abs().max(1.0));
                        moved[at] = values[at];
                    }
                }
            }
        }
        Ok(())
    }
}
