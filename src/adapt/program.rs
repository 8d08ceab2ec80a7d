//! A chip that is written by somebody who knows its faults, and looks at what
//! was written before going on.

use super::{AdaptOptions, Adapted, Changes, FixedCells, adapt};
use crate::chip::{self, Chip, Conditions, ProgramError, ProgramOptions, Programmed};
use crate::quantize::Calibration;
use crate::schedule::{ExecutionPlan, PeTargets};
use crate::target::Target;

/// A chip, and what was written into it.
#[derive(Debug, Clone)]
pub struct Written {
    /// The chip.
    pub programmed: Programmed,
    /// What was written in place of the plan's targets, and what that changed.
    pub adapted: Adapted,
}

/// Programs a plan into a chip whose faults are known before.
///
/// The input lines of every PE are written in so many stages, every n-th line
/// in one. With one stage cells make up for faults; with more, those of later
/// stages also for what was measured of the stages before, once they had
/// relaxed. Every cell is written once.
///
/// The errors among the changes are those of the chip written as the plan has
/// it, and of this one, faults, writing and relaxation together, on the inputs
/// of the calibration's sample. A cell counts once, however many stages had
/// another target for it.
///
/// # Errors
///
/// As [`chip::write`](fn@chip::write).
pub fn program(
    plan: &ExecutionPlan,
    target: &Target,
    calibration: &Calibration,
    writing: &ProgramOptions<'_>,
    (options, n_stages): (AdaptOptions, u32),
) -> Result<Written, ProgramError> {
    let n_stages = n_stages.max(1);
    let cell = &target.cell;
    let unaware = chip::write(plan, target, &ProgramOptions { by_pulses: false, ..*writing })?;
    let faulty = FixedCells::faulty(&unaware);
    let measured = |programmed: &Programmed| -> Chip {
        programmed.chip(plan, target, &Conditions::at_once(writing.seed))
    };
    let mut written = plan.clone();
    let mut programmed = unaware.clone();
    let mut changes = Changes::default();
    let n_outputs = plan.pe.outputs as usize;
    for stage in 0..n_stages {
        let is_written = |line: u32| line % n_stages < stage;
        let mut fixed = faulty.clone();
        fixed.add(FixedCells::written(plan, &measured(&programmed), is_written));
        let adapted = adapt(plan, cell, &fixed, calibration, options);
        if stage == 0 {
            // Of faults alone, which all stages see.
            changes = Changes { feedback: 0, ..adapted.changes };
        }
        for (pe, targets) in adapted.targets {
            let Some(own) = written.targets.get_mut(&pe) else { continue };
            for (at, &level) in targets.levels.iter().enumerate() {
                if !is_written((at / n_outputs) as u32) {
                    own.levels.set(at, level);
                }
            }
        }
        // What a cell becomes depends on its target alone, so this leaves
        // lines that are written as they are.
        programmed = chip::write(&written, target, writing)?;
    }
    let differ = |(a, b): (&f32, &f32)| a.to_bits() != b.to_bits();
    let n_changed = |(own, planned): (&PeTargets, &PeTargets)| {
        own.levels.iter().zip(planned.levels.iter()).filter(|&both| differ(both)).count() as u64
    };
    let all: u64 = written.targets.values().zip(plan.targets.values()).map(n_changed).sum();
    changes.feedback = all.saturating_sub(changes.partners);
    let error = |programmed: &Programmed| {
        let all = FixedCells::written(plan, &measured(programmed), |_| true);
        let neither = AdaptOptions { partners: false, feedback: false };
        adapt(plan, cell, &all, calibration, neither).changes.error_before
    };
    changes.error_before = error(&unaware);
    changes.error_after = error(&programmed);
    Ok(Written { programmed, adapted: Adapted { targets: written.targets, changes } })
}
