//! Samples forward to their scores, and their errors back: what of a training
//! looks at the chip and changes nothing of it.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Tuner;
use crate::entity::TensorId;
use crate::runtime::digital::Value;
use crate::runtime::{Flow, RunError, batch_size};
use crate::tuning::error::TuneError;
use crate::tuning::loss::{Score, cross_entropy};
use crate::tuning::samples::Samples;
use crate::tuning::way::{Carried, Carrier, Gradients};

/// What the steps before the first tuned layer give for every sample, where
/// nothing is noisy.
#[derive(Debug)]
pub(super) struct Fixed(BTreeMap<TensorId, (Vec<usize>, Vec<f32>)>);

/// Values that are kept of fixed layers at most.
const FIXED_VALUES: usize = 1 << 27;

impl Tuner<'_> {
    /// Chooses the ranges of transposed reads by the errors of some samples,
    /// which products beside the chip carry back this once.
    ///
    /// # Errors
    ///
    /// As for [`measure`](Self::measure).
    pub fn choose_ranges(&mut self, samples: &Samples, chosen: &[usize]) -> Result<(), TuneError> {
        let Some(mut transposed) = self.transposed.take() else { return Ok(()) };
        let (carried, _) = self.carry(samples, chosen, 0, true)?;
        transposed.calibrate(&self.chip, &carried.errors, self.options.room);
        self.transposed = Some(transposed);
        Ok(())
    }

    /// Runs the layers that are not tuned once for all samples, if nothing
    /// about them is noisy and there is room.
    ///
    /// # Errors
    ///
    /// A run that fails.
    pub(in crate::tuning) fn fix(&mut self, samples: &Samples) -> Result<(), TuneError> {
        if self.chip.is_noisy() || !self.model.any_batch || self.first_step == 0 {
            return Ok(());
        }
        let all: Vec<usize> = (0..samples.len()).collect();
        let mut fixed: BTreeMap<TensorId, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        let mut n_values = 0;
        for some in all.chunks(batch_size(self.model) * 2 * rayon::current_num_threads()) {
            let flows: Vec<Flow> = some
                .par_chunks(batch_size(self.model))
                .map(|chosen| {
                    let inputs = samples.batch(&self.model.inputs, chosen);
                    let mut flow = self.executor.start(&inputs, 0)?;
                    self.executor.advance(&mut flow, 0..self.first_step, &self.boundary)?;
                    Ok(flow)
                })
                .collect::<Result<_, RunError>>()?;
            for flow in flows {
                for tensor in &self.boundary {
                    // Something else than f32, or without a batch axis, is not
                    // kept, and so nothing is.
                    let Some(value) = flow.tensors.get(tensor) else { return Ok(()) };
                    let (Some(values), Some(&n)) = (value.as_f32(), value.shape().first()) else {
                        return Ok(());
                    };
                    n_values += values.len();
                    if n != flow.n_batch || n_values > FIXED_VALUES {
                        return Ok(());
                    }
                    let shape = || (value.shape()[1..].to_vec(), Vec::new());
                    fixed.entry(*tensor).or_insert_with(shape).1.extend_from_slice(values);
                }
            }
        }
        self.fixed = Some(Fixed(fixed));
        Ok(())
    }

    /// Runs some samples to the scores.
    fn forward(&self, samples: &Samples, chosen: &[usize], first: u64) -> Result<Flow, RunError> {
        let n_steps = self.plan.steps.len();
        match &self.fixed {
            Some(Fixed(fixed)) => {
                let mut tensors = BTreeMap::new();
                for (&tensor, (shape, values)) in fixed {
                    let each: usize = shape.iter().product();
                    let own = |&nth: &usize| &values[nth * each..(nth + 1) * each];
                    let own: Vec<f32> = chosen.iter().flat_map(own).copied().collect();
                    let shape = [&[chosen.len()], &shape[..]].concat();
                    tensors.insert(tensor, Value::from_f32(&shape, &own)?);
                }
                let mut flow = Flow { tensors, n_batch: chosen.len(), first_input: first };
                self.executor.advance(&mut flow, self.first_step..n_steps, &self.way.kept)?;
                Ok(flow)
            }
            None => {
                let inputs = samples.batch(&self.model.inputs, chosen);
                let mut flow = self.executor.start(&inputs, first)?;
                self.executor.advance(&mut flow, 0..n_steps, &self.way.kept)?;
                Ok(flow)
            }
        }
    }

    /// How the chip does on some samples, without a change to it. `first` is
    /// the number of the first, which keys its noise.
    ///
    /// # Errors
    ///
    /// A run that fails, labels that are no classes.
    pub fn measure(
        &self,
        samples: &Samples,
        chosen: &[usize],
        first: u64,
    ) -> Result<Score, TuneError> {
        let scores = self.parts(samples, chosen, first, |flow, chosen| {
            let scores = self.way.scores(flow)?;
            let labelled = self.labelled(&scores, samples, chosen)?;
            Ok(labelled.into_iter().map(|(score, _)| score).collect::<Vec<_>>())
        })?;
        let mut all = Score::default();
        scores.iter().flatten().for_each(|score| all.add(score));
        Ok(all)
    }

    /// The gradients of the mean loss of some samples, and their score.
    ///
    /// # Errors
    ///
    /// As for [`measure`](Self::measure).
    pub fn gradients(
        &self,
        samples: &Samples,
        chosen: &[usize],
        first: u64,
    ) -> Result<(Gradients, Score), TuneError> {
        let (carried, score) = self.carry(samples, chosen, first, false)?;
        Ok((carried.gradients, score))
    }

    /// Carries the errors of some samples back.
    pub(super) fn carry(
        &self,
        samples: &Samples,
        chosen: &[usize],
        first: u64,
        watch: bool,
    ) -> Result<(Carried, Score), TuneError> {
        let n_outputs = self.plan.pe.outputs as usize;
        let weights = match &self.transposed {
            Some(_) => BTreeMap::new(),
            None => {
                let (us, level_us) = (&self.chip.conductances_us, self.plan.level_us);
                let passed = self.passed.iter();
                passed.map(|(&id, own)| (id, own.weights(us, n_outputs, level_us))).collect()
            }
        };
        let carrier = match &self.transposed {
            Some(transposed) => Carrier::Arrays(transposed),
            None => Carrier::Digital(&weights),
        };
        let share = 1.0 / chosen.len().max(1) as f64;
        let parts = self.parts(samples, chosen, first, |flow, chosen| {
            let scores = self.way.scores(flow)?;
            let labelled = self.labelled(&scores, samples, chosen)?;
            let mut all = Score::default();
            let mut gradient = Vec::with_capacity(scores.len());
            for (score, own) in &labelled {
                all.add(score);
                gradient.extend(own.iter().map(|g| (share * g) as f32));
            }
            Ok((self.way.backward(flow, gradient, carrier, watch)?, all))
        })?;
        let (mut carried, mut all) = (Carried::default(), Score::default());
        for (part, score) in parts {
            all.add(&score);
            for (id, driven) in &part.driven {
                carried.driven.entry(*id).or_default().add(driven);
            }
            carried.gradients.add(part.gradients);
            for (id, errors) in part.errors {
                carried.errors.entry(id).or_default().extend(errors);
            }
        }
        Ok((carried, all))
    }

    /// Works on parts of some samples, on any thread; results come in order.
    fn parts<T: Send>(
        &self,
        samples: &Samples,
        chosen: &[usize],
        first: u64,
        work: impl Fn(&mut Flow, &[usize]) -> Result<T, TuneError> + Sync,
    ) -> Result<Vec<T>, TuneError> {
        let n_at_once = batch_size(self.model);
        let parts: Vec<&[usize]> = chosen.chunks(n_at_once).collect();
        parts
            .into_par_iter()
            .enumerate()
            .map(|(nth, chosen)| {
                let mut flow = self.forward(samples, chosen, first + (nth * n_at_once) as u64)?;
                work(&mut flow, chosen)
            })
            .collect()
    }

    /// Score and gradient of each sample.
    fn labelled(
        &self,
        scores: &[f32],
        samples: &Samples,
        chosen: &[usize],
    ) -> Result<Vec<(Score, Vec<f64>)>, TuneError> {
        let n_classes = self.way.n_classes();
        let of = |(scores, &sample): (&[f32], &usize)| {
            let label = samples.labels().get(sample).copied().unwrap_or(u32::MAX);
            if label as usize >= n_classes {
                return Err(TuneError::Label { sample, label, n_classes });
            }
            Ok(cross_entropy(scores, label as usize))
        };
        scores.chunks(n_classes.max(1)).zip(chosen).map(of).collect()
    }
}
