//! Targets for a chip whose flaws are known.
//!
//! A plan says what cells shall hold. Some cells hold something else for good:
//! stuck at either end of their window, or written already and measured. What
//! the others shall hold can make up for that:
//!
//! ```text
//! targets, cells that are fixed
//!   --partners--> the other cell of a pair takes over: a weight is a difference,
//!                 so -3 is 0 - 3 as well as 4 - 7
//!   --feedback--> the pairs of a column that can still be written take errors
//!                 that are left, in the norm of the inputs' second moments
//!   --> targets
//! ```
//!
//! What an error `e` of a column's weights does to its output is `e' H e` on
//! average, `H` the second moments of the codes that drive its lines
//! (`moments`, from the calibration's sample), as in [`crate::refine`], with
//! two differences: weights are not rounded, since a cell can be written to any
//! conductance in its window, and `e` multiplies the codes as they are driven,
//! zero point included, because what is taken off for the zero point is that of
//! the weights as they were meant. `H` is of one tile, so that what a tile
//! loses is made up for on the same lines, where inputs and sums are the same.
//!
//! Nothing here is stored or drawn: the same plan, cells and calibration give
//! the same targets. A plan whose targets are replaced is programmed as any
//! other; [`program`](fn@program) does both in turn, stage by stage.
//!
//! | file | what |
//! |---|---|
//! | `program` | a chip that is written by somebody who knows its faults, and looks |
//! | `fast` | a chip as good as by plain write-verify, with far fewer pulses |
//! | `cascade` | what later input lines can do about errors of earlier ones |
//! | `moments` | what drives the lines of a tile together |
//! | `column` | one column of pairs: bounds, and the error of least norm in them |

mod cascade;
mod column;
mod fast;
mod moments;
mod program;

pub use fast::{FastOptions, program_fast};
pub use program::{Written, program};

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::chip::{Chip, Programmed};
use crate::entity::PeId;
use crate::mapping::WeightTile;
use crate::quantize::Calibration;
use crate::schedule::{ExecutionPlan, Levels, PeTargets};
use crate::target::Cell;

use column::{Column, Pair};
use moments::Moments;

/// Cells that hold what they hold, whatever is written.
#[derive(Debug, Clone, Default)]
pub struct FixedCells {
    /// Their conductances in uS, `[input line][output line]` of each PE; NaN
    /// for a cell that can be written.
    pub conductances_us: BTreeMap<PeId, Vec<f32>>,
}

impl FixedCells {
    /// Cells of a chip in use that are farther from their targets than this, in
    /// uS: more than writing and relaxation do, so nothing but stuck.
    pub fn off_target(plan: &ExecutionPlan, chip: &Chip, cell: &Cell, farther_us: f64) -> Self {
        let is_off = |us: f32, level: f32| {
            let wanted_us = cell.conductance_us(f64::from(level));
            (f64::from(us) - wanted_us).abs() > farther_us
        };
        Self::of(plan, chip, |_, us, level| is_off(us, level))
    }

    /// Cells of a chip in use on the input lines for which this holds, as they
    /// were measured: those lines are written, the others can still make up for
    /// them.
    pub fn written(plan: &ExecutionPlan, chip: &Chip, is_written: impl Fn(u32) -> bool) -> Self {
        let n_outputs = plan.pe.outputs as usize;
        Self::of(plan, chip, |at, _, _| is_written((at / n_outputs) as u32))
    }

    /// Cells of a chip that do not work.
    pub fn faulty(programmed: &Programmed) -> Self {
        let of_pe = programmed.pes.iter().map(|(&pe, cells)| {
            let held = cells.states.iter().zip(&cells.relaxed_us);
            let held = held.map(|(state, &us)| if state.is_fault() { us } else { f32::NAN });
            (pe, held.collect())
        });
        Self { conductances_us: of_pe.collect() }
    }

    /// Puts the cells of another with these.
    pub fn add(&mut self, other: Self) {
        for (pe, cells) in other.conductances_us {
            match self.conductances_us.get_mut(&pe) {
                Some(own) => {
                    let both = own.iter_mut().zip(cells);
                    both.filter(|(_, us)| !us.is_nan()).for_each(|(own, us)| *own = us);
                }
                None => drop(self.conductances_us.insert(pe, cells)),
            }
        }
    }

    /// Cells in use for which this holds: their place, conductance, target.
    fn of(plan: &ExecutionPlan, chip: &Chip, holds: impl Fn(usize, f32, f32) -> bool) -> Self {
        let mut fixed = Self::default();
        for (&pe, targets) in &plan.targets {
            let Some(cells) = chip.conductances_us.get(&pe) else { continue };
            let cells = cells.iter().zip(targets.levels.iter()).enumerate();
            let own =
                cells.map(
                    |(at, (&us, &level))| {
                        if !level.is_nan() && holds(at, us, level) { us } else { f32::NAN }
                    },
                );
            fixed.conductances_us.insert(pe, own.collect());
        }
        fixed
    }
}

/// What may be done about fixed cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdaptOptions {
    /// The other cell of a pair takes over what a fixed one gets wrong.
    pub partners: bool,
    /// Other pairs of the column take over what is left.
    pub feedback: bool,
}

impl Default for AdaptOptions {
    fn default() -> Self {
        Self { partners: true, feedback: true }
    }
}

/// Targets that make up for fixed cells, and what they change.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapted {
    /// In place of the plan's.
    pub targets: BTreeMap<PeId, PeTargets>,
    /// What was changed.
    pub changes: Changes,
}

/// What was changed, and what that gained.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Changes {
    /// Cells in use that are fixed at something else than their target.
    pub fixed: u64,
    /// Cells whose target was changed to take over from the other of the pair.
    pub partners: u64,
    /// Cells whose target was changed to take over from other pairs.
    pub feedback: u64,
    /// Squared error of the sums of all tiles and pairs, in squares of levels
    /// times codes, with the plan's targets ...
    pub error_before: f64,
    /// ... and with these.
    pub error_after: f64,
}

impl Changes {
    fn add(&mut self, other: &Self) {
        self.fixed += other.fixed;
        self.partners += other.partners;
        self.feedback += other.feedback;
        self.error_before += other.error_before;
        self.error_after += other.error_after;
    }
}

/// Makes up for fixed cells as far as the options let it.
///
/// A tile of a layer that the calibration does not know, or knows with another
/// length, is taken as if its inputs were independent and alike.
pub fn adapt(
    plan: &ExecutionPlan,
    cell: &Cell,
    fixed: &FixedCells,
    calibration: &Calibration,
    options: AdaptOptions,
) -> Adapted {
    let places: Vec<&WeightTile> = plan.tiles.values().map(|tile| &tile.place).collect();
    let adapted: Vec<(Vec<(usize, f32)>, Changes)> = places
        .par_iter()
        .map(|place| Tile { plan, cell, fixed, place }.adapt(calibration, options))
        .collect();
    let mut targets = plan.targets.clone();
    let mut changes = Changes::default();
    for (place, (cells, own)) in places.iter().zip(&adapted) {
        changes.add(own);
        if let Some(targets) = targets.get_mut(&place.pe) {
            for &(at, level) in cells {
                targets.levels.set(at, level);
            }
        }
    }
    Adapted { targets, changes }
}

/// A tile with what is known of its cells.
struct Tile<'a> {
    plan: &'a ExecutionPlan,
    cell: &'a Cell,
    fixed: &'a FixedCells,
    place: &'a WeightTile,
}

impl Tile<'_> {
    /// New targets by their cells' places in the PE, and what they change.
    fn adapt(
        &self,
        calibration: &Calibration,
        options: AdaptOptions,
    ) -> (Vec<(usize, f32)>, Changes) {
        let (mut cells, mut changes) = (Vec::new(), Changes::default());
        let (Some(targets), Some(fixed)) =
            (self.plan.targets.get(&self.place.pe), self.fixed.conductances_us.get(&self.place.pe))
        else {
            return (cells, changes);
        };
        // Found where a column has an error, for there may be none.
        let mut moments: Option<Moments> = None;
        for nth in 0..self.place.n_pairs() {
            let pairs: Option<Vec<Pair>> = (0..self.place.n_inputs())
                .map(|line| self.pair(&targets.levels, fixed, line, nth))
                .collect();
            let Some(mut column) = pairs.map(Column::new) else {
                return (cells, changes); // It leaves its PE.
            };
            changes.fixed += column.n_fixed();
            if !column.has_error() {
                continue;
            }
            let moments =
                moments.get_or_insert_with(|| Moments::new(self.plan, self.place, calibration));
            changes.error_before += column.squared_error(moments);
            if options.partners {
                changes.partners += column.use_partners();
            }
            if options.feedback {
                changes.feedback += column.feed_back(moments, options.partners);
            }
            changes.error_after += column.squared_error(moments);
            for (line, pair) in (0..).zip(column.pairs()) {
                let (positive, _) = self.cells(line, nth);
                let changed = (positive..).zip(pair.changed());
                cells.extend(changed.filter_map(|(at, level)| Some((at, level? as f32))));
            }
        }
        (cells, changes)
    }

    /// Places of a pair's cells in its PE.
    fn cells(&self, line: u32, nth: u32) -> (usize, usize) {
        let place = self.place;
        let first = (place.input_line + line) as usize * self.plan.pe.outputs as usize
            + (place.output_line + 2 * nth) as usize;
        (first, first + 1)
    }

    fn pair(&self, targets: &Levels, fixed: &[f32], line: u32, nth: u32) -> Option<Pair> {
        let (positive, negative) = self.cells(line, nth);
        let level = |at: usize| {
            let us = f64::from(*fixed.get(at)?);
            let level = (us - self.cell.conductance_min_us) / self.cell.step_us();
            Some((!us.is_nan()).then_some(level))
        };
        let target = |at: usize| targets.get(at).map(|&level| f64::from(level));
        Some(Pair::new(
            [target(positive)?, target(negative)?],
            [level(positive)?, level(negative)?],
            self.cell.max_level().into(),
        ))
    }
}
