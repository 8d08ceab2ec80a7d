//! The report as JSON. The keys are what scripts rely on, so they have types
//! of their own and do not change when the report's do.

use serde::Serialize;
use serde_json::Value;

use super::json_costs::CostsForm;
use super::text::stage_text;
use super::timing::{PS_PER_US, timing_of, us};
use super::{
    DigitalRow, LayerRow, PeRow, Physics, Report, Schedule, StageRow, WireLoss, Work, writing,
};
use crate::graph::Obstacle;
use crate::quantize::InputCoding;
use crate::target::{IdleInputs, IdleOutputs, WiresSolved};
use crate::timing::{LayerTiming, Timing};

pub(super) fn json(report: &Report) -> Value {
    // Plain structs with text keys always have a JSON form.
    serde_json::to_value(ReportForm::from(report)).unwrap_or_default()
}

#[derive(Serialize)]
struct ReportForm<'a> {
    model: &'a str,
    target: &'a str,
    target_description: Option<&'a str>,
    pe_inputs: u32,
    pe_outputs: u32,
    /// Null for wires without resistance.
    wires: Option<WiresForm>,
    preprocessing: &'a str,
    calibration: &'a str,
    fits: bool,
    pes: usize,
    pes_available: Option<u32>,
    chips: usize,
    chips_available: Option<u32>,
    passes: u32,
    cells_used: u64,
    cells_total: u64,
    cells_of_weights: u64,
    cells_zero: u64,
    weights: u64,
    macs_on_arrays: u64,
    macs_digital: u64,
    macs_on_arrays_share: Option<f64>,
    layers: Vec<LayerForm<'a>>,
    /// Left out for a target that cannot compare sums.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    analog_stages: Vec<StageForm<'a>>,
    digital_layers: Vec<DigitalForm<'a>>,
    pe_table: Vec<PeForm<'a>>,
    schedule: ScheduleForm,
    timing: TimingForm,
    /// Absent for a plan that is written once, and where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    writing: Option<Value>,
    physics: PhysicsForm,
    /// Absent for a target without costs.
    #[serde(flatten)]
    costs: Option<CostsForm<'a>>,
}

#[derive(Serialize)]
struct WiresForm {
    input_ohm_per_cell: f64,
    output_ohm_per_cell: f64,
    driver_ohm: f64,
    sense_ohm: f64,
    idle_outputs: &'static str,
    idle_inputs: &'static str,
    solved: &'static str,
    input_line_drop: f64,
    nonlinear_cells: bool,
}

#[derive(Serialize)]
struct LayerForm<'a> {
    id: String,
    name: &'a str,
    description: &'a str,
    groups: usize,
    rows: usize,
    columns: usize,
    weights: u64,
    positions: usize,
    /// Positions that one wave makes; absent for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<&'a str>,
    steps: usize,
    macs: u64,
    replicas: u32,
    tiles: usize,
    pes: Vec<String>,
    cells: u64,
    cells_of_weights: u64,
    inputs: CodingForm,
    #[serde(flatten)]
    work: WorkForm,
    time: Option<LayerTimeForm>,
    /// Absent for a target without costs.
    #[serde(skip_serializing_if = "Option::is_none")]
    energy_pj: Option<f64>,
}

/// When a layer works, one input alone on the chip.
#[derive(Serialize)]
struct LayerTimeForm {
    start_us: f64,
    end_us: f64,
    busiest_pe_us: f64,
    utilisation: Option<f64>,
}

#[derive(Serialize)]
struct TimingForm {
    rows_at_once: u64,
    latency_us: f64,
    in_flight: u32,
    interval_us: f64,
    inputs_per_s: Option<f64>,
    closed_form_latency_us: f64,
    closed_form_interval_us: f64,
    bottleneck: Option<String>,
    resources: Vec<UseForm>,
}

/// V^2 G t of the arrays' cells.
#[derive(Serialize)]
struct PhysicsForm {
    array_pj_per_cycle_min: f64,
    array_pj_per_cycle_max: f64,
    array_pj_per_input_max: f64,
}

#[derive(Serialize)]
struct UseForm {
    resource: String,
    kind: &'static str,
    busy_us: f64,
    utilisation_in_stream: Option<f64>,
}

#[derive(Serialize)]
struct CodingForm {
    bits: u8,
    signed: bool,
    scale: f32,
    zero_point: i32,
}

#[derive(Serialize)]
struct WorkForm {
    waves: u64,
    planes: u64,
    conversions: u64,
    pe_cycles: u64,
    start_cycle: u64,
    end_cycle: u64,
}

#[derive(Serialize)]
struct DigitalForm<'a> {
    op: &'a str,
    macs: u64,
    not_on_arrays_because: Option<String>,
    to_move_it_takes: Option<&'static str>,
    layers: Vec<NodeForm<'a>>,
}

#[derive(Serialize)]
struct NodeForm<'a> {
    id: String,
    name: &'a str,
}

#[derive(Serialize)]
struct PeForm<'a> {
    id: String,
    tiles: usize,
    input_lines: u32,
    output_lines: u32,
    cells: u64,
    holds: Vec<ResidentForm<'a>>,
    #[serde(flatten)]
    work: WorkForm,
}

#[derive(Serialize)]
struct ResidentForm<'a> {
    layer: String,
    name: &'a str,
    replica: u32,
    tiles: usize,
    output_lines: u32,
}

#[derive(Serialize)]
struct ScheduleForm {
    waves: u64,
    planes: u64,
    conversions: u64,
    pe_cycles: u64,
    cycle_ns: f64,
    latency_cycles: u64,
    latency_us: f64,
    interval_cycles: u64,
    interval_us: f64,
    inputs_per_s: Option<f64>,
    utilisation_alone: Option<f64>,
    utilisation_in_stream: Option<f64>,
}

#[derive(Serialize)]
struct StageForm<'a> {
    id: String,
    name: &'a str,
    /// Null where it is done digitally.
    before_conversion: Option<String>,
    because: Option<String>,
}

impl<'a> From<&'a StageRow> for StageForm<'a> {
    fn from(row: &'a StageRow) -> Self {
        let stage = row.stage.as_ref();
        Self {
            id: row.id.to_string(),
            name: &row.name,
            before_conversion: stage.ok().map(stage_text),
            because: stage.err().map(ToString::to_string),
        }
    }
}

impl<'a> From<&'a Report> for ReportForm<'a> {
    fn from(report: &'a Report) -> Self {
        let footprint = &report.footprint;
        Self {
            model: &report.model,
            target: &report.target,
            target_description: report.target_description.as_deref(),
            pe_inputs: report.pe.inputs,
            pe_outputs: report.pe.outputs,
            wires: report.wires.as_ref().map(WiresForm::from),
            preprocessing: &report.preprocessing,
            calibration: &report.calibration,
            fits: footprint.fits(),
            pes: footprint.n_pes_used,
            pes_available: footprint.n_pes_available,
            chips: footprint.n_chips_used,
            chips_available: footprint.n_chips_available,
            passes: footprint.n_passes,
            cells_used: footprint.cells_used,
            cells_total: footprint.cells_total,
            cells_of_weights: footprint.cells_of_weights,
            cells_zero: footprint.cells_zero(),
            weights: footprint.n_weights,
            macs_on_arrays: report.macs.on_arrays,
            macs_digital: report.macs.digital,
            macs_on_arrays_share: report.macs.share_on_arrays(),
            layers: report.layers.iter().map(|row| LayerForm::new(row, report)).collect(),
            analog_stages: report.stages.iter().map(StageForm::from).collect(),
            digital_layers: report.digital.iter().map(DigitalForm::from).collect(),
            pe_table: report.pes.iter().map(PeForm::from).collect(),
            schedule: ScheduleForm::from(&report.schedule),
            timing: TimingForm::from(&report.timing),
            writing: report.writing.as_ref().map(writing::json),
            physics: PhysicsForm::from(&report.physics),
            costs: report.costs.as_ref().map(CostsForm::new),
        }
    }
}

impl From<&WireLoss> for WiresForm {
    fn from(loss: &WireLoss) -> Self {
        let wires = &loss.wires;
        Self {
            input_ohm_per_cell: wires.input_ohm_per_cell,
            output_ohm_per_cell: wires.output_ohm_per_cell,
            driver_ohm: wires.driver_ohm,
            sense_ohm: wires.sense_ohm,
            idle_outputs: match wires.idle_outputs {
                IdleOutputs::Connected => "connected",
                IdleOutputs::GatedOff => "gated-off",
            },
            idle_inputs: match wires.idle_inputs {
                IdleInputs::Grounded => "grounded",
                IdleInputs::Floating => "floating",
                IdleInputs::GatedOff => "gated-off",
            },
            solved: match wires.solved {
                WiresSolved::Once => "once",
                WiresSolved::EachVector => "each-vector",
            },
            input_line_drop: loss.input_line_drop,
            nonlinear_cells: loss.is_nonlinear,
        }
    }
}

impl<'a> LayerForm<'a> {
    fn new(layer: &'a LayerRow, report: &Report) -> Self {
        let energy = report.costs.as_ref().map(|costs| costs.energy);
        let work = &layer.work;
        Self {
            time: timing_of(&report.timing, layer).map(LayerTimeForm::from),
            energy_pj: energy.map(|energy| energy.of_work(work)),
            id: layer.id.to_string(),
            name: &layer.name,
            description: &layer.description,
            groups: layer.n_groups,
            rows: layer.n_rows,
            columns: layer.n_columns,
            weights: layer.n_weights,
            positions: layer.n_positions,
            window: layer.window.as_deref(),
            steps: layer.n_steps,
            macs: layer.macs,
            replicas: layer.n_replicas,
            tiles: layer.n_tiles,
            pes: layer.pes.iter().map(ToString::to_string).collect(),
            cells: layer.cells,
            cells_of_weights: layer.cells_of_weights,
            inputs: CodingForm::from(&layer.coding),
            work: WorkForm::from(&layer.work),
        }
    }
}

impl From<&LayerTiming> for LayerTimeForm {
    fn from(timing: &LayerTiming) -> Self {
        Self {
            start_us: us(timing.start_ps),
            end_us: us(timing.end_ps),
            busiest_pe_us: us(timing.busiest_ps),
            utilisation: timing.utilisation(),
        }
    }
}

impl From<&Timing> for TimingForm {
    fn from(timing: &Timing) -> Self {
        let resources = timing.uses.iter().map(|each| UseForm {
            resource: each.resource.to_string(),
            kind: each.resource.kind(),
            busy_us: us(each.busy_ps),
            utilisation_in_stream: timing.utilisation(each),
        });
        Self {
            rows_at_once: timing.rows_at_once,
            latency_us: us(timing.latency_ps),
            in_flight: timing.in_flight,
            interval_us: timing.interval_ps / PS_PER_US,
            inputs_per_s: timing.inputs_per_s(),
            closed_form_latency_us: us(timing.estimate.latency_ps),
            closed_form_interval_us: us(timing.estimate.interval_ps),
            bottleneck: timing.bottleneck().map(|each| each.resource.to_string()),
            resources: resources.collect(),
        }
    }
}

impl From<&Physics> for PhysicsForm {
    fn from(physics: &Physics) -> Self {
        Self {
            array_pj_per_cycle_min: physics.cycle_pj_min,
            array_pj_per_cycle_max: physics.cycle_pj_max,
            array_pj_per_input_max: physics.input_pj_max,
        }
    }
}

impl From<&InputCoding> for CodingForm {
    fn from(coding: &InputCoding) -> Self {
        let InputCoding { bits, signed, scale, zero_point } = *coding;
        Self { bits, signed, scale, zero_point }
    }
}

impl From<&Work> for WorkForm {
    fn from(work: &Work) -> Self {
        let Work { waves, planes, conversions, pe_cycles, start_cycle, end_cycle, .. } = *work;
        Self { waves, planes, conversions, pe_cycles, start_cycle, end_cycle }
    }
}

impl<'a> From<&'a DigitalRow> for DigitalForm<'a> {
    fn from(row: &'a DigitalRow) -> Self {
        let node = |(id, name): &'a (_, String)| {
            let id: &crate::entity::LayerId = id;
            NodeForm { id: id.to_string(), name }
        };
        Self {
            op: &row.op,
            macs: row.macs,
            not_on_arrays_because: row.obstacle.as_ref().map(ToString::to_string),
            to_move_it_takes: row.obstacle.as_ref().map(Obstacle::needs),
            layers: row.layers.iter().map(node).collect(),
        }
    }
}

impl<'a> From<&'a PeRow> for PeForm<'a> {
    fn from(row: &'a PeRow) -> Self {
        let holds = row.residents.iter().map(|resident| ResidentForm {
            layer: resident.layer.to_string(),
            name: &resident.name,
            replica: resident.replica.unwrap_or(0),
            tiles: resident.n_tiles,
            output_lines: resident.n_output_lines,
        });
        Self {
            id: row.id.to_string(),
            tiles: row.n_tiles,
            input_lines: row.n_input_lines,
            output_lines: row.n_output_lines,
            cells: row.cells,
            holds: holds.collect(),
            work: WorkForm::from(&row.work),
        }
    }
}

impl From<&Schedule> for ScheduleForm {
    fn from(schedule: &Schedule) -> Self {
        let counts = &schedule.counts;
        Self {
            waves: counts.waves,
            planes: counts.planes,
            conversions: counts.conversions,
            pe_cycles: counts.pe_cycles,
            cycle_ns: schedule.cycle_ns,
            latency_cycles: counts.latency_cycles,
            latency_us: schedule.latency_us(),
            interval_cycles: counts.interval_cycles,
            interval_us: schedule.interval_us(),
            inputs_per_s: schedule.inputs_per_s(),
            utilisation_alone: schedule.utilisation_alone(),
            utilisation_in_stream: schedule.utilisation_in_stream(),
        }
    }
}
