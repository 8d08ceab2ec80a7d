//! Rounds weights by what their errors do to the outputs.
//!
//! [`crate::quantize`] gives each weight its nearest level. Here a few hundred
//! of the calibration's inputs are run, in floating point and, beside that, as
//! the arrays will see them: codes of inputs, levels of weights. One crossbar
//! layer after the other is rounded anew, so that its weights see what all
//! layers before it have become:
//!
//! ```text
//! inputs X, X~ ---> wanted = X W + bias
//!              ---> W* = W + (X~' X~)^-1 X~' (wanted - X~ W - bias)     compensation
//!              ---> levels near W* in the norm of X~' X~                rounding
//!              ---> scale, bias of each column by least squares         scales, bias
//!              ---> X~ of the next layers
//! ```
//!
//! | file | what |
//! |---|---|
//! | `unfold` | tensors as matrices of the vectors that drive a layer |
//! | `product`, `factor` | linear algebra with a fixed order of sums |
//! | `rounding` | levels by error (Hassibi & Stork 1993; Frantar et al. 2022) |
//! | `fit` | levels, scales and biases of one group of a layer |
//!
//! Where the target's cells are not exact, scales are chosen for the sum of
//! both errors, of rounding and of cells: every weight of a column is off by
//! some levels whatever it is, so a smaller scale, which clips the largest
//! weights, loses less. For the same reason codes of inputs lie around zero,
//! but where readings err as few of them as can be have many bits set
//! ([`crate::quantize`]). No labels are used. The result is the same for any
//! number of threads.

mod factor;
mod fit;
mod print;
mod product;
mod rounding;
mod unfold;

pub use print::{gains_text, mean_gains, parts};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rayon::prelude::*;
use thiserror::Error;

use crate::diagnostic::{Diagnostic, Explain};
use crate::entity::{LayerId, StepId, TensorId};
use crate::frontend::Model;
use crate::graph::CrossbarLayer;
use crate::quantize::{
    Calibration, CellErrors, Corrections, InputCoding, QuantizedLayer, QuantizedLayers,
};
use crate::runtime::digital::{Cut, Value};
use crate::runtime::{RunError, n_batch};
use crate::schedule::{Work, work};
use crate::target::Cell;
use crate::tensor::Tensor;

use fit::{Fitted, Group};
use product::Matrix;
use unfold::Unfold;

/// Vectors looked at of each layer at most, spread over inputs and positions.
const SAMPLES: usize = 16_384;

/// Values of those vectors at most, so that they fit in memory.
const SAMPLE_VALUES: usize = 1 << 25;

/// What each part gained at one layer: squared errors of the outputs, summed
/// over the sample, after each part. A part that is off gains nothing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LayerGain {
    /// The layer's name.
    pub layer: String,
    /// Squared deviations of the exact outputs from their means: what errors
    /// are relative to.
    pub power: f64,
    /// With every weight at its nearest level.
    pub nearest: f64,
    /// With levels chosen by what their errors do together.
    pub rounding: f64,
    /// With weights that make up for layers before.
    pub compensation: f64,
    /// With scales fitted again.
    pub scales: f64,
    /// With biases corrected.
    pub bias: f64,
}

impl LayerGain {
    /// The parts, in the order in which they work, with the relative error
    /// after each: the root of squared errors over squared deviations.
    pub fn relative(&self) -> [(&'static str, f64); 5] {
        let relative =
            |error: f64| if self.power > 0.0 { (error / self.power).sqrt() } else { 0.0 };
        [
            ("nearest", relative(self.nearest)),
            ("rounding", relative(self.rounding)),
            ("compensation", relative(self.compensation)),
            ("scales", relative(self.scales)),
            ("bias", relative(self.bias)),
        ]
    }

    fn add(&mut self, other: &Self) {
        self.power += other.power;
        self.nearest += other.nearest;
        self.rounding += other.rounding;
        self.compensation += other.compensation;
        self.scales += other.scales;
        self.bias += other.bias;
    }
}

/// Why weights could not be rounded by their errors.
#[derive(Debug, Clone, Error)]
pub enum RefineError {
    /// The calibration kept no inputs.
    #[error("the calibration has no inputs to round weights by")]
    NoInputs,
    /// The model failed on them.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl Explain for RefineError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::NoInputs => vec![
                Diagnostic::error(self.to_string())
                    .help("calibrate again with `--calibrate DATA`, or use `--weights per-column`"),
            ],
            Self::Run(error) => error.diagnostics(),
        }
    }
}

/// Rounds every layer again; gives what that gained, in the order in which it
/// was done.
///
/// # Errors
///
/// The calibration kept no inputs, or the model fails on them.
pub fn refine(
    model: &Model,
    quantized: &mut QuantizedLayers,
    calibration: &Calibration,
    cell: &Cell,
    corrections: Corrections,
) -> Result<Vec<LayerGain>, RefineError> {
    if calibration.batches.is_empty() && !quantized.is_empty() {
        return Err(RefineError::NoInputs);
    }
    let work = work(&model.graph);
    let last_reads = last_reads(model, &work);
    let shared = shared(model);
    let mut batches = calibration
        .batches
        .iter()
        .map(|inputs| Batch::new(model, inputs))
        .collect::<Result<Vec<_>, _>>()?;
    let mut gains = Vec::new();
    for (nth, item) in work.iter().enumerate() {
        match item {
            Work::Stage(stage) => {
                let cut = Cut::new(model, &stage.inputs, &stage.outputs).map_err(RunError::from)?;
                batches
                    .par_iter_mut()
                    .try_for_each(|batch| batch.run(&cut, &stage.inputs, &stage.outputs))?;
            }
            Work::Crossbar(id) => {
                let (Some(crossbar), Some(integers)) =
                    (model.graph.crossbar(*id), quantized.get_mut(id))
                else {
                    continue; // Every crossbar layer was quantised.
                };
                let layer = Layer { model, id: *id, crossbar, cell, corrections };
                if shared.contains(id) {
                    layer.run(integers, &mut batches)?;
                } else {
                    gains.push(layer.refine(integers, &mut batches)?);
                }
            }
        }
        for batch in &mut batches {
            batch.forget(&last_reads, nth);
        }
    }
    Ok(gains)
}

/// Layers that share their cells with others, as the steps of a recurrent layer
/// do: levels that suit one of them would be wrong for the next.
fn shared(model: &Model) -> BTreeSet<LayerId> {
    let graph = &model.graph;
    let of_others = graph.crossbar_layers().map(|(id, _, _)| (id, graph.matrix_of(id)));
    of_others.filter(|(id, matrix)| id != matrix).flat_map(|(id, matrix)| [id, matrix]).collect()
}

/// The last piece of work that reads each tensor.
fn last_reads(model: &Model, work: &[Work]) -> BTreeMap<TensorId, usize> {
    let mut last = BTreeMap::new();
    for (nth, item) in work.iter().enumerate() {
        let read = match item {
            Work::Stage(stage) => &stage.inputs,
            Work::Crossbar(id) => &model.graph.layer(*id).inputs,
        };
        last.extend(read.iter().map(|&tensor| (tensor, nth)));
    }
    last
}

/// One batch of the calibration's inputs on its way through the model.
#[derive(Debug)]
struct Batch {
    n: usize,
    /// In floating point.
    exact: BTreeMap<TensorId, Tensor>,
    /// As on the arrays.
    coded: BTreeMap<TensorId, Tensor>,
}

impl Batch {
    fn new(model: &Model, inputs: &[Tensor]) -> Result<Self, RunError> {
        let n = n_batch(&model.inputs, inputs)?;
        let ids = model.graph.inputs().iter().copied();
        let exact: BTreeMap<TensorId, Tensor> = ids.zip(inputs.iter().cloned()).collect();
        Ok(Self { n, coded: exact.clone(), exact })
    }

    fn run(
        &mut self,
        cut: &Cut,
        inputs: &[TensorId],
        outputs: &[TensorId],
    ) -> Result<(), RunError> {
        for tensors in [&mut self.exact, &mut self.coded] {
            let values = inputs.iter().map(|&id| Ok(Value::from_array(find(tensors, id)?)?));
            let results = cut.run(values.collect::<Result<_, RunError>>()?, self.n)?;
            for (&id, result) in outputs.iter().zip(&results) {
                tensors.insert(id, result.to_array()?);
            }
        }
        Ok(())
    }

    fn forget(&mut self, last_reads: &BTreeMap<TensorId, usize>, done: usize) {
        let is_read = |id: &TensorId| last_reads.get(id).is_some_and(|&last| last > done);
        self.exact.retain(|id, _| is_read(id));
        self.coded.retain(|id, _| is_read(id));
    }
}

fn find(tensors: &BTreeMap<TensorId, Tensor>, id: TensorId) -> Result<&Tensor, RunError> {
    tensors.get(&id).ok_or(RunError::MissingTensor { step: StepId(0), tensor: id })
}

/// A crossbar layer that is rounded.
struct Layer<'a> {
    model: &'a Model,
    id: LayerId,
    crossbar: &'a CrossbarLayer,
    cell: &'a Cell,
    corrections: Corrections,
}

/// What a layer reads and makes of one batch.
struct Pass {
    unfold: Unfold,
    /// Its input as codes, in real numbers, with its padding.
    coded: Vec<f32>,
    /// Its output in floating point.
    wanted: Vec<f32>,
}

impl Layer<'_> {
    fn refine(
        &self,
        integers: &mut QuantizedLayer,
        batches: &mut [Batch],
    ) -> Result<LayerGain, RunError> {
        let layer = self.model.graph.layer(self.id);
        let nest = &self.crossbar.nest;
        let (n_groups, n_columns) = (nest.n_groups(), nest.n_columns());
        let n_weights = nest.n_rows() * n_columns;
        let coding = integers.coding;
        // By the levels that it has so far: others near them err alike.
        let cells = CellErrors::new(self.cell, &integers.slicing, &integers.levels);
        let weights = self.weights();
        let passes = self.passes(batches, &weights, &coding)?;
        let positions = self.positions(&passes);
        let groups: Vec<(Fitted, LayerGain)> = (0..n_groups)
            .into_par_iter()
            .map(|nth| {
                let (inputs, wanted) = self.sample(&passes, &positions, nth);
                let columns = nth * n_columns..(nth + 1) * n_columns;
                let group = Group {
                    weights: &weights[nth],
                    bias: &self.crossbar.bias[columns.clone()],
                    inputs: &inputs,
                    wanted: &wanted,
                    scales: &integers.weight_scales[columns],
                    max_level: integers.slicing.max_level(),
                    cells,
                    coding,
                    corrections: self.corrections,
                };
                group.fit()
            })
            .collect();
        let mut gain = LayerGain { layer: layer.name.clone(), ..LayerGain::default() };
        let levels = Arc::make_mut(&mut integers.levels);
        let all = groups.iter().zip(levels.chunks_exact_mut(n_weights.max(1)));
        for (nth, ((fitted, of_group), levels)) in all.enumerate() {
            let columns = nth * n_columns..(nth + 1) * n_columns;
            levels.copy_from_slice(&fitted.levels);
            integers.weight_scales[columns.clone()].copy_from_slice(&fitted.scales);
            integers.bias[columns].copy_from_slice(&fitted.bias);
            gain.add(of_group);
        }
        self.put(integers, passes, batches);
        Ok(gain)
    }

    /// Runs the layer with the levels that it has.
    fn run(&self, integers: &QuantizedLayer, batches: &mut [Batch]) -> Result<(), RunError> {
        let passes = self.passes(batches, &self.weights(), &integers.coding)?;
        self.put(integers, passes, batches);
        Ok(())
    }

    /// The layer's matrices in floating point, by group.
    fn weights(&self) -> Vec<Matrix> {
        let nest = &self.crossbar.nest;
        let n_columns = nest.n_columns();
        let groups = self.crossbar.weights.chunks_exact((nest.n_rows() * n_columns).max(1));
        groups.map(|weights| Matrix::from_rows(weights.iter().copied(), n_columns)).collect()
    }

    fn passes(
        &self,
        batches: &[Batch],
        weights: &[Matrix],
        coding: &InputCoding,
    ) -> Result<Vec<Pass>, RunError> {
        batches.par_iter().map(|batch| self.pass(batch, weights, coding)).collect()
    }

    /// Hands on what the layer makes of each batch, exactly and with these
    /// integers.
    fn put(&self, integers: &QuantizedLayer, passes: Vec<Pass>, batches: &mut [Batch]) {
        let n_columns = self.crossbar.nest.n_columns();
        let cells = (self.crossbar.nest.n_rows() * n_columns).max(1);
        let groups = integers.levels.chunks_exact(cells);
        let rounded: Vec<Matrix> = groups
            .zip(integers.weight_scales.chunks_exact(n_columns))
            .map(|(levels, scales)| {
                let rows = levels.chunks_exact(n_columns);
                let real = rows.flat_map(|row| row.iter().zip(scales));
                Matrix::from_rows(real.map(|(&level, scale)| f32::from(level) * scale), n_columns)
            })
            .collect();
        let output = self.model.graph.layer(self.id).outputs[0];
        batches.par_iter_mut().zip(passes).for_each(|(batch, pass)| {
            let made = pass.unfold.run(&pass.coded, &rounded, &integers.bias);
            let shape = self.output_shape(batch.n);
            let put = |tensors: &mut BTreeMap<_, _>, values| {
                tensors.extend(Tensor::f32(shape.clone(), values).map(|tensor| (output, tensor)));
            };
            put(&mut batch.coded, made);
            put(&mut batch.exact, pass.wanted);
        });
    }

    fn output_shape(&self, n_batch: usize) -> Vec<usize> {
        let output = self.model.graph.layer(self.id).outputs[0];
        let shape = &self.model.graph.tensors()[output].shape;
        shape.iter().filter_map(|extent| extent.for_batch(n_batch)).collect()
    }

    fn pass(
        &self,
        batch: &Batch,
        weights: &[Matrix],
        coding: &InputCoding,
    ) -> Result<Pass, RunError> {
        let layer = self.model.graph.layer(self.id);
        let name = || layer.name.clone();
        let wrong = |reason: &str| RunError::LayerInput {
            layer: self.id,
            name: name(),
            reason: reason.to_string(),
        };
        let (exact, coded) =
            (find(&batch.exact, layer.inputs[0])?, find(&batch.coded, layer.inputs[0])?);
        let unfold = Unfold::new(self.crossbar, &exact.shape, &self.output_shape(batch.n), batch.n);
        let unfold = unfold.ok_or_else(|| wrong("its tensors have another shape"))?;
        let values = |tensor: &Tensor| match tensor.as_f32() {
            Some(values) => match values.iter().find(|value| !value.is_finite()) {
                Some(&value) => Err(RunError::NotFinite { name: name(), input: 0, value }),
                None => Ok(()),
            },
            None => Err(wrong("it is not f32")),
        };
        values(exact)?;
        values(coded)?;
        let exact = unfold.padded(exact.as_f32().unwrap_or_default(), |value| value);
        let coded = unfold.padded(coded.as_f32().unwrap_or_default(), |value| {
            (coding.encode(value) - coding.zero_point) as f32 * coding.scale
        });
        let wanted = unfold.run(&exact, weights, &self.crossbar.bias);
        Ok(Pass { unfold, coded, wanted })
    }

    /// Batch and position of every vector that is looked at: one from each of
    /// so many runs of neighbours, at a place that differs from run to run.
    fn positions(&self, passes: &[Pass]) -> Vec<(usize, usize)> {
        let starts = passes.iter().scan(0, |sum, pass| {
            *sum += pass.unfold.n_positions();
            Some(*sum)
        });
        let ends: Vec<usize> = starts.collect();
        let n_positions = ends.last().copied().unwrap_or(0);
        let most = (SAMPLE_VALUES / self.crossbar.nest.n_rows().max(1)).clamp(1, SAMPLES);
        let n_samples = n_positions.min(most);
        let position = |nth: usize| {
            let border = |nth: usize| nth * n_positions / n_samples;
            let (start, length) = (border(nth), border(nth + 1) - border(nth));
            let place = (nth as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
            let position = start + place as usize % length;
            let batch = ends.partition_point(|&end| end <= position);
            (batch, position - if batch > 0 { ends[batch - 1] } else { 0 })
        };
        (0..n_samples).map(position).collect()
    }

    /// Vectors and wanted results of one group.
    fn sample(
        &self,
        passes: &[Pass],
        positions: &[(usize, usize)],
        group: usize,
    ) -> (Matrix, Matrix) {
        let nest = &self.crossbar.nest;
        let mut inputs = Matrix::zeros(positions.len(), nest.n_rows());
        let mut wanted = Matrix::zeros(positions.len(), nest.n_columns());
        for (sample, &(batch, position)) in positions.iter().enumerate() {
            let pass = &passes[batch];
            pass.unfold.gather(&pass.coded, position, group, inputs.row_mut(sample));
            pass.unfold.results(&pass.wanted, position, group, wanted.row_mut(sample));
        }
        (inputs, wanted)
    }
}
