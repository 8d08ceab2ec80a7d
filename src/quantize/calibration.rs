//! What was seen of a model's activations: enough to choose input ranges and
//! ADC ranges for any target, without the data.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::{Histogram, QuantizeError};
use crate::graph::{CrossbarLayer, Extent, Layer, LoopNest, LoopRef, unflatten};
use crate::tensor::Tensor;

/// Input vectors kept of each layer, spread over inputs and positions: enough
/// for the tails of a tile's currents, little enough to store.
pub const SAMPLE_ROWS: usize = 512;
/// Fewer are kept of a large model, down to [`SAMPLE_ROWS_LEAST`]: of all its
/// layers together so many values, which take 50 MB.
const SAMPLE_VALUES: usize = 12 << 20;
const SAMPLE_ROWS_LEAST: usize = 64;

/// What a layer's inputs looked like.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LayerStatistics {
    /// All values of the tensor read.
    pub inputs: Histogram,
    /// Rows of every group: the length of one sample.
    pub sample_length: usize,
    /// Vectors as the arrays would be driven with, `[sample][group][row]`.
    pub samples: Vec<f32>,
}

/// Statistics of every crossbar layer, by the layer's name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Calibration {
    /// By name of the layer.
    pub layers: BTreeMap<String, LayerStatistics>,
    /// How many inputs were looked at; 0 for none.
    pub n_inputs: u64,
    /// What they were: a data set's name, or that they were synthetic.
    pub source: String,
    /// Some of these inputs themselves, as the model takes them, where they
    /// were kept: `[batch][input of the model]`. Second-order rounding runs
    /// them.
    pub batches: Vec<Vec<Tensor>>,
}

impl Calibration {
    /// The statistics of a layer.
    ///
    /// # Errors
    ///
    /// The layer is not there, or its vectors had another length.
    pub fn layer(
        &self,
        layer: &Layer,
        crossbar: &CrossbarLayer,
    ) -> Result<&LayerStatistics, QuantizeError> {
        let wrong = |reason| QuantizeError::Calibration { layer: layer.name.clone(), reason };
        let statistics = self
            .layers
            .get(&layer.name)
            .ok_or_else(|| wrong(format!("it knows {} other layers", self.layers.len())))?;
        let length = crossbar.nest.n_groups() * crossbar.nest.n_rows();
        if statistics.sample_length != length {
            return Err(wrong(format!(
                "it saw vectors of {} inputs, the layer has {length}",
                statistics.sample_length
            )));
        }
        Ok(statistics)
    }
}

/// What a layer reads in a batch.
#[derive(Debug, Clone, Copy)]
pub struct LayerInput<'a> {
    /// Name of the layer.
    pub layer: &'a str,
    /// Its loops.
    pub nest: &'a LoopNest,
    /// Extents of its input tensor.
    pub shape: &'a [usize],
    /// The values of the tensor, row-major.
    pub values: &'a [f32],
}

impl LayerInput<'_> {
    /// Values of a vector that drives the layer.
    fn length(&self) -> usize {
        self.nest.n_groups() * self.nest.n_rows()
    }
}

impl LayerStatistics {
    /// Adds what the layer reads in one batch, and samples up to so many
    /// vectors of it, until so many are kept.
    fn add(&mut self, read: &LayerInput<'_>, n_batch: usize, n_samples: usize, n_kept: usize) {
        let &LayerInput { nest, shape, values, .. } = read;
        self.sample_length = read.length();
        self.inputs.add(values);
        let n_positions = nest.positions_of_batch(n_batch);
        let kept = self.samples.len() / self.sample_length.max(1);
        let n_samples = n_samples.min(n_kept - kept.min(n_kept));
        if self.samples.is_empty() {
            // Not twice as much, as a vector that grows would take.
            self.samples.reserve_exact(n_kept * self.sample_length);
        }
        for sample in 0..n_samples.min(n_positions) {
            // A golden-ratio walk visits rows, columns and inputs evenly.
            let position = (sample as u64)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .wrapping_mul(n_positions as u64 | 1)
                >> 32;
            let position =
                if n_positions <= n_samples { sample } else { position as usize % n_positions };
            gather(nest, shape, values, position, n_batch, &mut self.samples);
        }
    }
}

/// Gathers a [`Calibration`] batch by batch.
#[derive(Debug, Clone, Default)]
pub struct Collector {
    calibration: Calibration,
    n_expected: usize,
}

impl Collector {
    /// A collector for about `n_expected` inputs from `source`.
    pub fn new(source: impl Into<String>, n_expected: u64) -> Self {
        let n_expected = usize::try_from(n_expected).unwrap_or(usize::MAX).max(1);
        Self {
            calibration: Calibration { source: source.into(), ..Default::default() },
            n_expected,
        }
    }

    /// Counts inputs; once a batch.
    pub fn count(&mut self, n_inputs: u64) {
        self.calibration.n_inputs += n_inputs;
    }

    /// Keeps a batch of inputs.
    pub fn keep(&mut self, inputs: &[Tensor]) {
        self.calibration.batches.push(inputs.to_vec());
    }

    /// Adds what layers read in one batch of `n_batch` inputs.
    pub fn add(&mut self, reads: &[LayerInput<'_>], n_batch: usize) {
        let layers = &mut self.calibration.layers;
        for read in reads {
            if !layers.contains_key(read.layer) {
                layers.insert(read.layer.to_string(), LayerStatistics::default());
            }
        }
        // Layers that are written out in steps are read several times.
        let lengths: BTreeMap<_, _> =
            reads.iter().map(|read| (read.layer, read.length())).collect();
        let n_values = lengths.values().sum::<usize>().max(1);
        let n_kept = (SAMPLE_VALUES / n_values).clamp(SAMPLE_ROWS_LEAST, SAMPLE_ROWS);
        let n_samples = n_kept.div_ceil(self.n_expected.max(1)) * n_batch;
        layers.par_iter_mut().for_each(|(name, statistics)| {
            for read in reads.iter().filter(|read| read.layer == name) {
                statistics.add(read, n_batch, n_samples, n_kept);
            }
        });
    }

    /// The calibration gathered so far.
    pub fn finish(self) -> Calibration {
        self.calibration
    }
}

/// Appends the vector that drives a layer at one position, `[group][row]`,
/// zeros where it reads padding.
fn gather(
    nest: &LoopNest,
    shape: &[usize],
    values: &[f32],
    position: usize,
    n_batch: usize,
    into: &mut Vec<f32>,
) {
    let extents: Vec<usize> =
        nest.positions.iter().map(|e: &Extent| e.for_batch(n_batch).unwrap_or(1)).collect();
    let position = unflatten(position, &extents);
    for group in 0..nest.n_groups() {
        let group = unflatten(group, &nest.groups);
        let mut row = vec![0; nest.rows.len()];
        for _ in 0..nest.n_rows() {
            let counter = |l: LoopRef| match l {
                LoopRef::Position(i) => position[i],
                LoopRef::Group(i) => group[i],
                LoopRef::Row(i) => row[i],
                LoopRef::Column(_) => 0,
            };
            into.push(nest.input_offset(shape, counter).map_or(0.0, |offset| values[offset]));
            // The next one, the last loop fastest.
            for (counter, &extent) in row.iter_mut().zip(&nest.rows).rev() {
                *counter += 1;
                if *counter < extent {
                    break;
                }
                *counter = 0;
            }
        }
    }
}
