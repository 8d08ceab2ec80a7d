//! Writing cells.
//!
//! First model: write-verify leaves a cell anywhere within the tolerance
//! (uniform, as measured on 16,384 cells of the reference lab), then it
//! relaxes by a Gaussian step. Every cell draws from a stream of its own, keyed
//! by seed, PE and cell, so that nothing depends on which other cells are
//! used.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use super::Chip;
use crate::schedule::ExecutionPlan;
use crate::target::{Cell, Wires};

/// Random words set aside for one cell: far more than it draws.
const WORDS_PER_CELL: u128 = 64;

/// Programs a chip with a plan's targets. Its wires are ideal; what others do
/// is said by [`Chip::with_wires`].
///
/// Conductances never fall below zero.
pub fn program(plan: &ExecutionPlan, cell: &Cell, seed: u64) -> Chip {
    let conductances_us = plan
        .targets
        .iter()
        .map(|(&pe, targets)| {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream(u64::from(pe.0));
            let mut write = |(index, &level): (usize, &f32)| {
                if level.is_nan() {
                    return 0.0;
                }
                let goal = cell.conductance_us(f64::from(level));
                if cell.verify_tolerance_us == 0.0 && cell.relaxation_sd_us == 0.0 {
                    return goal as f32;
                }
                random.set_word_pos(index as u128 * WORDS_PER_CELL);
                let verify = cell.verify_tolerance_us * random.random_range(-1.0..=1.0);
                let relaxation: f64 = random.sample(StandardNormal);
                let reached = goal + verify + cell.relaxation_sd_us * relaxation;
                reached.max(0.0) as f32
            };
            (pe, targets.levels.iter().enumerate().map(&mut write).collect())
        })
        .collect();
    // A uniform distribution has a standard deviation of its half width over
    // the square root of 3.
    let cell_error_us = (cell.verify_tolerance_us / 3f64.sqrt()).hypot(cell.relaxation_sd_us);
    let read_noise_fraction = cell.read_noise_fraction;
    let wires = Wires::NONE;
    Chip { pe: plan.pe, wires, conductances_us, cell_error_us, read_noise_fraction, seed }
}
