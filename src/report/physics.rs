//! What the arrays draw by the physics of their cells: the sum of V^2 G t.
//!
//! Nothing of it is in the figures of a target's `costs`, whose array is as
//! its source quotes it.

use crate::schedule::{ExecutionPlan, StepKind};
use crate::target::{Cell, Target};

/// Femtojoules of a picojoule.
const FJ_PER_PJ: f64 = 1000.0;

/// Energy of arrays by the physics of their cells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Physics {
    /// Energy of a PE for one cycle with every input driven and every cell at
    /// the lowest conductance, in pJ.
    pub cycle_pj_min: f64,
    /// The same at the highest conductance.
    pub cycle_pj_max: f64,
    /// Energy of one input if every bit of every code were 1, cells at their
    /// targets, in pJ: what no input exceeds.
    pub input_pj_max: f64,
}

impl Physics {
    /// From the target's cells and what the plan writes into them.
    pub(super) fn new(plan: &ExecutionPlan, target: &Target) -> Self {
        let cell = &target.cell;
        let cells = target.pe.cells() as f64;
        let cycle_pj = |us: f64| cells * pj(cell, us, target.readout.cycle_ns);
        let us_of_tile: Vec<f64> =
            plan.tiles.values().map(|tile| tile_us(plan, tile, cell)).collect();
        let mut input_pj_max = 0.0;
        for step in plan.steps.values() {
            let StepKind::Waves { tiles, .. } = &step.kind else { continue };
            let cycles = plan.effort(&step.kind).map_or(0, |effort| effort.driven_cycles()) as f64;
            let us: f64 = tiles
                .iter()
                .filter_map(|tile| us_of_tile.get(crate::entity::Entity::index(*tile)))
                .sum();
            input_pj_max += cycles * pj(cell, us, plan.cycle_ns);
        }
        Self {
            cycle_pj_min: cycle_pj(cell.conductance_min_us),
            cycle_pj_max: cycle_pj(cell.conductance_max_us),
            input_pj_max,
        }
    }
}

/// V^2 G t in pJ: volts squared times microsiemens are microwatts, which in a
/// nanosecond are femtojoules.
fn pj(cell: &Cell, us: f64, ns: f64) -> f64 {
    cell.read_voltage_v * cell.read_voltage_v * us * ns / FJ_PER_PJ
}

/// Conductance of all cells of a tile together, at their targets.
fn tile_us(plan: &ExecutionPlan, tile: &crate::schedule::PlanTile, cell: &Cell) -> f64 {
    let place = &tile.place;
    let Some(targets) = plan.targets.get(&place.pe) else { return 0.0 };
    let n_outputs = plan.pe.outputs as usize;
    let lines = place.input_line..place.input_line + place.n_inputs();
    let line_us = |line: u32| {
        let start = line as usize * n_outputs + place.output_line as usize;
        let cells = start..start + place.n_outputs() as usize;
        let levels = cells.filter_map(|cell| targets.levels.get(cell));
        let written = levels.filter(|level| !level.is_nan());
        written.map(|&level| cell.conductance_us(f64::from(level))).sum::<f64>()
    };
    lines.map(line_us).sum()
}
