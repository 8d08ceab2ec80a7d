//! One batch: forward on the chip, backward beside it, pulses on its cells.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::cells::Matrix;
use super::division::{boundary, first_step, layers};
use super::error::TuneError;
use super::loss::{Score, cross_entropy};
use super::randomise::randomise;
use super::samples::Samples;
use super::session::TuneState;
use super::transfer::{Fast, FastState};
use super::transposed::{Reads, Transposed};
use super::way::{Carried, Carrier, Way};
use super::{Backward, TuneOptions, Update};
use crate::chip::{CellChange, CellChanges, Chip, Conditions, Programmed, Rewriter, Work};
use crate::entity::{LayerId, PeId, TensorId};
use crate::frontend::Model;
use crate::runtime::digital::Value;
use crate::runtime::{Executor, Flow, RunError, batch_size};
use crate::schedule::{ExecutionPlan, PeTargets};
use crate::target::Target;

/// A chip under training.
#[derive(Debug)]
pub struct Tuner<'a> {
    plan: &'a ExecutionPlan,
    model: &'a Model,
    target: &'a Target,
    options: TuneOptions,
    rewriter: Rewriter<'a>,
    programmed: Programmed,
    /// What cells are to hold now.
    targets: BTreeMap<PeId, PeTargets>,
    /// The chip as it is read, and what runs it.
    chip: Chip,
    executor: Executor<'a>,
    way: Way,
    matrices: BTreeMap<LayerId, Matrix>,
    /// Crossbar layers that gradients pass; their weights are read backwards.
    passed: BTreeMap<LayerId, Matrix>,
    /// The arrays of these, where they carry errors back themselves.
    transposed: Option<Transposed<'a>>,
    /// The array that gradients go to first, by the rule of transfers.
    fast: Option<Fast<'a>>,
    /// Steps before this one have nothing to do with cells that are tuned.
    first_step: usize,
    /// Tensors that steps before it hand to those from it on.
    boundary: BTreeSet<TensorId>,
    fixed: Option<Fixed>,
}

/// What the steps before the first tuned layer give for every sample, where
/// nothing is noisy.
#[derive(Debug)]
struct Fixed(BTreeMap<TensorId, (Vec<usize>, Vec<f32>)>);

/// Values that are kept of fixed layers at most.
const FIXED_VALUES: usize = 1 << 27;

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tuned {
    /// Before its pulses.
    pub score: Score,
    /// Cells that were given pulses.
    pub n_cells: u64,
    /// What these took.
    pub work: Work,
    /// What errors took on their way back.
    pub reads: Reads,
}

impl<'a> Tuner<'a> {
    /// Prepares a chip that holds `plan`; weights that are to be lost are lost
    /// here.
    ///
    /// # Errors
    ///
    /// A layer that does not exist or cannot be tuned, a model without scores,
    /// single pulses on a target that has none, a chip of another plan.
    pub fn new(
        (plan, model, target): (&'a ExecutionPlan, &'a Model, &'a Target),
        mut programmed: Programmed,
        options: TuneOptions,
    ) -> Result<Self, TuneError> {
        let tuned = layers(plan, &options.layers)?;
        let rewriter = Rewriter::new(target);
        let single = matches!(options.update, Update::Sign { .. } | Update::Transfer(_));
        if single && !rewriter.has_pulses() {
            return Err(TuneError::NoPulses { target: target.name.clone() });
        }
        if options.backward == Backward::Arrays && !target.transposed_reads {
            return Err(TuneError::NoTransposedReads { target: target.name.clone() });
        }
        let way = Way::new(plan, model, &tuned)?;
        let mut targets = plan.targets.clone();
        if options.randomised > 0.0 {
            let how = (options.randomised, options.seed);
            let cell = &target.cell;
            randomise(plan, &rewriter, cell, &mut programmed, &mut targets, how);
        }
        let chip = programmed.chip(plan, target, &Conditions::at_once(options.seed));
        let executor = Executor::new(plan, model, &chip)?;
        let matrix = |&id: &LayerId| Some((id, Matrix::new(plan, id, plan.layers.get(&id)?)));
        let first_step = first_step(plan, &tuned);
        let matrices: BTreeMap<LayerId, Matrix> = tuned.iter().filter_map(matrix).collect();
        let fast = match options.update {
            Update::Transfer(how) => {
                Some(Fast::new(plan, target, &rewriter, &matrices, (how, &options))?)
            }
            Update::Threshold { .. } | Update::Sign { .. } => None,
        };
        Ok(Self {
            matrices,
            fast,
            passed: way.passed().iter().filter_map(matrix).collect(),
            transposed: match options.backward {
                Backward::Digital => None,
                Backward::Arrays => {
                    Some(Transposed::new(plan, target, &way.passed(), options.seed))
                }
            },
            boundary: boundary(plan, first_step, &way.kept),
            first_step,
            plan,
            model,
            target,
            options,
            rewriter,
            programmed,
            targets,
            chip,
            executor,
            way,
            fixed: None,
        })
    }

    /// Names of the layers that are tuned.
    pub fn layers(&self) -> Vec<&str> {
        let name = |id| self.plan.layers.get(id).map(|layer| layer.name.as_str());
        self.matrices.keys().filter_map(name).collect()
    }

    /// How it is tuned.
    pub fn options(&self) -> &TuneOptions {
        &self.options
    }

    /// The chip, and what its cells are to hold in place of the plan's targets.
    pub fn finish(self) -> (Programmed, BTreeMap<PeId, PeTargets>) {
        (self.programmed, self.targets)
    }

    /// The chip as it is now.
    pub fn programmed(&self) -> &Programmed {
        &self.programmed
    }

    /// What cells are to hold now.
    pub(super) fn targets(&self) -> &BTreeMap<PeId, PeTargets> {
        &self.targets
    }

    /// PEs that have tuned cells.
    pub(super) fn pes(&self) -> BTreeSet<PeId> {
        self.matrices.values().flat_map(Matrix::pes).collect()
    }

    /// Changes wanted and not made yet, by layer.
    pub(super) fn wanted(&self) -> BTreeMap<LayerId, Vec<f64>> {
        self.matrices.iter().map(|(&id, matrix)| (id, matrix.wanted.clone())).collect()
    }

    /// Steps wanted so far, by layer; none without momentum.
    pub(super) fn velocity(&self) -> BTreeMap<LayerId, Vec<f64>> {
        let own = self.matrices.iter().filter(|(_, matrix)| !matrix.velocity.is_empty());
        own.map(|(&id, matrix)| (id, matrix.velocity.clone())).collect()
    }

    /// What may have changed of the fast array, if there is one.
    pub(super) fn fast(&self) -> Option<FastState> {
        self.fast.as_ref().map(Fast::state)
    }

    /// Takes the chip to where it once was.
    pub(super) fn restore(&mut self, state: TuneState) -> Result<(), TuneError> {
        let TuneState { pes, wanted, velocity, fast, .. } = state;
        if let (Some(own), Some(fast)) = (&mut self.fast, fast) {
            own.restore(fast);
        }
        for (pe, (cells, targets)) in pes {
            self.programmed.pes.insert(pe, cells);
            self.targets.insert(pe, targets);
        }
        for (id, matrix) in &mut self.matrices {
            if let Some(wanted) = wanted.get(id).filter(|own| own.len() == matrix.wanted.len()) {
                matrix.wanted.clone_from(wanted);
            }
            matrix.velocity = velocity.get(id).cloned().unwrap_or_default();
        }
        let conditions = Conditions::at_once(self.options.seed);
        self.chip = self.programmed.chip(self.plan, self.target, &conditions);
        self.tabulate()
    }

    fn tabulate(&mut self) -> Result<(), TuneError> {
        let layers = self.matrices.keys().copied().collect();
        self.executor.retabulate(&self.chip, &layers)?;
        if let Some(transposed) = &mut self.transposed {
            transposed.tabulate(&self.chip);
        }
        Ok(())
    }

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
    pub(super) fn fix(&mut self, samples: &Samples) -> Result<(), TuneError> {
        if self.chip.is_noisy() || !self.model.any_batch || self.first_step == 0 {
            return Ok(());
        }
        let all: Vec<usize> = (0..samples.len()).collect();
        let mut fixed: BTreeMap<TensorId, (Vec<usize>, Vec<f32>)> = BTreeMap::new();
        let mut n_values = 0;
        for some in all.chunks(self.n_at_once() * 2 * rayon::current_num_threads()) {
            let flows: Vec<Flow> = some
                .par_chunks(self.n_at_once())
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

    /// Samples that run together.
    fn n_at_once(&self) -> usize {
        let batches = self.model.any_batch && self.model.inputs.iter().all(|i| i.has_batch);
        if batches { batch_size(self.model) } else { 1 }
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

    /// The gradients of the mean loss of some samples with respect to the real
    /// weights of the tuned layers, `[replica][group][row][column]`, and their
    /// score.
    ///
    /// # Errors
    ///
    /// As for [`measure`](Self::measure).
    pub fn gradients(
        &self,
        samples: &Samples,
        chosen: &[usize],
        first: u64,
    ) -> Result<(BTreeMap<LayerId, Vec<f64>>, Score), TuneError> {
        let (carried, score) = self.carry(samples, chosen, first, false)?;
        Ok((carried.gradients, score))
    }

    /// Carries the errors of some samples back.
    fn carry(
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
            carried.reads.add(&part.reads);
            for (id, own) in part.gradients {
                match carried.gradients.get_mut(&id) {
                    Some(sum) => sum.iter_mut().zip(&own).for_each(|(sum, own)| *sum += own),
                    None => drop(carried.gradients.insert(id, own)),
                }
            }
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
        let n_at_once = self.n_at_once();
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

    /// Tunes on one batch, the `number`-th.
    pub(super) fn tune(
        &mut self,
        samples: &Samples,
        chosen: &[usize],
        number: u64,
    ) -> Result<Tuned, TuneError> {
        let first = number.wrapping_mul(self.options.n_batch as u64);
        let (Carried { gradients, reads, .. }, score) =
            self.carry(samples, chosen, first, false)?;
        let finite = gradients.values().flatten().all(|g| g.is_finite());
        if !finite || !score.loss.is_finite() {
            let what = if finite { "losses" } else { "gradients" }.to_string();
            return Err(TuneError::NotFinite { batch: number, what });
        }
        let TuneOptions { update, carry, rate, momentum, seed, .. } = self.options;
        let (mut n_cells, mut work, mut reads) = (0, Work::default(), reads);
        if let Some(fast) = &mut self.fast {
            let when = (&self.options, number);
            (n_cells, work) = fast.descend(&gradients, &self.rewriter, when);
            reads.add(&fast.transfer(&mut self.matrices, number));
        }
        let set_phase = number.is_multiple_of(2);
        let mut changes = CellChanges::new();
        for (id, gradient) in &gradients {
            let Some(matrix) = self.matrices.get_mut(id) else { continue };
            if self.fast.is_none() {
                matrix.descend(gradient, rate, momentum);
            }
            // What is transferred is a sum, whatever becomes of gradients.
            let how = (update, set_phase, carry || self.fast.is_some());
            matrix.changes(self.plan, &self.programmed, &self.target.cell, how, &mut changes);
        }
        let own = self.rewriter.apply(&mut self.programmed, self.plan, &changes, (seed, number));
        work.beside(&own);
        self.take(&changes);
        if !changes.is_empty() {
            self.tabulate()?;
        }
        n_cells += changes.values().map(|list| list.len() as u64).sum::<u64>();
        Ok(Tuned { score, n_cells, work, reads })
    }

    /// Takes over what cells hold now that were changed.
    fn take(&mut self, changes: &CellChanges) {
        let cell = &self.target.cell;
        for (pe, list) in changes {
            let (Some(cells), Some(targets), Some(read)) = (
                self.programmed.pes.get(pe),
                self.targets.get_mut(pe),
                self.chip.conductances_us.get_mut(pe),
            ) else {
                continue;
            };
            for &(at, change) in list {
                read[at] = cells.relaxed_us[at];
                let goal_us = match change {
                    CellChange::Write(goal_us) => goal_us,
                    // Nobody aimed at anything.
                    CellChange::Set | CellChange::Reset => f64::from(cells.relaxed_us[at]),
                };
                let level = (goal_us - cell.conductance_min_us) / cell.step_us();
                targets.levels.set(at, level.max(0.0) as f32);
            }
        }
    }
}
