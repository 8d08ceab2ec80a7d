//! What write-verify leaves, without following its pulses.
//!
//! A cell ends up anywhere within the tolerance (uniform, as measured on
//! 16,384 cells of the reference lab), then it relaxes by a Gaussian step.
//! Every cell draws from a stream of its own, keyed by seed, PE and cell, so
//! that nothing depends on which other cells are used.

use std::collections::BTreeMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rayon::prelude::*;

use crate::chip::faults::Faults;
use crate::chip::{Accumulator, CellCurve, CellState, Chip, Converter, PeCells, Programmed};
use crate::entity::PeId;
use crate::schedule::{ExecutionPlan, PeTargets};
use crate::target::{Cell, Target};

/// Random words set aside for one cell: far more than it draws.
const WORDS_PER_CELL: u128 = 64;

/// Programs a chip with a plan's targets, faults aside.
///
/// Conductances never fall below zero.
pub(super) fn chip(plan: &ExecutionPlan, target: &Target, seed: u64) -> Chip {
    let cell = &target.cell;
    let conductances_us = plan
        .targets
        .par_iter()
        .map(|(&pe, targets)| {
            let mut draws = Draws::new(cell, seed, pe);
            let levels = targets.levels.iter().enumerate();
            (pe, levels.map(|(index, &level)| draws.cell(index, level).1).collect())
        })
        .collect();
    // A uniform distribution has a standard deviation of its half width over
    // the square root of 3.
    let cell_error_us = (cell.verify_tolerance_us / 3f64.sqrt()).hypot(cell.relaxation_sd_us);
    let read_noise_fraction = cell.read_noise_fraction;
    Chip {
        pe: plan.pe,
        wires: target.wires,
        curve: CellCurve::new(&target.cell),
        vectors: None,
        conductances_us,
        cell_error_us,
        read_noise_fraction,
        converters: Converter::of_chip(plan, target, seed),
        accumulators: Accumulator::of_chip(plan, target, seed),
        seed,
    }
}

/// One PE of a chip whose cells and ADCs are what the plan says.
pub(in crate::chip) fn exact(plan: &ExecutionPlan, target: &Target, pe: PeId) -> Chip {
    let conductance = |level: &f32| match level.is_nan() {
        true => 0.0,
        false => target.cell.conductance_us(f64::from(*level)) as f32,
    };
    let targets = plan.targets.get(&pe);
    let cells = targets.map(|targets| (pe, targets.levels.iter().map(conductance).collect()));
    Chip {
        pe: plan.pe,
        wires: target.wires,
        curve: CellCurve::new(&target.cell),
        vectors: None,
        conductances_us: cells.into_iter().collect(),
        cell_error_us: 0.0,
        read_noise_fraction: 0.0,
        converters: BTreeMap::new(),
        accumulators: BTreeMap::new(),
        seed: 0,
    }
}

/// The same with all that is known of how it came about.
pub(super) fn programmed(
    plan: &ExecutionPlan,
    cell: &Cell,
    seed: u64,
    faults: &Faults<'_>,
) -> Programmed {
    let targets: Vec<(&PeId, &PeTargets)> = plan.targets.iter().collect();
    let pes = targets
        .into_par_iter()
        .map(|(&pe, targets)| {
            let mut draws = Draws::new(cell, seed, pe);
            let faults = faults.of_pe(seed, plan.on_chip(pe), plan.pe);
            let mut cells = PeCells::unused(targets.levels.len());
            for (index, &level) in targets.levels.iter().enumerate() {
                if level.is_nan() {
                    continue;
                }
                if let Some(fault) = faults.of(index) {
                    cells.set_faulty(index, fault, cell);
                    continue;
                }
                (cells.written_us[index], cells.relaxed_us[index]) = draws.cell(index, level);
                cells.states[index] = CellState::Written;
            }
            (pe, cells)
        })
        .collect();
    Programmed { pe: plan.pe, seed, by_pulses: false, n_rewritten: 0, pes }
}

/// What the cells of one PE draw.
struct Draws<'a> {
    cell: &'a Cell,
    random: ChaCha8Rng,
}

impl<'a> Draws<'a> {
    fn new(cell: &'a Cell, seed: u64, pe: PeId) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(u64::from(pe.0));
        Self { cell, random }
    }

    /// Conductances in uS of a cell when it was verified, and relaxed.
    fn cell(&mut self, index: usize, level: f32) -> (f32, f32) {
        let cell = self.cell;
        if level.is_nan() {
            return (0.0, 0.0);
        }
        let goal = cell.conductance_us(f64::from(level));
        if cell.verify_tolerance_us == 0.0 && cell.relaxation_sd_us == 0.0 {
            return (goal as f32, goal as f32);
        }
        self.random.set_word_pos(index as u128 * WORDS_PER_CELL);
        let verify = cell.verify_tolerance_us * self.random.random_range(-1.0..=1.0);
        let relaxation: f64 = self.random.sample(StandardNormal);
        let reached = goal + verify + cell.relaxation_sd_us * relaxation;
        ((goal + verify).max(0.0) as f32, reached.max(0.0) as f32)
    }
}
