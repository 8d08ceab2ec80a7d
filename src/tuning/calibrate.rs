//! Repair without labels: a gain and an offset for every column of every
//! crossbar layer, from what the model in floating point makes of the same
//! inputs.
//!
//! Layer after layer, inputs run on the chip and beside it in floating point.
//! The layer's results are set right before the next layer sees them, as they
//! will be from now on:
//!
//! ```text
//! corrected = gain x result + offset
//! ```
//!
//! Gain and offset cost nothing: they go into the scale that each column is
//! multiplied with digitally anyway, and into its bias. Where batch norm was
//! folded into a layer, this is what estimating its statistics anew on the chip
//! would do.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::error::TuneError;
use super::product::{OUTSIDE, Results};
use super::samples::Samples;
use crate::chip::Chip;
use crate::entity::{Entity, LayerId, TensorId};
use crate::frontend::Model;
use crate::runtime::digital::{Cut, Value};
use crate::runtime::{Executor, Flow, RunError, batch_size};
use crate::schedule::{ExecutionPlan, StepKind};

/// What of a column's results is made that of the model in floating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Matching {
    /// Mean and standard deviation.
    #[default]
    Moments,
    /// Each result as well as can be: least squares, which makes results
    /// smaller the more they err.
    LeastSquares,
}

/// What came of one layer.
#[derive(Debug, Clone, PartialEq)]
pub struct Corrected {
    /// The layer.
    pub layer: LayerId,
    /// Its name.
    pub name: String,
    /// Smallest, mean and largest gain of its columns.
    pub gains: [f64; 3],
    /// Relative L2 error of its results before, the layers before it being
    /// corrected.
    pub error_before: f64,
    /// The same after.
    pub error_after: f64,
}

/// Sums over the results of one column: on the chip `y`, in floating point `f`.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: f64,
    y: f64,
    f: f64,
    yy: f64,
    ff: f64,
    yf: f64,
}

impl Sums {
    fn add(&mut self, y: f32, f: f32) {
        let (y, f) = (f64::from(y), f64::from(f));
        self.n += 1.0;
        self.y += y;
        self.f += f;
        self.yy += y * y;
        self.ff += f * f;
        self.yf += y * f;
    }

    fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.y += other.y;
        self.f += other.f;
        self.yy += other.yy;
        self.ff += other.ff;
        self.yf += other.yf;
    }

    /// Mean and standard deviation in floating point.
    fn moments(&self) -> (f64, f64) {
        let n = self.n.max(1.0);
        let mean = self.f / n;
        (mean, (self.ff / n - mean * mean).max(0.0).sqrt())
    }

    /// Gain and offset.
    fn matched(&self, matching: Matching) -> (f64, f64) {
        let n = self.n.max(1.0);
        let (y, f) = (self.y / n, self.f / n);
        let (yy, ff) = (self.yy / n - y * y, self.ff / n - f * f);
        let yf = self.yf / n - y * f;
        // Of results that do not vary only the mean can be told.
        if yy <= 1e-12 * (self.yy / n) || yy <= 0.0 {
            return (1.0, f - y);
        }
        let gain = match matching {
            Matching::Moments => (ff.max(0.0) / yy).sqrt(),
            Matching::LeastSquares => yf / yy,
        };
        (gain, f - gain * y)
    }

    /// Squared error of results with this gain and offset.
    fn error(&self, (gain, offset): (f64, f64)) -> f64 {
        let error = gain * gain * self.yy + self.ff + self.n * offset * offset
            - 2.0 * gain * self.yf
            + 2.0 * gain * offset * self.y
            - 2.0 * offset * self.f;
        error.max(0.0)
    }
}

/// A batch on its way, on the chip and in floating point.
struct Pair {
    chip: Flow,
    float: BTreeMap<TensorId, Value>,
}

/// Corrects scales and biases of a plan for the chip that holds it, on inputs
/// without labels; gives what came of each layer.
///
/// # Errors
///
/// The chip is of another plan; a run that fails; a layer whose results cannot
/// be told by column.
pub fn calibrate(
    plan: &mut ExecutionPlan,
    model: &Model,
    chip: &Chip,
    samples: &Samples,
    matching: Matching,
) -> Result<Vec<Corrected>, TuneError> {
    Ok(matched(plan, model, chip, samples, matching)?.0)
}

/// Mean and standard deviation of the results of a layer's columns in floating
/// point, `[group][column]`.
pub(super) type Moments = Vec<(f64, f64)>;

/// [`calibrate`], and the moments of each layer.
pub(super) fn matched(
    plan: &mut ExecutionPlan,
    model: &Model,
    chip: &Chip,
    samples: &Samples,
    matching: Matching,
) -> Result<(Vec<Corrected>, BTreeMap<LayerId, Moments>), TuneError> {
    let executor = Executor::new(plan, model, chip)?;
    let all: Vec<usize> = (0..samples.len()).collect();
    let mut pairs = all
        .chunks(batch_size(model))
        .map(|chosen| {
            let inputs = samples.batch(&model.inputs, chosen);
            let first = chosen.first().copied().unwrap_or(0) as u64;
            let chip = executor.start(&inputs, first)?;
            let float = chip.tensors.clone();
            Ok(Pair { chip, float })
        })
        .collect::<Result<Vec<_>, RunError>>()?;
    let none = BTreeSet::new();
    let last = last_readers(plan);
    let (mut corrected, mut changes) = (Vec::new(), Vec::new());
    let mut moments = BTreeMap::new();
    for (id, step) in plan.steps.iter() {
        let (inputs, outputs, layer) = match &step.kind {
            StepKind::Digital { inputs, outputs } => (inputs.clone(), outputs.clone(), None),
            StepKind::Sum { layer, .. } => {
                let Some(own) = plan.layers.get(layer) else { continue };
                (vec![own.input], vec![own.output], Some((*layer, own)))
            }
            StepKind::Encode { .. } | StepKind::Waves { .. } => continue,
        };
        let cut = Cut::new(model, &inputs, &outputs).map_err(RunError::from)?;
        let at = id.index();
        pairs.par_iter_mut().try_for_each(|Pair { chip, float }| {
            executor.advance(chip, at..at + 1, &none)?;
            let missing = |tensor| RunError::MissingTensor { step: id, tensor };
            let values = inputs.iter().map(|&t| float.get(&t).cloned().ok_or_else(|| missing(t)));
            let results = cut.run(values.collect::<Result<_, _>>()?, chip.n_batch)?;
            float.retain(|tensor, _| last.get(tensor) != Some(&at));
            float.extend(outputs.iter().copied().zip(results));
            Ok::<_, RunError>(())
        })?;
        let Some((layer, own)) = layer else { continue };
        let wrong = |reason: String| RunError::LayerInput { layer, name: own.name.clone(), reason };
        let shape = model.graph.tensors().get(own.output).map(|info| &info.shape[..]);
        let results = Results::new(&own.nest, shape.unwrap_or_default()).map_err(wrong)?;
        let columns = sums(&pairs, own.output, &results).map_err(wrong)?;
        let matched: Vec<(f64, f64)> = columns.iter().map(|sums| sums.matched(matching)).collect();
        pairs.par_iter_mut().try_for_each(|pair| correct(pair, own.output, &results, &matched))?;
        moments.insert(layer, columns.iter().map(Sums::moments).collect());
        corrected.push(summary(layer, own.name.clone(), &columns, &matched));
        changes.push((layer, matched));
    }
    drop(executor);
    for (layer, matched) in changes {
        let Some(layer) = plan.layers.get_mut(&layer) else { continue };
        let columns = layer.column_scales.iter_mut().zip(&mut layer.bias);
        for ((scale, bias), (gain, offset)) in columns.zip(matched) {
            *scale *= gain;
            *bias = (gain * f64::from(*bias) + offset) as f32;
        }
    }
    Ok((corrected, moments))
}

/// Sums of each column over all batches.
fn sums(pairs: &[Pair], output: TensorId, results: &Results) -> Result<Vec<Sums>, String> {
    let n_columns = results.n_columns();
    let parts = pairs
        .par_iter()
        .map(|Pair { chip, float }| {
            let values = |value: Option<&Value>| value.and_then(Value::as_f32).map(<[f32]>::to_vec);
            let both = values(chip.tensors.get(&output)).zip(values(float.get(&output)));
            let (y, f) = both.ok_or("its results are not f32")?;
            let each = y.len() / chip.n_batch.max(1);
            if f.len() != y.len() || each == 0 {
                return Err("its results are others in floating point".to_string());
            }
            let mut sums = vec![Sums::default(); n_columns];
            for (y, f) in y.chunks(each).zip(f.chunks(each)) {
                for places in results.positions() {
                    let columns = sums.iter_mut().zip(places).filter(|(_, at)| **at != OUTSIDE);
                    columns.for_each(|(sums, &at)| sums.add(y[at as usize], f[at as usize]));
                }
            }
            Ok(sums)
        })
        .collect::<Result<Vec<_>, String>>()?;
    let mut all = vec![Sums::default(); n_columns];
    for part in &parts {
        all.iter_mut().zip(part).for_each(|(all, part)| all.merge(part));
    }
    Ok(all)
}

/// Puts gains and offsets on the results of a batch.
fn correct(
    pair: &mut Pair,
    output: TensorId,
    results: &Results,
    matched: &[(f64, f64)],
) -> Result<(), RunError> {
    let Some(value) = pair.chip.tensors.get(&output) else { return Ok(()) };
    let (shape, values) = (value.shape().to_vec(), value.as_f32().unwrap_or_default());
    let mut values = values.to_vec();
    let each = (values.len() / pair.chip.n_batch.max(1)).max(1);
    for values in values.chunks_mut(each) {
        for places in results.positions() {
            let columns = matched.iter().zip(places).filter(|(_, at)| **at != OUTSIDE);
            for (&(gain, offset), &at) in columns {
                let value = &mut values[at as usize];
                *value = (gain * f64::from(*value) + offset) as f32;
            }
        }
    }
    pair.chip.tensors.insert(output, Value::from_f32(&shape, &values)?);
    Ok(())
}

fn summary(layer: LayerId, name: String, columns: &[Sums], matched: &[(f64, f64)]) -> Corrected {
    let size: f64 = columns.iter().map(|sums| sums.ff).sum();
    let relative = |error: f64| (error / size.max(f64::MIN_POSITIVE)).sqrt();
    let gains = || matched.iter().map(|(gain, _)| *gain);
    let mean = gains().sum::<f64>() / matched.len().max(1) as f64;
    Corrected {
        layer,
        name,
        gains: [gains().fold(f64::INFINITY, f64::min), mean, gains().fold(0.0, f64::max)],
        error_before: relative(columns.iter().map(|sums| sums.error((1.0, 0.0))).sum()),
        error_after: relative(columns.iter().zip(matched).map(|(s, &m)| s.error(m)).sum()),
    }
}

/// The last step that reads each tensor.
fn last_readers(plan: &ExecutionPlan) -> BTreeMap<TensorId, usize> {
    let mut last = BTreeMap::new();
    for (id, step) in plan.steps.iter() {
        match &step.kind {
            StepKind::Digital { inputs, .. } => {
                last.extend(inputs.iter().map(|&tensor| (tensor, id.index())));
            }
            StepKind::Sum { layer, .. } => {
                last.extend(plan.layers.get(layer).map(|layer| (layer.input, id.index())));
            }
            StepKind::Encode { .. } | StepKind::Waves { .. } => {}
        }
    }
    last
}
