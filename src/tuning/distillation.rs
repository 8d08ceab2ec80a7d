//! Repair without labels, by what comes out at the end: gains and offsets of all
//! columns go down the gradient of how far the chip's scores are from those of
//! the model in floating point.
//!
//! [`calibrate`](super::calibrate) makes each layer's results like the model's,
//! one layer after the other, as far as a gain and an offset can. What is left
//! of errors adds up from layer to layer. This begins with its moments, then
//! looks at the last scores alone, as distillation does (G. Hinton et al.,
//! arXiv:1503.02531), but teaches only what is digital on the chip:
//!
//! ```text
//! result = mean + gain x (calibrated - mean) + sd x offset
//! loss   = mean over samples of |scores - scores of the model|^2 / their variance
//! ```
//!
//! with mean and standard deviation of each column in floating point, so that
//! one rate does for all. Steps are those of Adam (D. P. Kingma and J. Ba,
//! arXiv:1412.6980), its rate falling evenly to nothing. No cell is given a
//! pulse.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::calibrate::{Corrected, Matching, Moments, matched};
use super::cells::Matrix;
use super::error::TuneError;
use super::samples::{Order, Samples};
use super::way::{Carried, Carrier, Gradients, Wanted, Way};
use crate::chip::Chip;
use crate::entity::LayerId;
use crate::frontend::Model;
use crate::runtime::digital::{Cut, Value};
use crate::runtime::{Executor, Flow, RunError, batch_size};
use crate::schedule::ExecutionPlan;
use crate::tensor::top_class;

/// Shares of Adam's means that the last step keeps.
const KEPT: (f64, f64) = (0.9, 0.999);

/// What Adam's steps are divided by at least.
const LEAST: f64 = 1e-8;

/// Gains stay above this: a column turned round would be another one.
const LEAST_GAIN: f64 = 1.0 / 16.0;

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    /// Samples of a step.
    pub n_batch: usize,
    /// How often all samples are gone through.
    pub epochs: u64,
    /// The first steps: the change of a gain, and of an offset in standard
    /// deviations of its column.
    pub rate: f64,
    /// Seed of the order of samples.
    pub seed: u64,
}

impl Distillation {
    /// Steps that these samples make.
    pub fn n_steps(&self, samples: &Samples) -> u64 {
        let n_batch = self.n_batch.clamp(1, samples.len().max(1));
        self.epochs * (samples.len() / n_batch).max(1) as u64
    }
}

/// How like the model in floating point a chip is.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Likeness {
    /// Samples.
    pub n: u64,
    /// Those of which both put the same class first.
    pub n_same: u64,
    /// Sum of squared differences of scores, in variances of the model's.
    pub error: f64,
}

impl Likeness {
    fn add(&mut self, other: &Self) {
        self.n += other.n;
        self.n_same += other.n_same;
        self.error += other.error;
    }

    /// Share of samples of which both put the same class first, in percent.
    pub fn agreement(&self) -> f64 {
        100.0 * self.n_same as f64 / self.n.max(1) as f64
    }

    /// Relative L2 error of the scores.
    pub fn relative_error(&self) -> f64 {
        (self.error / self.n.max(1) as f64).sqrt()
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Distilled {
    /// What came of each layer before the first step.
    pub corrected: Vec<Corrected>,
    /// How like the model the chip was over each epoch, each step's samples
    /// before the step.
    pub epochs: Vec<Likeness>,
    /// How like it is at the end.
    pub after: Likeness,
}

/// Gains and offsets of a layer's columns, and what Adam knows of them.
struct Columns {
    /// Of the calibrated layer.
    scales: Vec<f64>,
    bias: Vec<f64>,
    moments: Moments,
    /// Gains, then offsets.
    values: Vec<f64>,
    /// Means of their gradients, and of the squares.
    mean: Vec<f64>,
    square: Vec<f64>,
}

impl Columns {
    fn new(plan: &ExecutionPlan, id: LayerId, moments: Moments) -> Option<Self> {
        let layer = plan.layers.get(&id)?;
        let n = moments.len();
        let mut values = vec![1.0; n];
        values.resize(2 * n, 0.0);
        Some(Self {
            scales: layer.column_scales.clone(),
            bias: layer.bias.iter().map(|&bias| bias.into()).collect(),
            moments,
            values,
            mean: vec![0.0; 2 * n],
            square: vec![0.0; 2 * n],
        })
    }

    fn gains(&self) -> &[f64] {
        &self.values[..self.moments.len()]
    }

    /// What the registers are to hold: scales and biases.
    fn registers(&self) -> (Vec<f64>, Vec<f64>) {
        let (gains, offsets) = self.values.split_at(self.moments.len());
        let scales = self.scales.iter().zip(gains).map(|(scale, gain)| scale * gain).collect();
        let columns = self.bias.iter().zip(gains).zip(offsets).zip(&self.moments);
        let bias = columns
            .map(|(((bias, gain), offset), (mean, sd))| mean + gain * (bias - mean) + sd * offset);
        (scales, bias.collect())
    }

    /// Steps down the gradient of factors on results and of biases; `rate` is
    /// corrected for means that began at zero.
    fn descend(&mut self, factors: &[f64], biases: &[f64], rate: f64, corrections: (f64, f64)) {
        let n = self.moments.len();
        for nth in 0..n {
            let (mean, sd) = self.moments[nth];
            let (gain, offset) = (self.values[nth], self.values[n + nth]);
            let of_gain = (factors[nth] - (mean + sd * offset) * biases[nth]) / gain;
            for (at, gradient) in [(nth, of_gain), (n + nth, sd * biases[nth])] {
                let (mean, square) = (&mut self.mean[at], &mut self.square[at]);
                *mean = KEPT.0 * *mean + (1.0 - KEPT.0) * gradient;
                *square = KEPT.1 * *square + (1.0 - KEPT.1) * gradient * gradient;
                let spread = (*square / corrections.1).sqrt() + LEAST;
                self.values[at] -= rate * *mean / corrections.0 / spread;
            }
            self.values[nth] = self.values[nth].max(LEAST_GAIN);
        }
    }
}

/// Teaches gains and offsets of a plan for the chip that holds it what the
/// model in floating point makes of inputs without labels. `done` hears of
/// every step.
///
/// # Errors
///
/// The chip is of another plan; a run that fails; a model without scores, or a
/// layer on the way from them that gradients cannot pass; results that are no
/// numbers.
pub fn distil(
    plan: &mut ExecutionPlan,
    model: &Model,
    chip: &Chip,
    samples: &Samples,
    how: Distillation,
    mut done: impl FnMut(),
) -> Result<Distilled, TuneError> {
    let (corrected, mut moments) = matched(plan, model, chip, samples, Matching::Moments)?;
    let own = &*plan;
    let leading = Way::leading(own, model)?;
    let way = Way::new(own, model, &leading, Wanted::Columns)?;
    let mut executor = Executor::new(own, model, chip)?;
    let mut columns: BTreeMap<LayerId, Columns> = leading
        .iter()
        .filter_map(|&id| Some((id, Columns::new(own, id, moments.remove(&id)?)?)))
        .collect();
    let weights: BTreeMap<LayerId, Vec<f32>> = leading
        .iter()
        .filter_map(|&id| {
            let matrix = Matrix::new(own, id, own.layers.get(&id)?);
            let n_outputs = own.pe.outputs as usize;
            Some((id, matrix.weights(&chip.conductances_us, n_outputs, own.level_us)))
        })
        .collect();
    let teacher = Teacher::new(own, model, &executor, samples, &way)?;
    let mut order = Order::new(samples.len(), 0, how.n_batch, how.seed);
    let per_epoch = order.batches_per_epoch().max(1);
    let n_steps = how.n_steps(samples);
    let mut epochs = Vec::new();
    let mut left = (1.0, 1.0);
    for step in 0..n_steps {
        if step % per_epoch == 0 {
            epochs.push(Likeness::default());
        }
        let chosen = order.batch(step);
        let now = scaled(own, &weights, &columns);
        let first = step.wrapping_mul(order.n_batch() as u64);
        let student = Student { plan: own, model, executor: &executor, way: &way };
        let (gradients, like) = student.look(samples, &teacher, &chosen, first, Some(&now))?;
        if !gradients.are_finite() || !like.error.is_finite() {
            let what = if gradients.are_finite() { "losses" } else { "gradients" }.to_string();
            return Err(TuneError::NotFinite { batch: step, what });
        }
        if let Some(epoch) = epochs.last_mut() {
            epoch.add(&like);
        }
        left = (left.0 * KEPT.0, left.1 * KEPT.1);
        let rate = how.rate * (n_steps - step) as f64 / n_steps as f64;
        for (id, own) in &mut columns {
            let gradients = (gradients.factors.get(id), gradients.biases.get(id));
            let (Some(factors), Some(biases)) = gradients else { continue };
            own.descend(factors, biases, rate, (1.0 - left.0, 1.0 - left.1));
            let (scales, bias) = own.registers();
            executor.set_scales(*id, &scales);
            executor.set_bias(*id, &bias);
        }
        done();
    }
    let all: Vec<usize> = (0..samples.len()).collect();
    let student = Student { plan: own, model, executor: &executor, way: &way };
    let (_, after) = student.look(samples, &teacher, &all, 0, None)?;
    drop(executor);
    for (id, own) in columns {
        let Some(layer) = plan.layers.get_mut(&id) else { continue };
        let (scales, bias) = own.registers();
        layer.column_scales = scales;
        layer.bias = bias.into_iter().map(|bias| bias as f32).collect();
    }
    Ok(Distilled { corrected, epochs, after })
}

/// Real weights with the gains of their columns, `[replica][group][row][column]`.
fn scaled(
    plan: &ExecutionPlan,
    weights: &BTreeMap<LayerId, Vec<f32>>,
    columns: &BTreeMap<LayerId, Columns>,
) -> BTreeMap<LayerId, Vec<f32>> {
    let own = weights.iter().filter_map(|(id, weights)| {
        let (nest, columns) = (&plan.layers.get(id)?.nest, columns.get(id)?);
        let (n_rows, n) = (nest.n_rows(), nest.n_columns());
        let gains = columns.gains().chunks_exact(n.max(1)).cycle();
        let matrices = weights.chunks_exact((n_rows * n).max(1)).zip(gains);
        let scaled = matrices.flat_map(|(weights, gains)| {
            weights.iter().zip(gains.iter().cycle()).map(|(w, gain)| (f64::from(*w) * gain) as f32)
        });
        Some((*id, scaled.collect()))
    });
    own.collect()
}

/// What the model in floating point makes of the samples.
struct Teacher {
    /// `[sample][class]`.
    scores: Vec<f32>,
    n_classes: usize,
    /// Sum over classes of the scores' variances.
    variance: f64,
}

impl Teacher {
    fn new(
        plan: &ExecutionPlan,
        model: &Model,
        executor: &Executor<'_>,
        samples: &Samples,
        way: &Way,
    ) -> Result<Self, TuneError> {
        let cut = Cut::new(model, &plan.inputs, &[way.scores_tensor()]).map_err(RunError::from)?;
        let all: Vec<usize> = (0..samples.len()).collect();
        let parts = all
            .par_chunks(batch_size(model))
            .map(|chosen| {
                let flow = executor.start(&samples.batch(&model.inputs, chosen), 0)?;
                let inputs = plan.inputs.iter().map(|t| flow.tensors.get(t).cloned());
                let results = cut.run(inputs.flatten().collect(), flow.n_batch)?;
                let scores = results.first().and_then(Value::as_f32).map(<[f32]>::to_vec);
                Ok(scores.unwrap_or_default())
            })
            .collect::<Result<Vec<_>, RunError>>()?;
        let (scores, n_classes) = (parts.concat(), way.n_classes());
        let n = samples.len().max(1) as f64;
        let variance = (0..n_classes).map(|class| {
            let own =
                || scores.iter().skip(class).step_by(n_classes).map(|&score| f64::from(score));
            let mean = own().sum::<f64>() / n;
            own().map(|score| (score - mean) * (score - mean)).sum::<f64>() / n
        });
        Ok(Self { variance: variance.sum::<f64>().max(f64::MIN_POSITIVE), scores, n_classes })
    }

    /// How like its scores these are, and the gradient of the squared error by
    /// them, in variances.
    fn compare(&self, sample: usize, scores: &[f32]) -> (Likeness, Vec<f64>) {
        let wanted = self.scores.chunks_exact(self.n_classes).nth(sample).unwrap_or_default();
        let off = scores.iter().zip(wanted).map(|(s, w)| f64::from(*s) - f64::from(*w));
        let off: Vec<f64> = off.collect();
        let error = off.iter().map(|off| off * off).sum::<f64>() / self.variance;
        let n_same = u64::from(top_class(scores) == top_class(wanted));
        let gradient = off.iter().map(|off| 2.0 * off / self.variance).collect();
        (Likeness { n: 1, n_same, error }, gradient)
    }
}

/// The chip that is taught.
struct Student<'a> {
    plan: &'a ExecutionPlan,
    model: &'a Model,
    executor: &'a Executor<'a>,
    way: &'a Way,
}

impl Student<'_> {
    /// How like the teacher it is on some samples, the first of which has the
    /// number `first`, and, where weights are given, the gradients.
    fn look(
        &self,
        samples: &Samples,
        teacher: &Teacher,
        chosen: &[usize],
        first: u64,
        weights: Option<&BTreeMap<LayerId, Vec<f32>>>,
    ) -> Result<(Gradients, Likeness), TuneError> {
        let (n_at_once, n_steps) = (batch_size(self.model), self.plan.steps.len());
        let share = 1.0 / chosen.len().max(1) as f64;
        let parts: Vec<&[usize]> = chosen.chunks(n_at_once).collect();
        let parts = parts.into_par_iter().enumerate().map(|(nth, chosen)| {
            let inputs = samples.batch(&self.model.inputs, chosen);
            let mut flow: Flow = self.executor.start(&inputs, first + (nth * n_at_once) as u64)?;
            self.executor.advance(&mut flow, 0..n_steps, &self.way.kept)?;
            let scores = self.way.scores(&mut flow)?;
            let mut like = Likeness::default();
            let mut gradient = Vec::with_capacity(scores.len());
            for (scores, &sample) in scores.chunks(teacher.n_classes.max(1)).zip(chosen) {
                let (own, of_scores) = teacher.compare(sample, scores);
                like.add(&own);
                gradient.extend(of_scores.into_iter().map(|g| (share * g) as f32));
            }
            let carried = match weights {
                Some(weights) => {
                    self.way.backward(&mut flow, gradient, Carrier::Digital(weights), false)?
                }
                None => Carried::default(),
            };
            Ok((carried.gradients, like))
        });
        let parts = parts.collect::<Result<Vec<_>, RunError>>()?;
        let (mut gradients, mut all) = (Gradients::default(), Likeness::default());
        for (part, like) in parts {
            gradients.add(part);
            all.add(&like);
        }
        Ok((gradients, all))
    }
}

#[cfg(test)]
mod tests {
    //! Steps of columns go down their own gradient.

    use super::*;

    /// Two columns of three results each, which are to be others.
    const RAW: [[f64; 3]; 2] = [[1.0, 2.0, 4.0], [-3.0, 0.5, 1.0]];
    const WANTED: [[f64; 3]; 2] = [[2.5, 3.0, 5.5], [-1.0, 0.0, 0.5]];

    fn columns() -> Columns {
        Columns {
            scales: vec![1.5, 0.5],
            bias: vec![0.25, -1.0],
            moments: vec![(3.0, 2.0), (-1.0, 0.5)],
            values: vec![1.2, 0.8, 0.3, -0.4],
            mean: vec![0.0; 4],
            square: vec![0.0; 4],
        }
    }

    /// Half the squared error, and its gradients by a factor on each column's
    /// results and by its bias.
    fn loss(columns: &Columns) -> (f64, [f64; 2], [f64; 2]) {
        let (scales, bias) = columns.registers();
        let (mut loss, mut factors, mut biases) = (0.0, [0.0; 2], [0.0; 2]);
        for column in 0..2 {
            for (raw, wanted) in RAW[column].iter().zip(WANTED[column]) {
                let result = scales[column] * raw + bias[column];
                loss += 0.5 * (result - wanted) * (result - wanted);
                factors[column] += (result - wanted) * result;
                biases[column] += result - wanted;
            }
        }
        (loss, factors, biases)
    }

    #[test]
    fn the_gradient_of_gains_and_offsets_is_what_the_loss_changes_by() {
        let mut own = columns();
        let (_, factors, biases) = loss(&own);
        own.descend(&factors, &biases, 0.0, (1.0, 1.0));
        for (nth, mean) in own.mean.iter().enumerate() {
            let at = |step: f64| {
                let mut moved = columns();
                moved.values[nth] += step;
                loss(&moved).0
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            let gradient = mean / (1.0 - KEPT.0);
            assert!((slope - gradient).abs() < 1e-6, "{nth}: {slope} {gradient}");
        }
    }

    #[test]
    fn steps_lead_to_the_least_loss() {
        let mut own = columns();
        let (before, ..) = loss(&own);
        let mut left = (1.0, 1.0);
        for step in 0..4000 {
            let (_, factors, biases) = loss(&own);
            left = (left.0 * KEPT.0, left.1 * KEPT.1);
            let rate = 0.02 * f64::from(4000 - step) / 4000.0;
            own.descend(&factors, &biases, rate, (1.0 - left.0, 1.0 - left.1));
        }
        // Least squares in closed form: what is left of each column is what no
        // gain and offset can do.
        let least: f64 = RAW.iter().zip(WANTED).map(|(x, y)| 0.5 * residual(x, &y)).sum();
        let (after, ..) = loss(&own);
        assert!(before > 2.0 * least && after < 1.001 * least, "{before} {after} {least}");
    }

    fn residual(x: &[f64; 3], y: &[f64; 3]) -> f64 {
        let mean = |v: &[f64; 3]| v.iter().sum::<f64>() / 3.0;
        let (mx, my) = (mean(x), mean(y));
        let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
            x.iter().zip(y).map(|(x, y)| f(x - mx, y - my)).sum()
        };
        sum(&|_, y| y * y) - sum(&|x, y| x * y) * sum(&|x, y| x * y) / sum(&|x, _| x * x)
    }
}
