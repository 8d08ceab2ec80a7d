//! What a user asks of a plan: does my model fit this chip, where does each
//! weight sit, what does it cost.
//!
//! A [`Report`] is plain data, computed once from a plan, the graph it was
//! made from and its target; text and JSON are two ways to write it down.
//!
//! Three kinds of cost are in it and are never mixed. [`Benchmark`] is what
//! tables of arrays print: one PE with every ADC busy in every cycle, whatever
//! the model. [`Energy`] is counted from the plan with the figures of the
//! target: what it converts, and the cycles for which it drives PEs.
//! [`Physics`] is what the cells of the arrays draw, V^2 G t.
//!
//! Times are simulated event by event: see [`crate::timing`].

mod cost;
mod json;
mod json_costs;
mod layers;
mod numbers;
mod outline;
mod pes;
mod physics;
mod plot;
mod programming;
mod table;
mod text;
mod timing;
mod work;
mod writing;

#[cfg(test)]
mod tests;

pub use cost::{Benchmark, Costs, Energy, Schedule};
pub use layers::{DigitalRow, LayerRow, StageRow};
pub use outline::{Outline, OutlineRow};
pub use pes::{PeRow, Resident};
pub use physics::Physics;
pub use programming::{Errors, LevelCurrents, Programming, Spread};
pub use work::Work;

use std::collections::BTreeSet;

use crate::chip::Forecast;
use crate::graph::LayerGraph;
use crate::mapping::pe_limit;
use crate::schedule::{ExecutionPlan, PlanLayer};
use crate::target::{ChipCount, Pe, Target, Wires};
use crate::timing::{Timing, TimingOptions};

/// What a report is made from.
#[derive(Debug, Clone, Copy)]
pub struct ReportParts<'a> {
    /// What the model is called: its file's name.
    pub model_name: &'a str,
    /// What is computed.
    pub graph: &'a LayerGraph,
    /// The plan made from it.
    pub plan: &'a ExecutionPlan,
    /// The target that the plan was made for.
    pub target: &'a Target,
    /// The sentence that says what is done to data before the model sees it.
    pub preprocessing: &'a str,
    /// The sentence that says what the ranges were chosen from.
    pub calibration: &'a str,
    /// What is chosen about timing.
    pub timing: TimingOptions,
}

/// Everything a report says, in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// What the model is called.
    pub model: String,
    /// The target's name.
    pub target: String,
    /// What the target is, if its file says so.
    pub target_description: Option<String>,
    /// Lines of a PE.
    pub pe: Pe,
    /// Their resistance, for a target whose wires have any.
    pub wires: Option<WireLoss>,
    /// What is done to data before the model sees it.
    pub preprocessing: String,
    /// What the ranges were chosen from.
    pub calibration: String,
    /// How much of the chip is taken.
    pub footprint: Footprint,
    /// Multiply-accumulates for one input, by where they are done.
    pub macs: Macs,
    /// Crossbar layers, in canonical order.
    pub layers: Vec<LayerRow>,
    /// Rectifiers and maxima behind layers, for a target that can compare sums
    /// before it converts them.
    pub stages: Vec<StageRow>,
    /// Digital layers, by operator and by why they are not on arrays.
    pub digital: Vec<DigitalRow>,
    /// PEs that hold weights, in order.
    pub pes: Vec<PeRow>,
    /// What one input takes, and how fast inputs can follow each other.
    pub schedule: Schedule,
    /// The same event by event, several inputs in flight.
    pub timing: Timing,
    /// What writing the cells of each pass takes; `None` for a plan that is
    /// written once, and where the target does not say what pulses do.
    pub writing: Option<Forecast>,
    /// Energy of the arrays by the physics of their cells.
    pub physics: Physics,
    /// Energy by the target's own figures, where it gives costs.
    pub costs: Option<Costs>,
}

/// Resistance of lines, and how much it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WireLoss {
    /// The resistances.
    pub wires: Wires,
    /// The share of the read voltage that is lost at the last cell of an input
    /// line whose cells are all at maximum conductance; 0 to 1.
    pub input_line_drop: f64,
    /// Whether cells are no resistors, so that currents are found as they are
    /// with every input line driven.
    pub is_nonlinear: bool,
}

impl WireLoss {
    fn new(target: &Target) -> Option<Self> {
        let wires = target.wires;
        let input_line_drop = wires.input_line_drop(target.pe, &target.cell);
        let is_nonlinear = target.cell.nonlinearity.is_some();
        (!wires.are_ideal()).then_some(Self { wires, input_line_drop, is_nonlinear })
    }
}

/// How much of the chip is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// PEs that hold weights.
    pub n_pes_used: usize,
    /// PEs of the chip; `None` where a model gets as many as it takes.
    pub n_pes_available: Option<u32>,
    /// Chips that have such PEs.
    pub n_chips_used: usize,
    /// Chips of the target; `None` where a model gets as many as it takes.
    pub n_chips_available: Option<u32>,
    /// How often the chip is written for one run; PEs and cells of all passes
    /// are counted.
    pub n_passes: u32,
    /// Pairs that hold the most sliced weight.
    pub n_slices: u8,
    /// Cells of the chip; of the PEs in use where their number is not fixed.
    pub cells_total: u64,
    /// Cells taken by tiles.
    pub cells_used: u64,
    /// Cells that hold weights. The others that are used lie off the diagonal
    /// of block-diagonal tiles and hold zero.
    pub cells_of_weights: u64,
    /// Weights on the arrays, each replicated one counted once.
    pub n_weights: u64,
}

impl Footprint {
    /// Whether the model fits the chip.
    pub fn fits(&self) -> bool {
        let n_passes = u64::from(self.n_passes);
        self.n_pes_available
            .is_none_or(|available| self.n_pes_used as u64 <= u64::from(available) * n_passes)
    }

    /// Cells that are used and hold no weight.
    pub fn cells_zero(&self) -> u64 {
        self.cells_used.saturating_sub(self.cells_of_weights)
    }
}

/// Multiply-accumulates for one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Macs {
    /// Of crossbar layers, padding included.
    pub on_arrays: u64,
    /// Of digital layers, as far as they are known.
    pub digital: u64,
}

impl Macs {
    /// The share done on arrays, 0 to 1; `None` for a model without any.
    pub fn share_on_arrays(&self) -> Option<f64> {
        numbers::share(self.on_arrays, self.on_arrays.saturating_add(self.digital))
    }
}

impl Report {
    /// Computes a report.
    pub fn new(parts: &ReportParts<'_>) -> Self {
        let ReportParts { graph, plan, target, .. } = *parts;
        let (by_layer, by_pe) = work::tally(plan, target);
        let layers = layers::crossbar_rows(graph, plan, &by_layer);
        let digital = layers::digital_rows(graph);
        let pes = pes::rows(plan, &by_pe);
        let n_pes_used = pes.len();
        let n_pes_available = pe_limit(target);
        let n_passes = u64::from(plan.n_passes);
        let n_pes = n_pes_available.map_or(n_pes_used as u64, |n| u64::from(n) * n_passes);
        Self {
            model: parts.model_name.to_string(),
            target: target.name.clone(),
            target_description: target.description().map(str::to_string),
            pe: plan.pe,
            wires: WireLoss::new(target),
            preprocessing: parts.preprocessing.to_string(),
            calibration: parts.calibration.to_string(),
            footprint: Footprint {
                n_pes_used,
                n_pes_available,
                n_chips_used: plan
                    .targets
                    .keys()
                    .map(|&pe| target.chip.chip_of(plan.on_chip(pe).0))
                    .collect::<BTreeSet<_>>()
                    .len(),
                n_chips_available: match target.chip.chips {
                    ChipCount::Count(n) => Some(n),
                    ChipCount::AsNeeded => None,
                },
                n_passes: plan.n_passes,
                n_slices: plan.layers.values().map(PlanLayer::n_slices).max().unwrap_or(1),
                cells_total: n_pes.saturating_mul(plan.pe.cells()),
                cells_used: total(&layers, |layer| layer.cells),
                cells_of_weights: total(&layers, |layer| layer.cells_of_weights),
                n_weights: total(&layers, |layer| layer.n_weights),
            },
            macs: Macs {
                on_arrays: total(&layers, |layer| layer.macs),
                digital: total(&digital, |row| row.macs),
            },
            schedule: Schedule { counts: plan.counts(), cycle_ns: plan.cycle_ns, n_pes_used },
            timing: Timing::new(plan, graph, target, parts.timing),
            writing: (plan.n_passes > 1).then(|| Forecast::new(plan, target)).flatten(),
            physics: Physics::new(plan, target),
            costs: Costs::new(plan, target, &by_layer),
            stages: layers::stage_rows(graph, plan, target),
            layers,
            digital,
            pes,
        }
    }

    /// The report as text, for people: tables that can be pasted into a page
    /// of Markdown. Of a large model only the largest rows are shown, with a
    /// hash of all.
    pub fn to_text(&self) -> String {
        text::text(self)
    }

    /// The report as JSON, for scripts: every row, and a number wherever the
    /// text has one.
    pub fn to_json(&self) -> serde_json::Value {
        json::json(self)
    }
}

/// A sum over rows; saturating, because counts of a stranger's model may be
/// anything.
fn total<R>(rows: &[R], count: impl Fn(&R) -> u64) -> u64 {
    rows.iter().map(count).fold(0, u64::saturating_add)
}
