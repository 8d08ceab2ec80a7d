//! A chip that is written by somebody who knows its faults, and looks at what
//! was written before going on.

use super::{AdaptOptions, Changes, FixedCells, adapt};
use crate::chip::{self, Chip, Conditions, ProgramError, ProgramOptions, Programmed};
use crate::quantize::Calibration;
use crate::schedule::ExecutionPlan;
use crate::target::Target;

/// A chip, and what was written into it.
#[derive(Debug, Clone)]
pub struct Written {
    /// The plan with the targets that were written.
    pub plan: ExecutionPlan,
    /// The chip.
    pub programmed: Programmed,
    /// How many cells were changed; its errors are those of the chip written as
    /// the plan has it, and of this one, faults, writing and relaxation
    /// together, on the inputs of the calibration's sample.
    pub changes: Changes,
}

/// Programs a plan into a chip whose faults are known before.
///
/// The input lines of every PE are written in so many stages, every n-th line
/// in one. With one stage cells make up for faults; with more, those of later
/// stages also for what was measured of the stages before, once they had
/// relaxed. Every cell is written once.
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
    let mut programmed = None;
    let mut changes = Changes::default();
    let n_outputs = plan.pe.outputs as usize;
    for stage in 0..n_stages {
        let is_written = |line: u32| line % n_stages < stage;
        let mut fixed = faulty.clone();
        if let Some(programmed) = &programmed {
            fixed.add(FixedCells::written(plan, &measured(programmed), is_written));
        }
        let adapted = adapt(plan, cell, &fixed, calibration, options);
        if stage == 0 {
            changes.fixed = adapted.changes.fixed;
        }
        changes.partners += adapted.changes.partners;
        changes.feedback += adapted.changes.feedback;
        for (pe, targets) in adapted.targets {
            let Some(own) = written.targets.get_mut(&pe) else { continue };
            for (at, (own, level)) in own.levels.iter_mut().zip(targets.levels).enumerate() {
                if !is_written((at / n_outputs) as u32) {
                    *own = level;
                }
            }
        }
        // What a cell becomes depends on its target alone, so this leaves
        // lines that are written as they are.
        programmed = Some(chip::write(&written, target, writing)?);
    }
    let programmed = programmed.unwrap_or(unaware.clone());
    let error = |programmed: &Programmed| {
        let all = FixedCells::written(plan, &measured(programmed), |_| true);
        let neither = AdaptOptions { partners: false, feedback: false };
        adapt(plan, cell, &all, calibration, neither).changes.error_before
    };
    changes.error_before = error(&unaware);
    changes.error_after = error(&programmed);
    Ok(Written { plan: written, programmed, changes })
}
