//! From a mapping to an execution plan.

use std::collections::BTreeMap;
use std::ops::Range;

use super::cuts::{Work, work};
use super::plan::{
    AdcSetting, ExecutionPlan, PeTargets, PlanLayer, PlanTile, Step, StepKind, planes, rounds,
    step_id,
};
use super::timing;
use crate::entity::{LayerId, PeId, StepId, Table, TensorId, WeightTileId};
use crate::graph::LayerGraph;
use crate::mapping::Mapping;
use crate::quantize::QuantizedLayers;
use crate::target::{Subtract, Target};

/// What a plan is made from, beside the target.
#[derive(Debug, Clone, Copy)]
pub struct PlanParts<'a> {
    /// What is computed.
    pub graph: &'a LayerGraph,
    /// With which integers.
    pub quantized: &'a QuantizedLayers,
    /// Where each weight sits.
    pub mapping: &'a Mapping,
    /// ADC setting of each tile.
    pub adc: &'a [AdcSetting],
}

/// Makes the plan: tables of layers, tiles and cells, then the steps, then
/// their times.
pub fn schedule(parts: PlanParts<'_>, target: &Target) -> ExecutionPlan {
    let PlanParts { graph, quantized, mapping, adc } = parts;
    let tiles: Table<WeightTileId, PlanTile> = mapping
        .tiles
        .values()
        .zip(adc)
        .map(|(place, adc)| PlanTile { place: place.clone(), adc: *adc })
        .collect();
    let mut plan = ExecutionPlan {
        pe: target.pe,
        n_pes: mapping.n_pes,
        subtract: target.readout.subtract,
        conversions_per_cycle: target.readout.lines_converted_per_cycle(),
        cycle_ns: target.readout.cycle_ns,
        level_us: target.cell.step_us(),
        inputs: graph.inputs().to_vec(),
        outputs: graph.outputs().to_vec(),
        layers: layers(parts),
        targets: targets(mapping, quantized, target),
        tiles,
        steps: Table::new(),
    };
    plan.steps = Builder { plan: &plan, target, steps: Table::new(), makers: BTreeMap::new() }
        .steps(work(graph));
    timing::assign(&mut plan);
    plan
}

fn layers(parts: PlanParts<'_>) -> BTreeMap<LayerId, PlanLayer> {
    let PlanParts { graph, quantized, mapping, .. } = parts;
    let mut layers = BTreeMap::new();
    for (id, layer, crossbar) in graph.crossbar_layers() {
        let (Some(integers), &[input], &[output]) =
            (quantized.get(&id), &layer.inputs[..], &layer.outputs[..])
        else {
            continue; // The graph verifier made sure of it.
        };
        let nest = crossbar.nest.clone();
        let (n_rows, n_columns) = (nest.n_rows(), nest.n_columns());
        let mut level_sums = vec![0i64; nest.n_groups() * n_columns];
        for (index, &level) in integers.levels.iter().enumerate() {
            let (group, column) = (index / (n_rows * n_columns), index % n_columns);
            level_sums[group * n_columns + column] += i64::from(level);
        }
        let step = f64::from(integers.coding.scale);
        let plan_layer = PlanLayer {
            name: layer.name.clone(),
            input,
            output,
            nest,
            coding: integers.coding,
            n_replicas: mapping.replicas.get(&id).copied().unwrap_or(1),
            levels: integers.levels.clone(),
            column_scales: integers.weight_scales.iter().map(|&s| f64::from(s) * step).collect(),
            level_sums,
            bias: crossbar.bias.clone(),
        };
        layers.insert(id, plan_layer);
    }
    layers
}

/// The positive part of each weight on its positive line, the negative part on
/// the other; zeros off the diagonal of grouped tiles.
fn targets(
    mapping: &Mapping,
    quantized: &QuantizedLayers,
    target: &Target,
) -> BTreeMap<PeId, PeTargets> {
    let n_outputs = target.pe.outputs as usize;
    let n_cells = target.pe.inputs as usize * n_outputs;
    let mut targets: BTreeMap<PeId, PeTargets> = BTreeMap::new();
    for place in mapping.tiles.values() {
        let Some(layer) = quantized.get(&place.layer) else { continue };
        let pe = targets
            .entry(place.pe)
            .or_insert_with(|| PeTargets { levels: vec![f32::NAN; n_cells] });
        for line in place.input_line..place.input_line + place.n_inputs() {
            let start = line as usize * n_outputs + place.output_line as usize;
            pe.levels[start..start + place.n_outputs() as usize].fill(0.0);
        }
        let n_groups = layer.weight_scales.len();
        for group in place.groups.clone() {
            for row in place.rows.clone() {
                for column in place.columns.clone() {
                    let level = layer.levels[matrix_index(layer.levels.len(), n_groups, mapping, place, group, row, column)];
                    let (input, positive, negative) =
                        ExecutionPlan::cells(place, group, row, column);
                    let at = |line: u32| input as usize * n_outputs + line as usize;
                    pe.levels[at(positive)] = f32::from(level.max(0));
                    pe.levels[at(negative)] = f32::from((-level).max(0));
                }
            }
        }
    }
    targets
}
