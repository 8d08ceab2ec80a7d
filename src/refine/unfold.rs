//! A layer's input tensor as the matrix of the vectors that drive it.

use crate::graph::{CrossbarLayer, LoopRef};
use crate::runtime::{numbered, offsets, run_codes, strides};

use super::product::{Matrix, product};

/// Positions that are multiplied together.
const CHUNK: usize = 256;

/// Where the vectors and results of one batch lie.
///
/// Inputs are read from a copy of the tensor with zeros for its padding.
#[derive(Debug)]
pub(super) struct Unfold {
    n_rows: usize,
    n_columns: usize,
    /// Run of values along the last axis, and where each begins in the copy.
    run: usize,
    runs: Vec<u32>,
    n_padded: usize,
    /// Of every position, in the copy and in the output tensor.
    inputs: Vec<u32>,
    outputs: Vec<u32>,
    /// Of every `[group][row]` and `[group][column]`.
    rows: Vec<u32>,
    columns: Vec<u32>,
    n_results: usize,
}

impl Unfold {
    /// For tensors of these shapes, which hold a batch; `None` if they are not
    /// those of the layer.
    pub(super) fn new(
        crossbar: &CrossbarLayer,
        input: &[usize],
        output: &[usize],
        n_batch: usize,
    ) -> Option<Self> {
        let nest = &crossbar.nest;
        if input.len() != nest.input.len() || output.len() != nest.output.len() {
            return None;
        }
        let padded = input.iter().zip(&nest.input).map(|(&extent, axis)| {
            let last = |&(of, step): &(LoopRef, usize)| {
                Some(nest.extent(of, n_batch)?.checked_sub(1)? * step)
            };
            let reach: usize = axis.terms.iter().map(last).sum::<Option<usize>>()?;
            Some((axis.padding + extent).max(reach + 1))
        });
        let padded: Vec<usize> = padded.collect::<Option<_>>()?;
        let n_padded = padded.iter().product();
        let n_results = output.iter().product();
        u32::try_from(n_padded).ok().zip(u32::try_from(n_results).ok())?;
        let positions: Option<Vec<usize>> =
            nest.positions.iter().map(|extent| extent.for_batch(n_batch)).collect();
        let positions = numbered(LoopRef::Position, &positions?);
        let of_groups = |kind, extents: &[usize]| {
            let mut loops = numbered(LoopRef::Group, &nest.groups);
            loops.extend(numbered(kind, extents));
            loops
        };
        let (read, written) = (strides(&padded), strides(output));
        Some(Self {
            n_rows: nest.n_rows(),
            n_columns: nest.n_columns(),
            run: input.last().copied().unwrap_or(1).max(1),
            runs: run_codes(nest, input, &padded),
            n_padded,
            inputs: offsets(&nest.input, &read, &positions),
            outputs: offsets(&nest.output, &written, &positions),
            rows: offsets(&nest.input, &read, &of_groups(LoopRef::Row, &nest.rows)),
            columns: offsets(&nest.output, &written, &of_groups(LoopRef::Column, &nest.columns)),
            n_results,
        })
    }

    /// Output positions of the batch.
    pub(super) fn n_positions(&self) -> usize {
        self.inputs.len()
    }

    /// The copy of an input tensor, every value changed by `change`, which
    /// leaves zero zero.
    pub(super) fn padded(&self, values: &[f32], change: impl Fn(f32) -> f32) -> Vec<f32> {
        let mut padded = vec![0.0; self.n_padded];
        for (&start, values) in self.runs.iter().zip(values.chunks_exact(self.run)) {
            let own = &mut padded[start as usize..][..self.run];
            own.iter_mut().zip(values).for_each(|(own, &value)| *own = change(value));
        }
        padded
    }

    /// Writes the vector that a position drives a group with.
    pub(super) fn gather(&self, padded: &[f32], position: usize, group: usize, into: &mut [f32]) {
        let from = &padded[self.inputs[position] as usize..];
        let rows = &self.rows[group * self.n_rows..][..self.n_rows];
        into.iter_mut().zip(rows).for_each(|(value, &row)| *value = from[row as usize]);
    }

    /// Reads the results of a position and a group from an output tensor.
    pub(super) fn results(&self, output: &[f32], position: usize, group: usize, into: &mut [f32]) {
        let from = &output[self.outputs[position] as usize..];
        let columns = &self.columns[group * self.n_columns..][..self.n_columns];
        into.iter_mut().zip(columns).for_each(|(value, &column)| *value = from[column as usize]);
    }

    /// The layer's output tensor with these weights, a matrix for each group.
    pub(super) fn run(&self, padded: &[f32], weights: &[Matrix], bias: &[f32]) -> Vec<f32> {
        let mut output = vec![0.0; self.n_results];
        for (group, weights) in weights.iter().enumerate() {
            let columns = &self.columns[group * self.n_columns..][..self.n_columns];
            let bias = &bias[group * self.n_columns..][..self.n_columns];
            for start in (0..self.n_positions()).step_by(CHUNK) {
                let n = CHUNK.min(self.n_positions() - start);
                let mut vectors = Matrix::zeros(n, self.n_rows);
                for nth in 0..n {
                    self.gather(padded, start + nth, group, vectors.row_mut(nth));
                }
                let results = product(&vectors, weights);
                let places = &self.outputs[start..start + n];
                for (&place, results) in places.iter().zip(results.chunks_exact(self.n_columns)) {
                    let own = &mut output[place as usize..];
                    for ((&column, &result), &bias) in columns.iter().zip(results).zip(bias) {
                        own[column as usize] = (result + f64::from(bias)) as f32;
                    }
                }
            }
        }
        output
    }
}
