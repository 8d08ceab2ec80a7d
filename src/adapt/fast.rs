//! A chip that is as good as by plain write-verify, with far fewer pulses.
//!
//! What makes a pulse worth its time is what it does to the outputs, and that
//! is known: the second moments of the inputs, as in the rest of this module.
//! Four things are made use of, each to be left out by itself:
//!
//! | part | what |
//! |---|---|
//! | pulse choice | the pulse with the fewest to follow, by what pulses do ([`chip::PairWriter`]) |
//! | common mode | a weight is a difference: its cells may stand anywhere |
//! | sensitivity | a line that hardly drives anything may be off by more |
//! | feedback | lines of later stages make up for what was measured of those before ([`Cascade`]) |
//!
//! and what they gain is spent on tolerance: each tile gets the loosest with
//! which the expected squared error of its sums is that of plain write-verify,
//! every cell to the target's tolerance; of that error the part that is the same
//! for all inputs counts a quarter. So the accuracy is chosen as before,
//! by `cell.verify_tolerance_us`, and only the pulses change.
//!
//! A cell that is left by an earlier plan is where it is (`from`), and with a
//! free common mode most pairs are a pulse or two from another weight.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::cascade::Cascade;
use super::moments::Moments;
use super::{Adapted, Changes, Written};
use crate::chip::{
    self, CellState, HeldCell, PairGoal, PairOptions, PairWriter, PeCells, ProgramError,
    ProgramOptions, Programmed, Work,
};
use crate::entity::PeId;
use crate::mapping::WeightTile;
use crate::quantize::Calibration;
use crate::schedule::ExecutionPlan;
use crate::target::{Cell, Target};

/// The loosest tolerance of a pair, as a share of the window: beyond it hardly
/// a pulse is saved.
const TOLERANCE_MAX: f64 = 0.25;

/// A target that is written into a plan is above this, in levels: cells leave
/// their window by less than a level.
const LEVEL_MIN: f64 = -0.999;

/// How much more the error of a tile may become by noise of readings, because
/// its cells conduct more than the plan's; made up for by tighter tolerances.
const MORE_NOISE: f64 = 0.1;

/// What being off by the same for all inputs counts, beside being off by more
/// for one input than for another. Most of what plain write-verify does to a
/// sum behind a ReLU is the same for all inputs, which hardly changes what a
/// network answers; feedback takes just that away. If it counted in full, what
/// is left might vary nearly twice as much as plainly: on ResNet-56 that cost
/// 0.2 to 0.4 points more than plain write-verify does, and this costs none.
const OFFSETS_COUNT: f64 = 0.25;

/// Heights that are looked at for the lower cells of pairs, as shares of the
/// window.
const HEIGHTS: [f64; 3] = [0.45, 0.22, 0.11];

/// Pairs that are tried on the model before any cell is touched.
const TRIED: usize = 256;

/// How a chip is written fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FastOptions {
    /// What pairs make use of.
    pub pairs: PairOptions,
    /// How far the lower cell of a pair may stand above the lowest level, in
    /// uS. Higher cells are noisier to read: a tile stays lower where that
    /// would count.
    pub common_mode_us: f64,
    /// Tolerances follow what lines drive.
    pub sensitivity: bool,
    /// Later stages make up for earlier ones.
    pub feedback: bool,
    /// Stages of input lines, at least 1; without feedback there is one.
    pub n_stages: u32,
}

impl FastOptions {
    /// Nothing is made use of: every cell to its own target, by the target's
    /// recipe and within its tolerance.
    pub const PLAIN: Self = Self {
        pairs: PairOptions { predicted: false, common_mode: false, parallel: false },
        common_mode_us: 0.0,
        sensitivity: false,
        feedback: false,
        n_stages: 1,
    };
}

/// Programs a plan into a chip; `from` is the chip that it is written over.
///
/// The errors among the changes are the expected one of plain write-verify and
/// the one that was reached, faults included, on the inputs of the
/// calibration's sample.
///
/// # Errors
///
/// The tolerance is smaller than pulses can hit; then no cell is touched.
pub fn program_fast(
    plan: &ExecutionPlan,
    target: &Target,
    calibration: &Calibration,
    writing: &ProgramOptions<'_>,
    (options, from): (&FastOptions, Option<&Programmed>),
) -> Result<Written, ProgramError> {
    let writer = chip::pair_writer(plan, target, writing, options.pairs, from)
        .ok_or(ProgramError::NoPulses)?;
    let places: Vec<&WeightTile> = plan.tiles.values().map(|tile| &tile.place).collect();
    let cell = &target.cell;
    let tile = |place| Tile { plan, cell, calibration, options, place };
    let n_each = TRIED.div_ceil(places.len().max(1));
    let stride = places.len().div_ceil(TRIED).max(1);
    let mut heights = Vec::new();
    for lower_max_us in options.lower_max_us(cell) {
        let tried = places.par_iter().step_by(stride);
        let tried: Vec<Trial> =
            tried.map(|place| tile(place).try_out(&writer, lower_max_us, n_each)).collect();
        refuse_too_fine(&tried, target)?;
        let n_tried: usize = tried.iter().map(|trial| trial.n_tried).sum();
        let squares_us2 = tried.iter().map(|trial| trial.squares_us2).sum::<f64>();
        heights.push(Height { lower_max_us, squares_us2: squares_us2 / n_tried.max(1) as f64 });
    }
    let written: Vec<TileWritten> =
        places.par_iter().map(|place| tile(place).write(&writer, &heights)).collect();
    let mut targets = plan.targets.clone();
    let mut pes: BTreeMap<PeId, PeCells> =
        targets.iter().map(|(&pe, own)| (pe, PeCells::unused(own.levels.len()))).collect();
    let mut changes = Changes::default();
    for (place, tile) in places.iter().zip(written) {
        changes.add(&tile.changes);
        let (Some(cells), Some(targets)) = (pes.get_mut(&place.pe), targets.get_mut(&place.pe))
        else {
            continue;
        };
        cells.work.after(&tile.work);
        for (at, cell, level) in tile.cells {
            cells.set_held(at, &cell);
            targets.levels[at] = level as f32;
        }
    }
    let n_rewritten = from.map_or(0, |from| from.n_rewritten + 1);
    let programmed =
        Programmed { pe: plan.pe, seed: writing.seed, by_pulses: true, n_rewritten, pes };
    Ok(Written { programmed, adapted: Adapted { targets, changes } })
}

fn refuse_too_fine(tried: &[Trial], target: &Target) -> Result<(), ProgramError> {
    let n_tried: usize = tried.iter().map(|trial| trial.n_tried).sum();
    let n_accepted: usize = tried.iter().map(|trial| trial.n_accepted).sum();
    if n_accepted * 10 >= n_tried {
        return Ok(());
    }
    let give_up_pulses = target.cell.pulses.map_or(0, |pulses| pulses.give_up_pulses);
    let tolerance_us = target.cell.verify_tolerance_us;
    Err(ProgramError::TooFine { tolerance_us, n_tried, n_accepted, give_up_pulses })
}

/// Where the lower cells of pairs may be.
struct Height {
    /// At most, in uS.
    lower_max_us: f64,
    /// Squares of the conductances that pairs then have, both cells' added.
    squares_us2: f64,
}

impl FastOptions {
    /// Heights that are looked at, the highest first, in uS.
    fn lower_max_us(&self, cell: &Cell) -> Vec<f64> {
        let window_us = cell.conductance_max_us - cell.conductance_min_us;
        let margin_us = cell.pulses.map_or(0.0, |pulses| pulses.margin_us);
        // Within less than this no pulse can be told to bring a cell.
        let least_us = margin_us.max(cell.verify_tolerance_us);
        let lower = HEIGHTS.iter().map(|share| share * window_us).chain([least_us]);
        let lower = lower.filter(|&us| self.pairs.common_mode && us < self.common_mode_us);
        let all = std::iter::once(self.common_mode_us.max(cell.verify_tolerance_us)).chain(lower);
        all.map(|us| cell.conductance_min_us + us).collect()
    }
}

/// Pairs of a tile that were tried, and those that came within their tolerance.
struct Trial {
    n_tried: usize,
    n_accepted: usize,
    /// Squares of their cells' conductances, a pair's added.
    squares_us2: f64,
}

/// A tile that is written.
struct TileWritten {
    /// Place in the PE, what it holds, and the level that it was to hold.
    cells: Vec<(usize, HeldCell, f64)>,
    work: Work,
    changes: Changes,
}

/// A tile with all that its writing depends on.
struct Tile<'a> {
    plan: &'a ExecutionPlan,
    cell: &'a Cell,
    calibration: &'a Calibration,
    options: &'a FastOptions,
    place: &'a WeightTile,
}

impl Tile<'_> {
    /// Writes it, at one of these heights.
    fn write(&self, writer: &PairWriter<'_>, heights: &[Height]) -> TileWritten {
        let (moments, cascade) = self.inputs();
        let (lower_max_us, noise) = self.height(&moments, heights);
        let tolerances_us = self.tolerances_us(&moments, &cascade, noise);
        let mut bench = writer.bench(self.place.pe);
        let (n_lines, n_pairs) = (self.place.n_inputs() as usize, self.place.n_pairs() as usize);
        let mut cells = Vec::with_capacity(2 * n_lines * n_pairs);
        // Of pairs from what the plan wants, in uS: `[column][line]`.
        let mut errors_us = vec![vec![0.0; n_lines]; n_pairs];
        let reach_us = self.cell.conductance_max_us - self.cell.conductance_min_us;
        let mut changes = Changes::default();
        for stage in 0..cascade.n_stages() {
            let wanted: Vec<Vec<f64>> = match self.options.feedback {
                true => errors_us.iter().map(|errors| cascade.wanted(stage, errors)).collect(),
                false => vec![vec![0.0; cascade.lines(stage).len()]; n_pairs],
            };
            // What is measured and made up for is no error any more.
            let is_made_up_for = self.options.feedback && stage + 1 < cascade.n_stages();
            for (nth, &line) in cascade.lines(stage).iter().enumerate() {
                let mut pairs = Vec::with_capacity(n_pairs);
                for (column, wanted) in wanted.iter().enumerate() {
                    let Some(planned_us) = self.planned_us(line, column) else { continue };
                    let goal_us = (planned_us + wanted[nth]).clamp(-reach_us, reach_us);
                    changes.feedback += 2 * u64::from(wanted[nth].abs() > 1e-6);
                    let at = self.index(line, column);
                    let taken = [writer.take(&mut bench, at), writer.take(&mut bench, at + 1)];
                    pairs.push((at, taken, self.goal(goal_us, tolerances_us[line], lower_max_us)));
                }
                writer.write_line(&mut bench, &mut pairs);
                for (column, (at, held, goal)) in pairs.into_iter().enumerate() {
                    let planned_us = self.planned_us(line, column).unwrap_or_default();
                    errors_us[column][line] = held[0].us - held[1].us - planned_us;
                    let (held, levels) = self.settled(held, &goal, is_made_up_for);
                    changes.fixed +=
                        held.iter().filter(|cell| cell.state.is_fault()).count() as u64;
                    cells.extend([0, 1].map(|half| (at + half, held[half], levels[half])));
                }
            }
        }
        let step_us = self.cell.step_us();
        let plain = self.cell.pair_variance() * moments.trace();
        changes.error_before = plain * n_pairs as f64;
        changes.error_after = errors_us
            .iter()
            .map(|errors| {
                let levels: Vec<f64> = errors.iter().map(|us| us / step_us).collect();
                moments.apply(&levels).iter().zip(&levels).map(|(slope, e)| slope * e).sum::<f64>()
            })
            .sum();
        TileWritten { cells, work: writer.work(&bench), changes }
    }

    fn try_out(&self, writer: &PairWriter<'_>, lower_max_us: f64, n_pairs: usize) -> Trial {
        let (moments, cascade) = self.inputs();
        let tolerances_us = self.tolerances_us(&moments, &cascade, 0.0);
        let bench = writer.bench(self.place.pe);
        let n_columns = self.place.n_pairs() as usize;
        let n_all = self.place.n_inputs() as usize * n_columns;
        let mut trial = Trial { n_tried: 0, n_accepted: 0, squares_us2: 0.0 };
        for nth in (0..n_all).step_by(n_all.div_ceil(n_pairs).max(1)) {
            let (line, column) = (nth / n_columns, nth % n_columns);
            let Some(planned_us) = self.planned_us(line, column) else { continue };
            let goal = self.goal(planned_us, tolerances_us[line], lower_max_us);
            let held = writer.try_out(&bench, self.index(line, column), goal);
            trial.n_tried += 1;
            trial.n_accepted += usize::from(held[0].state == CellState::Written);
            trial.squares_us2 += held.iter().map(|cell| cell.us * cell.us).sum::<f64>();
        }
        trial
    }

    /// What drives its lines, and in which order they are written.
    fn inputs(&self) -> (Moments, Cascade) {
        let moments = Moments::new(self.plan, self.place, self.calibration)
            .with_offsets_counting(OFFSETS_COUNT);
        let n_stages = if self.options.feedback { self.options.n_stages.max(1) } else { 1 };
        let cascade = Cascade::new(&moments, self.place.n_inputs() as usize, n_stages as usize);
        (moments, cascade)
    }

    /// The tolerance of a pair's difference on each line, in uS: the loosest
    /// with which the expected error is that of plain write-verify, that of
    /// readings included, which is larger by so much.
    fn tolerances_us(&self, moments: &Moments, cascade: &Cascade, noise: f64) -> Vec<f64> {
        let square = |us: f64| us * us;
        let weights = match self.options.feedback {
            true => cascade.weights(moments),
            false => {
                (0..self.place.n_inputs() as usize).map(|line| moments.row(line)[line]).collect()
            }
        };
        // Uniform within the tolerance, then normal, for both cells of a pair.
        let relaxation = 2.0 * square(self.cell.relaxation_sd_us);
        let plain = 2.0 * square(self.cell.verify_tolerance_us) / 3.0 + relaxation;
        let left = plain * moments.trace() - relaxation * weights.iter().sum::<f64>();
        // Tighter than plainly there is little to gain.
        let least = 2.0 * square(self.cell.verify_tolerance_us) / 3.0 * weights.iter().sum::<f64>();
        let left = (left - noise).max(least / 4.0);
        // Pulses go with 1/t, so the best t goes with weight^(-1/3); -1/4 is
        // near and rounds alike on all machines.
        let shape: Vec<f64> = match self.options.sensitivity {
            true => weights.iter().map(|w| 1.0 / w.sqrt().sqrt().max(f64::MIN_POSITIVE)).collect(),
            false => vec![1.0; weights.len()],
        };
        let spent: f64 = weights.iter().zip(&shape).map(|(w, shape)| w * shape * shape / 3.0).sum();
        let scale = (left.max(0.0) / spent.max(f64::MIN_POSITIVE)).sqrt();
        let window_us = self.cell.conductance_max_us - self.cell.conductance_min_us;
        shape.iter().map(|shape| (shape * scale).min(TOLERANCE_MAX * window_us)).collect()
    }

    /// Where its lower cells may be at most, in uS, and by how much readings
    /// then err more than those of pairs as the plan has them, in uS^2 and
    /// squares of codes: the highest at which that is little beside the error
    /// of all.
    fn height(&self, moments: &Moments, heights: &[Height]) -> (f64, f64) {
        let (n_lines, n_pairs) = (self.place.n_inputs() as usize, self.place.n_pairs() as usize);
        let lowest_us = self.cell.conductance_min_us;
        let planned = |line: usize| -> f64 {
            let square = |us: f64| (lowest_us + us.abs()) * (lowest_us + us.abs());
            let pairs = (0..n_pairs).filter_map(|column| self.planned_us(line, column));
            pairs.map(|us| square(us) + lowest_us * lowest_us).sum::<f64>() / n_pairs.max(1) as f64
        };
        let fraction = self.cell.read_noise_fraction;
        let counts: f64 = fraction * fraction * moments.noise().iter().sum::<f64>();
        let noise = moments.noise().iter().zip((0..n_lines).map(planned));
        let noise = fraction * fraction * noise.map(|(counts, us2)| counts * us2).sum::<f64>();
        let step_us = self.cell.step_us();
        let all = noise + self.cell.pair_variance() * step_us * step_us * moments.trace();
        let at =
            |height: &Height| (height.lower_max_us, (counts * height.squares_us2 - noise).max(0.0));
        let is_quiet = |(_, more): &(f64, f64)| *more <= MORE_NOISE * all;
        let lowest = || heights.last().map_or((f64::INFINITY, 0.0), at);
        heights.iter().map(at).find(is_quiet).unwrap_or_else(lowest)
    }

    /// A pair as the plan would write it: the weight on one of its cells, as
    /// low as can be.
    fn goal(&self, difference_us: f64, tolerance_us: f64, lower_max_us: f64) -> PairGoal {
        let lowest_us = self.cell.conductance_min_us;
        let cells_us = [lowest_us + difference_us.max(0.0), lowest_us + (-difference_us).max(0.0)];
        PairGoal { cells_us, tolerance_us, lower_max_us }
    }

    /// What cells hold and what they were to hold, in levels: where the common
    /// mode is free, what they came to less what their difference is off.
    fn settled(
        &self,
        mut held: [HeldCell; 2],
        goal: &PairGoal,
        is_made_up_for: bool,
    ) -> ([HeldCell; 2], [f64; 2]) {
        let mut goals_us = goal.cells_us;
        if is_made_up_for {
            for cell in &mut held {
                cell.written_us = cell.us;
            }
            goals_us = held.map(|cell| cell.us);
        } else if self.options.pairs.common_mode {
            let written_us = held.map(|cell| cell.written_us);
            let off_us = written_us[0] - written_us[1] - (goals_us[0] - goals_us[1]);
            goals_us = [written_us[0] - off_us / 2.0, written_us[1] + off_us / 2.0];
        }
        let level = |us: f64| (us - self.cell.conductance_min_us) / self.cell.step_us();
        (held, goals_us.map(|us| level(us).max(LEVEL_MIN)))
    }

    /// The difference that the plan wants of a pair, in uS.
    fn planned_us(&self, line: usize, column: usize) -> Option<f64> {
        let levels = &self.plan.targets.get(&self.place.pe)?.levels;
        let at = self.index(line, column);
        let level = |at: usize| levels.get(at).map(|&level| f64::from(level));
        let weight = level(at)? - level(at + 1)?;
        (!weight.is_nan()).then_some(weight * self.cell.step_us())
    }

    /// The place of a pair's positive cell in its PE.
    fn index(&self, line: usize, column: usize) -> usize {
        (self.place.input_line as usize + line) * self.plan.pe.outputs as usize
            + self.place.output_line as usize
            + 2 * column
    }
}
