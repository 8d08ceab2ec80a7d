//! Writing cells.
//!
//! Three ways to a chip. [`program`] gives what write-verify leaves on average,
//! in no time and for any target: a cell anywhere within the tolerance, then
//! relaxed. [`write`](fn@write) follows every pulse where the target says what
//! pulses do, and tells what it took; cells can then be given up, stuck, or
//! not formed. A [`PairWriter`] writes pairs to differences, with pulses chosen
//! by what they are likely to do, for somebody who decides between. A
//! [`Forecast`] tells what writing will take, without a chip. All draw from
//! streams keyed by seed, PE and cell, so a chip is the same for any number of
//! threads.
//!
//! | file | |
//! |---|---|
//! | `statistics` | what write-verify leaves, without following its pulses |
//! | `table` | what a pulse does, as measured |
//! | `device` | what a pulse does, by any model |
//! | `verify` | pulses and readings in turn |
//! | `rewrite` | cells of a chip in use, changed |
//! | `choice` | which pulse has the fewest to follow |
//! | `pairs` | pairs written by that, to a difference |
//! | `forecast` | what writing will take, from some of the cells |

mod choice;
mod device;
mod forecast;
mod pairs;
mod rewrite;
mod statistics;
mod table;
#[cfg(test)]
mod tests;
mod verify;

use rayon::prelude::*;
use thiserror::Error;

use super::effects::Conditions;
use super::faults::{FaultMap, Faults};
use super::{CellState, Chip, PeCells, Programmed};
use crate::diagnostic::{Diagnostic, Explain};
use crate::entity::PeId;
use crate::schedule::{ExecutionPlan, PeTargets};
use crate::target::{Pulses, Target};
pub use forecast::Forecast;
pub use pairs::{HeldCell, PairGoal, PairOptions, PairWriter, PeBench};
pub use rewrite::{CellChange, CellChanges, Rewriter};
pub(super) use statistics::exact;
use verify::{PeStreams, Tally, Writer};

/// How a chip is programmed.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProgramOptions<'a> {
    /// Seed of the chip: of all that distinguishes its cells.
    pub seed: u64,
    /// Follow every pulse, where the target says what pulses do.
    pub by_pulses: bool,
    /// Faults measured on the chip, in place of the target's rates.
    pub fault_map: Option<&'a FaultMap>,
}

/// Why a chip cannot be programmed.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ProgramError {
    /// Hardly any cell would come within the tolerance. Found before any cell
    /// is written, on a few cells without faults.
    #[error("a tolerance of {tolerance_us} uS is smaller than these pulses can hit")]
    TooFine {
        /// Half width of the band, in uS.
        tolerance_us: f64,
        /// Cells tried.
        n_tried: usize,
        /// Cells that came within the tolerance.
        n_accepted: usize,
        /// Pulses after which a cell is given up.
        give_up_pulses: u32,
    },
    /// Pulses are wanted, and the target does not say what they do.
    #[error("the target does not say what pulses do")]
    NoPulses,
}

impl Explain for ProgramError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        let error = Diagnostic::error(self.to_string());
        vec![match self {
            Self::TooFine { n_tried, n_accepted, give_up_pulses, .. } => error
                .note(format!(
                    "of {n_tried} cells that were tried, {n_accepted} came within it in \
                     {give_up_pulses} pulses"
                ))
                .help(
                    "raise `cell.verify_tolerance_us` or `cell.pulses.give_up_pulses`, or choose \
                     another `cell.pulses.model`",
                ),
            Self::NoPulses => {
                error.help("`ohmc targets yao2020-chip` prints a target that has `cell.pulses`")
            }
        }]
    }
}

/// A chip as write-verify leaves it on average, with all effects of its
/// target, right after programming. Read noise has the same seed.
///
/// Conductances never fall below zero.
pub fn program(plan: &ExecutionPlan, target: &Target, seed: u64) -> Chip {
    let cell = &target.cell;
    if cell.faults.is_none() {
        return statistics::chip(plan, target, seed);
    }
    let faults = Faults { rates: cell.faults, map: None };
    let programmed = statistics::programmed(plan, cell, seed, &faults);
    programmed.chip(plan, target, &Conditions::at_once(seed))
}

/// Programs a chip with a plan's targets, and keeps what came of every cell.
///
/// # Errors
///
/// The tolerance is smaller than pulses can hit; then none is given.
pub fn write(
    plan: &ExecutionPlan,
    target: &Target,
    options: &ProgramOptions<'_>,
) -> Result<Programmed, ProgramError> {
    let faults = Faults { rates: target.cell.faults, map: options.fault_map };
    match target.cell.pulses.filter(|_| options.by_pulses) {
        Some(pulses) => by_pulses(plan, target, pulses, options.seed, &faults),
        None => Ok(statistics::programmed(plan, &target.cell, options.seed, &faults)),
    }
}

/// What writes the pairs of a plan into the chip of a seed, new or as an
/// earlier plan left it; `None` where the target does not say what pulses do.
pub fn pair_writer<'a>(
    plan: &'a ExecutionPlan,
    target: &'a Target,
    options: &ProgramOptions<'a>,
    pairs: PairOptions,
    from: Option<&'a Programmed>,
) -> Option<PairWriter<'a>> {
    let faults = Faults { rates: target.cell.faults, map: options.fault_map };
    PairWriter::new((plan, target), pairs, (options.seed, faults), from)
}

fn by_pulses(
    plan: &ExecutionPlan,
    target: &Target,
    pulses: Pulses,
    seed: u64,
    faults: &Faults<'_>,
) -> Result<Programmed, ProgramError> {
    let writer = Writer::new(target, pulses);
    let rewriter = Writer::new(target, Pulses { forming: None, ..pulses });
    try_out(plan, target, &pulses, seed)?;
    let works = faults.are_none();
    let targets: Vec<(&PeId, &PeTargets)> = plan.targets.iter().collect();
    let pes = targets
        .into_par_iter()
        .map(|(&pe, targets)| {
            let faults = (!works).then(|| faults.of_pe(seed, plan.on_chip(pe), plan.pe));
            // Cells are formed once, before the first pass.
            let writer = if plan.pass_of(pe) == 0 { &writer } else { &rewriter };
            let streams = PeStreams::new(seed, pe, plan.on_chip(pe));
            let mut cells = PeCells::unused(targets.levels.len());
            let mut tally = Tally::default();
            for (index, &level) in targets.levels.iter().enumerate() {
                if level.is_nan() {
                    continue;
                }
                let fault = faults.as_ref().and_then(|faults| faults.of(index));
                let goal_us = target.cell.conductance_us(f64::from(level));
                cells.set(index, &writer.write(goal_us, (&streams, index), fault, &mut tally));
            }
            cells.work = writer.work(&tally);
            (pe, cells)
        })
        .collect();
    Ok(Programmed { pe: plan.pe, seed, by_pulses: true, n_rewritten: 0, pes })
}

/// Cells of a trial before the first pulse: enough to see a tenth of them.
const TRIED: usize = 256;

/// Whether pulses reach the plan's targets at all: one round on a few of its
/// cells, spread over all of it and free of faults.
fn try_out(
    plan: &ExecutionPlan,
    target: &Target,
    pulses: &Pulses,
    seed: u64,
) -> Result<(), ProgramError> {
    let writer = Writer::new(target, Pulses { rounds: 1, forming: None, ..*pulses });
    let used = |targets: &PeTargets| targets.levels.iter().filter(|level| !level.is_nan()).count();
    let n_used: usize = plan.targets.values().map(used).sum();
    let stride = n_used.div_ceil(TRIED).max(1);
    let (mut nth, mut n_tried, mut n_accepted) = (0usize, 0, 0);
    for (&pe, targets) in &plan.targets {
        let streams = PeStreams::new(seed, pe, plan.on_chip(pe));
        for (index, &level) in targets.levels.iter().enumerate() {
            if level.is_nan() {
                continue;
            }
            nth += 1;
            if !(nth - 1).is_multiple_of(stride) {
                continue;
            }
            let goal_us = target.cell.conductance_us(f64::from(level));
            let written = writer.write(goal_us, (&streams, index), None, &mut Tally::default());
            n_tried += 1;
            n_accepted += usize::from(written.state == CellState::Written);
        }
    }
    // Nine of ten lost is no programming; a few lost cells a user may want to
    // see, and finds counted.
    if n_accepted * 10 >= n_tried {
        return Ok(());
    }
    Err(ProgramError::TooFine {
        tolerance_us: target.cell.verify_tolerance_us,
        n_tried,
        n_accepted,
        give_up_pulses: pulses.give_up_pulses,
    })
}
