//! From a mapping to an execution plan.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::cuts::{Work, work};
use super::plan::{AdcSetting, ExecutionPlan, PlanLayer, PlanTile, Step, StepKind, planes, rounds};
use super::stage::analog_stage;
use super::targets::{Levels, PeTargets};
use super::timing;
use crate::entity::{LayerId, PeId, StepId, Table, TensorId, WeightTileId};
use crate::graph::LayerGraph;
use crate::mapping::{Mapping, Unrolling, WeightTile};
use crate::quantize::QuantizedLayers;
use crate::target::Target;

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
    let PlanParts { graph, mapping, adc, .. } = parts;
    let tiles: Table<WeightTileId, PlanTile> = mapping
        .tiles
        .values()
        .zip(adc)
        .map(|(place, adc)| PlanTile { place: place.clone(), adc: *adc })
        .collect();
    let layers = layers(parts, target);
    let mut plan = ExecutionPlan {
        pe: target.pe,
        n_pes: mapping.n_pes,
        n_passes: mapping.n_passes,
        subtract: target.readout.subtract,
        conversion: target.readout.conversion,
        conversions_per_cycle: target.readout.lines_converted_per_cycle(),
        cycle_ns: target.readout.cycle_ns,
        level_us: target.cell.step_us(),
        inputs: graph.inputs().to_vec(),
        outputs: graph.outputs().to_vec(),
        targets: targets(parts, &layers, target),
        layers,
        tiles,
        steps: Table::new(),
    };
    plan.steps = Builder::new(&plan, mapping, target).steps(work(graph));
    timing::assign(&mut plan);
    plan
}

fn layers(parts: PlanParts<'_>, target: &Target) -> BTreeMap<LayerId, PlanLayer> {
    let PlanParts { graph, quantized, mapping, .. } = parts;
    let mut layers = BTreeMap::new();
    for (id, layer, crossbar) in graph.crossbar_layers() {
        let (Some(integers), &[input], &[output]) =
            (quantized.get(&id), &layer.inputs[..], &layer.outputs[..])
        else {
            continue; // The graph verifier made sure of it.
        };
        let unrolled = mapping.unrolled.get(&id);
        let nest = unrolled.map_or(&crossbar.nest, |unrolling| &unrolling.nest).clone();
        let (n_rows, n_columns) = (nest.n_rows(), nest.n_columns());
        let levels = match unrolled {
            Some(unrolling) => Arc::new(unrolling.matrix(&integers.levels, 0)),
            None => integers.levels.clone(),
        };
        let mut level_sums = vec![0i64; nest.n_groups() * n_columns];
        for (index, &level) in levels.iter().enumerate() {
            let (group, column) = (index / (n_rows * n_columns), index % n_columns);
            level_sums[group * n_columns + column] += i64::from(level);
        }
        let step = f64::from(integers.coding.scale);
        let mut plan_layer = PlanLayer {
            name: layer.name.clone(),
            input,
            output,
            nest,
            matrix: graph.matrix_of(id),
            coding: integers.coding,
            slicing: Some(integers.slicing).filter(|slicing| slicing.n_slices() > 1),
            n_replicas: mapping.replicas.get(&graph.matrix_of(id)).copied().unwrap_or(1),
            levels,
            column_scales: by_column(unrolled, &integers.weight_scales)
                .iter()
                .map(|&s| f64::from(s) * step)
                .collect(),
            level_sums,
            bias: by_column(unrolled, &integers.bias).into_owned(),
            unrolled: unrolled.cloned(),
            stage: None,
        };
        // What keeps a stage from being analog is told by the report.
        plan_layer.stage = analog_stage(graph, mapping.tiles.values(), target, (id, &plan_layer))
            .unwrap_or_default();
        layers.insert(id, plan_layer);
    }
    layers
}

/// What a layer has for each column, as it is unrolled.
fn by_column<'a>(unrolled: Option<&Unrolling>, own: &'a [f32]) -> Cow<'a, [f32]> {
    match unrolled {
        Some(unrolling) => unrolling.by_column(own).into(),
        None => own.into(),
    }
}

/// The positive part of each weight, or of its digit, on its positive line, the
/// negative part on the other; zeros off the diagonal of grouped tiles.
fn targets(
    parts: PlanParts<'_>,
    layers: &BTreeMap<LayerId, PlanLayer>,
    target: &Target,
) -> BTreeMap<PeId, PeTargets> {
    let n_outputs = target.pe.outputs as usize;
    let n_cells = target.pe.inputs as usize * n_outputs;
    let mut targets: BTreeMap<PeId, PeTargets> = BTreeMap::new();
    for place in parts.mapping.tiles.values() {
        let (Some(quantized), Some(layer)) =
            (parts.quantized.get(&place.layer), layers.get(&place.layer))
        else {
            continue; // The mapping verifier made sure of it.
        };
        let (n_rows, n_columns) = (layer.nest.n_rows(), layer.nest.n_columns());
        let pe = targets
            .entry(place.pe)
            .or_insert_with(|| PeTargets { levels: Levels::unused(n_cells) });
        for line in place.input_line..place.input_line + place.n_inputs() {
            let start = line as usize * n_outputs + place.output_line as usize;
            let own = start..start + place.n_outputs() as usize;
            own.for_each(|cell| pe.levels.set(cell, 0.0));
        }
        for (group, row, column) in weights_of(place) {
            let index = (group as usize * n_rows + row as usize) * n_columns + column as usize;
            let level = quantized.slicing.digit(layer.levels[index], place.slice);
            let (input, positive, negative) = ExecutionPlan::cells(place, group, row, column);
            let cell = |line: u32| input as usize * n_outputs + line as usize;
            pe.levels.set(cell(positive), f32::from(level.max(0)));
            pe.levels.set(cell(negative), f32::from((-level).max(0)));
        }
    }
    targets
}

/// Group, row and column of every weight of a tile.
fn weights_of(place: &WeightTile) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
    place.groups.clone().flat_map(move |group| {
        place
            .rows
            .clone()
            .flat_map(move |row| place.columns.clone().map(move |column| (group, row, column)))
    })
}

/// Writes steps in executable order and remembers which step makes what.
struct Builder<'a> {
    plan: &'a ExecutionPlan,
    mapping: &'a Mapping,
    target: &'a Target,
    steps: Table<StepId, Step>,
    makers: BTreeMap<TensorId, StepId>,
}

impl<'a> Builder<'a> {
    fn new(plan: &'a ExecutionPlan, mapping: &'a Mapping, target: &'a Target) -> Self {
        Self { plan, mapping, target, steps: Table::new(), makers: BTreeMap::new() }
    }

    fn steps(mut self, work: Vec<Work>) -> Table<StepId, Step> {
        for item in work {
            match item {
                Work::Stage(stage) => {
                    let after = self.makers_of(&stage.inputs);
                    let (inputs, outputs) = (stage.inputs, stage.outputs);
                    let made = outputs.clone();
                    let id = self.push(StepKind::Digital { inputs, outputs }, after, 0);
                    self.makers.extend(made.into_iter().map(|tensor| (tensor, id)));
                }
                Work::Crossbar(layer) => self.crossbar(layer),
            }
        }
        self.steps
    }

    fn crossbar(&mut self, layer: LayerId) {
        let plan = self.plan;
        let plan_layer = &plan.layers[&layer];
        let n_positions = plan_layer.nest.positions_per_input() as u32;
        let encode = self.push(StepKind::Encode { layer }, self.makers_of(&[plan_layer.input]), 0);
        let mut all_tiles = Vec::new();
        let mut all_waves = Vec::new();
        for (replica, driven) in driven_together(plan, plan_layer.matrix) {
            let positions = self.mapping.positions(plan_layer.matrix, replica, n_positions);
            for tiles in driven {
                let planes = planes(&plan_layer.coding);
                let n_conversions = tiles.iter().map(|&tile| plan.n_conversions(tile)).sum();
                let conversions = rounds(n_conversions, &self.target.readout);
                all_tiles.extend(&tiles);
                let waves = StepKind::Waves { layer, tiles, positions, planes, conversions };
                let cycles = plan.effort(&waves).map_or(0, |effort| effort.cycles());
                all_waves.push(self.push(waves, vec![encode], cycles));
            }
        }
        let sum = self.push(StepKind::Sum { layer, tiles: all_tiles }, all_waves, 0);
        self.makers.insert(plan_layer.output, sum);
    }

    /// Steps that make these tensors, each once; inputs of the model have none.
    fn makers_of(&self, tensors: &[TensorId]) -> Vec<StepId> {
        let mut makers: Vec<StepId> =
            tensors.iter().filter_map(|tensor| self.makers.get(tensor).copied()).collect();
        makers.sort_unstable();
        makers.dedup();
        makers
    }

    fn push(&mut self, kind: StepKind, after: Vec<StepId>, cycles: u64) -> StepId {
        self.steps.push(Step { kind, after, start: 0, cycles })
    }
}

/// Tiles of a matrix by replica and by what drives them: tiles of one PE that
/// take the same inputs on the same lines are driven together.
fn driven_together(plan: &ExecutionPlan, matrix: LayerId) -> BTreeMap<u32, Vec<Vec<WeightTileId>>> {
    let mut replicas: BTreeMap<u32, Vec<Vec<WeightTileId>>> = BTreeMap::new();
    let mut found: BTreeMap<(u32, PeId, u32, u32, u32), usize> = BTreeMap::new();
    for (id, tile) in plan.tiles.iter().filter(|(_, tile)| tile.place.layer == matrix) {
        let place = &tile.place;
        let own = (place.replica, place.pe, place.input_line, place.groups.start, place.rows.start);
        let groups = replicas.entry(place.replica).or_default();
        let group = *found.entry(own).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(id);
    }
    replicas
}
