//! One batch: forward on the chip, backward beside it or through it, pulses on
//! its cells.

mod passes;

use std::collections::{BTreeMap, BTreeSet};

use crate::chip::{CellChange, CellChanges, Chip, Conditions, Programmed, Rewriter, Work};
use crate::entity::{LayerId, PeId, TensorId};
use crate::frontend::Model;
use crate::runtime::Executor;
use crate::schedule::{ExecutionPlan, PeTargets};
use crate::target::Target;
use crate::tuning::cells::Matrix;
use crate::tuning::division::{boundary, first_step, layers};
use crate::tuning::error::TuneError;
use crate::tuning::loss::Score;
use crate::tuning::randomise::randomise;
use crate::tuning::reads::Reads;
use crate::tuning::registers::Registers;
use crate::tuning::samples::Samples;
use crate::tuning::session::TuneState;
use crate::tuning::transfer::{Fast, FastState};
use crate::tuning::transposed::Transposed;
use crate::tuning::way::{Carried, Wanted, Way};
use crate::tuning::{Backward, TuneOptions, Update};

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
    /// What is digital of the same layers, where it changes: if it is trained,
    /// or follows weights whose inputs have a zero point.
    registers: BTreeMap<LayerId, Registers>,
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
    fixed: Option<passes::Fixed>,
}

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::tuning) struct Tuned {
    /// Before its pulses.
    pub score: Score,
    /// Cells that were given pulses.
    pub n_cells: u64,
    /// What these took.
    pub work: Work,
    /// What errors took on their way back.
    pub reads: Reads,
}

/// A chip that was tuned.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Its cells.
    pub programmed: Programmed,
    /// What cells are to hold in place of the plan's targets.
    pub targets: BTreeMap<PeId, PeTargets>,
    /// Layers whose biases are others than the plan's.
    pub registers: BTreeMap<LayerId, Registers>,
}

impl Trained {
    /// Makes the plan that the chip was made from that of this chip.
    pub fn into_plan(self, plan: &mut ExecutionPlan) -> Programmed {
        plan.targets = self.targets;
        for (id, own) in self.registers {
            if let Some(layer) = plan.layers.get_mut(&id) {
                layer.bias.iter_mut().zip(own.bias).for_each(|(to, bias)| *to = bias as f32);
            }
        }
        self.programmed
    }
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
        let way = Way::new(plan, model, &tuned, Wanted::Weights)?;
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
        let registers = tuned.iter().filter_map(|id| {
            let layer = plan.layers.get(id)?;
            let changes = options.biases || layer.coding.zero_point != 0;
            changes.then(|| (*id, Registers::new(layer)))
        });
        let registers = registers.collect();
        Ok(Self {
            matrices,
            registers,
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

    /// The chip as it ended.
    pub fn finish(self) -> Trained {
        let Self { programmed, targets, registers, .. } = self;
        Trained { programmed, targets, registers }
    }

    /// The chip as it is now.
    pub fn programmed(&self) -> &Programmed {
        &self.programmed
    }

    /// What cells are to hold now.
    pub(in crate::tuning) fn targets(&self) -> &BTreeMap<PeId, PeTargets> {
        &self.targets
    }

    /// PEs that have tuned cells.
    pub(in crate::tuning) fn pes(&self) -> BTreeSet<PeId> {
        self.matrices.values().flat_map(Matrix::pes).collect()
    }

    /// Changes wanted and not made yet, by layer.
    pub(in crate::tuning) fn wanted(&self) -> BTreeMap<LayerId, Vec<f64>> {
        self.matrices.iter().map(|(&id, matrix)| (id, matrix.wanted.clone())).collect()
    }

    /// Steps wanted so far, by layer; none without momentum.
    pub(in crate::tuning) fn velocity(&self) -> BTreeMap<LayerId, Vec<f64>> {
        let own = self.matrices.iter().filter(|(_, matrix)| !matrix.velocity.is_empty());
        own.map(|(&id, matrix)| (id, matrix.velocity.clone())).collect()
    }

    /// What is digital of tuned layers now, where it changes.
    pub(in crate::tuning) fn registers(&self) -> &BTreeMap<LayerId, Registers> {
        &self.registers
    }

    /// What may have changed of the fast array, if there is one.
    pub(in crate::tuning) fn fast(&self) -> Option<FastState> {
        self.fast.as_ref().map(Fast::state)
    }

    /// Takes the chip to where it once was.
    pub(in crate::tuning) fn restore(&mut self, state: TuneState) -> Result<(), TuneError> {
        let TuneState { pes, wanted, velocity, registers, fast, .. } = state;
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
        for (id, own) in &mut self.registers {
            let known = |kept: &Registers| kept.bias.len() == own.bias.len();
            if let Some(kept) = registers.get(id).filter(|kept| known(kept)) {
                own.clone_from(kept);
                self.executor.set_bias(*id, &own.bias);
            }
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

    /// Tunes on one batch, the `number`-th.
    pub(in crate::tuning) fn tune(
        &mut self,
        samples: &Samples,
        chosen: &[usize],
        number: u64,
    ) -> Result<Tuned, TuneError> {
        let first = number.wrapping_mul(self.options.n_batch as u64);
        let (Carried { gradients, driven, .. }, score) =
            self.carry(samples, chosen, first, false)?;
        let arrays = self.transposed.as_ref();
        let reads = arrays.map_or(Reads::default(), |arrays| arrays.reads(&driven));
        let finite = gradients.are_finite();
        if !finite || !score.loss.is_finite() {
            let what = if finite { "losses" } else { "gradients" }.to_string();
            return Err(TuneError::NotFinite { batch: number, what });
        }
        let TuneOptions { update, carry, rate, momentum, seed, .. } = self.options;
        let (mut n_cells, mut work, mut reads) = (0, Work::default(), reads);
        if let Some(fast) = &mut self.fast {
            let when = (&self.options, number);
            (n_cells, work) = fast.descend(&gradients.weights, &self.rewriter, when);
            reads.add(&fast.transfer(&mut self.matrices, number));
        }
        let set_phase = number.is_multiple_of(2);
        let mut changes = CellChanges::new();
        for (id, gradient) in &gradients.weights {
            let Some(matrix) = self.matrices.get_mut(id) else { continue };
            if self.fast.is_none() {
                matrix.descend(gradient, rate, momentum);
            }
            // What is transferred is a sum, whatever becomes of gradients.
            let how = (update, set_phase, carry || self.fast.is_some());
            let held = (&self.programmed, &self.target.cell);
            let fallen = matrix.changes(self.plan, held, how, &mut changes);
            if let Some(own) = self.registers.get_mut(id) {
                own.raise(&fallen);
            }
        }
        for (id, own) in &mut self.registers {
            let gradient = gradients.biases.get(id).filter(|_| self.options.biases);
            if let Some(gradient) = gradient {
                own.descend(gradient, rate, momentum);
            }
            self.executor.set_bias(*id, &own.bias);
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
