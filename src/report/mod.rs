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
mod summary;
mod table;
mod text;
mod text_costs;
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
pub use summary::{Footprint, Macs, Summary};
pub use work::Work;

use crate::chip::Forecast;
use crate::graph::LayerGraph;
use crate::schedule::ExecutionPlan;
use crate::target::{Pe, Target, Wires};
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
    /// Whether cells are no resistors.
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

impl Report {
    /// Computes a report.
    pub fn new(parts: &ReportParts<'_>) -> Self {
        let ReportParts { graph, plan, target, .. } = *parts;
        let (by_layer, by_pe) = work::tally(plan, target);
        let layers = layers::crossbar_rows(graph, plan, &by_layer);
        let digital = layers::digital_rows(graph);
        let pes = pes::rows(plan, &by_pe);
        Self {
            model: parts.model_name.to_string(),
            target: target.name.clone(),
            target_description: target.description().map(str::to_string),
            pe: plan.pe,
            wires: WireLoss::new(target),
            preprocessing: parts.preprocessing.to_string(),
            calibration: parts.calibration.to_string(),
            footprint: Footprint::new(plan, target, &layers, &pes),
            macs: Macs::new(&layers, &digital),
            schedule: Schedule {
                counts: plan.counts(),
                cycle_ns: plan.cycle_ns,
                n_pes_used: pes.len(),
            },
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
