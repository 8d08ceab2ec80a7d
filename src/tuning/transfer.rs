//! Two arrays: gradients go to a fast one, and what it holds goes over to the
//! weights, line by line ('Tiki-Taka', Gokmen and Haensch 2020; with the sums
//! kept digitally, Gokmen 2021).
//!
//! A device whose pulses up and down differ goes astray when it is given many of
//! them: it drifts to where both undo each other on average. In the fast array
//! that place is made its zero. Each pair is a cell that is pulsed and a
//! reference, both written there; gradients give the first one SET and RESET
//! pulses, the asymmetry of the device makes it forget, and what is left over is
//! a running mean of gradients in which the noise of pulses has averaged out.
//!
//! ```text
//! gradient --pulses--> fast array --a line read every few batches--> sums, digital --pulses--> weights
//! ```
//!
//! The fast array is a chip's part of its own, with as many PEs again. It is of
//! no use once the training is over, and not kept with the chip.

use std::collections::BTreeMap;

use super::cells::Matrix;
use super::error::TuneError;
use super::reads::{Reads, Wave};
use super::{Transfer, TuneOptions};
use crate::chip::{
    CellChanges, PeCells, ProgramOptions, Programmed, ReadNoise, Rewriter, Work, write,
};
use crate::entity::{LayerId, PeId};
use crate::schedule::{ExecutionPlan, Levels, PeTargets};
use crate::target::{AdcBits, Target};

/// Distinguishes the cells of a fast array from those of the weights.
const FAST: u64 = 0x6661_7374;

/// Marks the noise of a reading of a fast array: no step of a plan.
const STEP: u32 = u32::MAX;

/// The fast array of a training.
#[derive(Debug)]
pub(super) struct Fast<'a> {
    target: &'a Target,
    how: Transfer,
    seed: u64,
    /// The plan with the targets of the fast array.
    plan: ExecutionPlan,
    programmed: Programmed,
    /// Its layers, with what is wanted of it.
    matrices: BTreeMap<LayerId, Matrix>,
    /// What its cells held when they were written: its zero.
    zero: BTreeMap<PeId, Vec<f32>>,
}

impl<'a> Fast<'a> {
    /// Writes a fast array for these layers of a plan; gives what that took.
    pub fn new(
        plan: &ExecutionPlan,
        target: &'a Target,
        rewriter: &Rewriter<'_>,
        layers: &BTreeMap<LayerId, Matrix>,
        (how, options): (Transfer, &TuneOptions),
    ) -> Result<Self, TuneError> {
        let balance_us = rewriter
            .balance_us()
            .ok_or_else(|| TuneError::NoPulses { target: target.name.clone() })?;
        let cell = &target.cell;
        let level = ((balance_us - cell.conductance_min_us) / cell.step_us()) as f32;
        let mut targets = BTreeMap::new();
        for pe in layers.values().flat_map(Matrix::pes) {
            let Some(own) = plan.targets.get(&pe) else { continue };
            let levels = own.levels.iter().map(|own| if own.is_nan() { f32::NAN } else { level });
            targets.insert(pe, PeTargets { levels: Levels::from(levels.collect::<Vec<f32>>()) });
        }
        let (n_needed, n_own) = (targets.len() as u64, plan.targets.len() as u64);
        if let Some(n_pes) = target.chip.n_pes().filter(|&n| n_needed + n_own > u64::from(n)) {
            return Err(TuneError::NoRoomForFast {
                target: target.name.clone(),
                n_needed: n_needed + n_own,
                n_pes,
            });
        }
        let plan = ExecutionPlan { targets, ..plan.clone() };
        let seed = options.seed;
        let writing = ProgramOptions { seed: seed ^ FAST, by_pulses: true, fault_map: None };
        let programmed = write(&plan, target, &writing)
            .map_err(|error| TuneError::FastArray { reason: error.to_string() })?;
        let held = |(&pe, cells): (&PeId, &PeCells)| (pe, cells.relaxed_us.clone());
        let zero = programmed.pes.iter().map(held).collect();
        let matrices = layers.clone();
        Ok(Self { target, how, seed, plan, programmed, matrices, zero })
    }

    /// Steps down gradients with pulses on the fast array; gives the cells that
    /// were given one, and what that took.
    pub fn descend(
        &mut self,
        gradients: &BTreeMap<LayerId, Vec<f64>>,
        rewriter: &Rewriter<'_>,
        (options, number): (&TuneOptions, u64),
    ) -> (u64, Work) {
        let mut changes = CellChanges::new();
        for (id, gradient) in gradients {
            let Some(matrix) = self.matrices.get_mut(id) else { continue };
            matrix.descend(gradient, options.rate, options.momentum);
            matrix.pulses(&self.plan, self.how.above_us, options.carry, &mut changes);
        }
        let round = (options.seed ^ FAST, number);
        let work = rewriter.apply(&mut self.programmed, &self.plan, &changes, round);
        (changes.values().map(|list| list.len() as u64).sum(), work)
    }

    /// Reads a line of every tile, where it is time, and wants what it holds of
    /// the weights.
    pub fn transfer(&self, weights: &mut BTreeMap<LayerId, Matrix>, number: u64) -> Reads {
        let mut reads = Reads::default();
        let every = self.how.every.max(1);
        if !(number + 1).is_multiple_of(every) {
            return reads;
        }
        let n_outputs = self.plan.pe.outputs as usize;
        let line = (number / every % u64::from(self.plan.pe.inputs)) as u32;
        let (cell, level_us) = (&self.target.cell, self.plan.level_us);
        // One cell at a time: the range is that of a cell.
        let step_us = match self.target.readout.adc_bits {
            AdcBits::Bits(bits) => cell.conductance_max_us / f64::from((1u32 << bits.min(30)) - 1),
            AdcBits::AsNeeded => 0.0,
        };
        let adc_bits = match self.target.readout.adc_bits {
            AdcBits::Bits(bits) => bits,
            AdcBits::AsNeeded => u8::MAX,
        };
        let mut cycles: BTreeMap<PeId, u64> = BTreeMap::new();
        for (id, own) in &self.matrices {
            let Some(wanted) = weights.get_mut(id) else { continue };
            for tile in own
                .tiles()
                .iter()
                .filter(|tile| (tile.input_line..tile.input_line + tile.n_inputs()).contains(&line))
            {
                let (Some(cells), Some(zero)) =
                    (self.programmed.pes.get(&tile.pe), self.zero.get(&tile.pe))
                else {
                    continue;
                };
                let wave = Wave::new(self.target, tile.n_outputs() as usize, 1, 1, adc_bits);
                reads.add_waves(1, &wave);
                let first = line as usize * n_outputs + tile.output_line as usize;
                let held = cells.relaxed_us.iter().skip(first).take(tile.n_outputs() as usize);
                let drawn_us: f64 = held.map(|&us| f64::from(us)).sum();
                reads.array_pj += drawn_us * wave.pj_per_us;
                *cycles.entry(tile.pe).or_default() += wave.cycles;
                let noise = ReadNoise::new(self.seed, number, tile.pe.0, STEP);
                let read = |at: usize| {
                    let (held, output) = (f64::from(cells.relaxed_us[at]), (at % n_outputs) as u32);
                    let draws = noise.draw(line, output / 8 * 8, 0);
                    let z = f64::from(draws[output as usize % draws.len()]);
                    let us = held * (1.0 + cell.read_noise_fraction * z);
                    if step_us > 0.0 { (us / step_us).round_ties_even() * step_us } else { us }
                };
                own.visit(tile, n_outputs, |weight, at| {
                    if at / n_outputs != line as usize {
                        return;
                    }
                    let zero = f64::from(zero[at]) - f64::from(zero[at + 1]);
                    let levels = (read(at) - read(at + 1) - zero) / level_us;
                    wanted.wanted[weight] += self.how.share * own.factor(tile) * levels;
                });
            }
        }
        let longest = cycles.values().max().copied().unwrap_or(0);
        reads.busy_ns = longest as f64 * self.target.readout.cycle_ns;
        reads
    }

    /// What may have changed of it: its cells, and changes wanted of them.
    pub fn state(&self) -> FastState {
        let wanted = self.matrices.iter().map(|(&id, own)| (id, own.wanted.clone()));
        let velocity = self.matrices.iter().filter(|(_, own)| !own.velocity.is_empty());
        FastState {
            pes: self.programmed.pes.clone(),
            wanted: wanted.collect(),
            velocity: velocity.map(|(&id, own)| (id, own.velocity.clone())).collect(),
        }
    }

    /// Takes it to where it once was.
    pub fn restore(&mut self, state: FastState) {
        self.programmed.pes.extend(state.pes);
        for (id, matrix) in &mut self.matrices {
            let known = |own: &&Vec<f64>| own.len() == matrix.wanted.len();
            if let Some(wanted) = state.wanted.get(id).filter(known) {
                matrix.wanted.clone_from(wanted);
            }
            matrix.velocity = state.velocity.get(id).cloned().unwrap_or_default();
        }
    }
}

/// What may have changed of a fast array.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FastState {
    /// Its cells.
    pub pes: BTreeMap<PeId, PeCells>,
    /// Changes wanted of it and not made yet, in levels, by layer.
    pub wanted: BTreeMap<LayerId, Vec<f64>>,
    /// Steps wanted of it so far, by layer; none without momentum.
    pub velocity: BTreeMap<LayerId, Vec<f64>>,
}
