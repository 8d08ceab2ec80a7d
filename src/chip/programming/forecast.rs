//! What writing a plan will take, before any chip is written.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::verify::{PeStreams, Tally, Writer};
use crate::chip::Work;
use crate::entity::PeId;
use crate::schedule::{ExecutionPlan, PeTargets};
use crate::target::{Pulses, Target};

/// Cells that are followed pulse by pulse at most: a mean over so many is off
/// by less than 1 %, and they take a quarter of a second.
const CELLS_MAX: u64 = 200_000;

/// What writing the cells of each pass takes, for a chip whose cells are formed.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Cells of the plan that are written.
    pub n_cells: u64,
    /// Cells that were followed pulse by pulse; where they are fewer, those of
    /// each PE stand for the others of that PE.
    pub n_followed: u64,
    /// Work of each pass, PEs being written at the same time.
    pub passes: Vec<Work>,
}

impl Forecast {
    /// Writes cells without faults, spread over all PEs, on a chip of seed 0.
    /// `None` for a target that does not say what pulses do.
    pub fn new(plan: &ExecutionPlan, target: &Target) -> Option<Self> {
        let pulses = target.cell.pulses?;
        let writer = Writer::new(target, Pulses { forming: None, ..pulses });
        let n_cells = plan.targets.values().map(n_used).sum::<u64>();
        let stride = n_cells.div_ceil(CELLS_MAX).max(1) as usize;
        let sampled: Vec<(PeId, Work, u64)> = plan
            .targets
            .par_iter()
            .map(|(&pe, targets)| {
                let streams = PeStreams::new(0, pe, plan.on_chip(pe));
                let mut tally = Tally::default();
                let mut n_followed = 0u64;
                let used = targets.levels.iter().enumerate().filter(|(_, level)| !level.is_nan());
                for (index, &level) in used.step_by(stride) {
                    let goal_us = target.cell.conductance_us(f64::from(level));
                    writer.write(goal_us, (&streams, index), None, &mut tally);
                    n_followed += 1;
                }
                let share = n_used(targets) as f64 / n_followed.max(1) as f64;
                (pe, writer.work(&tally).times(share), n_followed)
            })
            .collect();
        let mut passes: BTreeMap<u32, Work> = BTreeMap::new();
        for (pe, work, _) in &sampled {
            passes.entry(plan.pass_of(*pe)).or_default().beside(work);
        }
        let n_followed = sampled.iter().map(|(_, _, n)| n).sum();
        Some(Self { n_cells, n_followed, passes: passes.into_values().collect() })
    }

    /// All passes, one after the other.
    pub fn work(&self) -> Work {
        let mut all = Work::default();
        self.passes.iter().for_each(|pass| all.after(pass));
        all
    }
}

fn n_used(targets: &PeTargets) -> u64 {
    targets.levels.iter().filter(|level| !level.is_nan()).count() as u64
}
