//! Interprets an execution plan on a chip.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::digital::{Cut, Value};
use super::layout::Layout;
use super::{RunError, n_batch};
use crate::chip::{Chip, ReadNoise, Scratch, TileKernel};
use crate::entity::{Entity, LayerId, StepId, Table, TensorId, WeightTileId};
use crate::frontend::{Model, ModelInput};
use crate::mapping::length;
use crate::schedule::{self, ExecutionPlan, Plane, Step, StepKind};
use crate::tensor::Tensor;

/// Positions that one task takes: enough to be worth handing over, few enough
/// to share a layer among threads.
const POSITIONS_PER_TASK: usize = 64;

/// A plan, a chip, and the digital pieces, ready to run batches.
#[derive(Debug)]
pub struct Executor<'a> {
    plan: &'a ExecutionPlan,
    inputs: Vec<ModelInput>,
    cuts: BTreeMap<StepId, Cut>,
    layouts: BTreeMap<LayerId, Layout>,
    tiles: Table<WeightTileId, Tile>,
    /// Tensors that no later step reads, by step.
    last_reads: BTreeMap<StepId, Vec<TensorId>>,
    seed: u64,
}

#[derive(Debug)]
struct Tile {
    kernel: TileKernel,
    /// Address of each input line's code, from the position's start.
    line_codes: Vec<u32>,
    /// Place of each pair's result, from the position's start.
    pair_results: Vec<u32>,
}

/// What steps hand to each other for one batch.
struct State {
    tensors: BTreeMap<TensorId, Value>,
    /// Codes of each layer that was encoded, one padded tensor an input.
    codes: BTreeMap<LayerId, Vec<u16>>,
    /// Sums of each tile: `[input][position][pair]`, and the positions.
    sums: BTreeMap<WeightTileId, Vec<Partial>>,
    n_batch: usize,
    first_input: u64,
}

/// What waves of one step gave for one tile.
struct Partial {
    first_position: usize,
    n_positions: usize,
    /// Shifted and added codes, `[input][position][pair]`.
    codes: Vec<i64>,
}

impl<'a> Executor<'a> {
    /// Prepares a plan for a chip.
    ///
    /// # Errors
    ///
    /// The plan breaks its invariants, which everything here relies on; the
    /// chip lacks cells of the plan, or the model is not the plan's.
    pub fn new(plan: &'a ExecutionPlan, model: &Model, chip: &Chip) -> Result<Self, RunError> {
        let faults = schedule::verify(plan);
        if !faults.is_empty() {
            return Err(RunError::Plan(faults));
        }
        let mut layouts = BTreeMap::new();
        for (&id, layer) in &plan.layers {
            let shape = |t: TensorId| model.graph.tensors().get(t).map(|info| &info.shape[..]);
            let layout = match (shape(layer.input), shape(layer.output)) {
                (Some(input), Some(output)) => Layout::new(&layer.nest, input, output),
                _ => Err("its tensors are not in the model".to_string()),
            };
            let layout = layout.map_err(|reason| RunError::LayerInput {
                layer: id,
                name: layer.name.clone(),
                reason,
            })?;
            layouts.insert(id, layout);
        }
        let mut cuts = BTreeMap::new();
        for (id, step) in plan.steps.iter() {
            if let StepKind::Digital { inputs, outputs } = &step.kind {
                cuts.insert(id, Cut::new(model, inputs, outputs)?);
            }
        }
        let tiles = plan
            .tiles
            .keys()
            .map(|id| tile(plan, chip, &layouts, id).ok_or(RunError::WrongChip { tile: id }))
            .collect::<Result<_, _>>()?;
        let last_reads = last_reads(plan);
        let inputs = model.inputs.clone();
        Ok(Self { plan, inputs, cuts, layouts, tiles, last_reads, seed: chip.seed })
    }

    /// Runs one batch; `inputs` have the shapes that the model says, with a
    /// batch axis in front where it has one. The first of the batch is the
    /// input number `first_input`, which keys its noise.
    ///
    /// # Errors
    ///
    /// The inputs do not fit the model, or values that are not finite reach an
    /// array.
    pub fn run(&self, inputs: &[Tensor], first_input: u64) -> Result<Vec<Tensor>, RunError> {
        let n_batch = n_batch(&self.inputs, inputs)?;
        let mut state = State {
            tensors: BTreeMap::new(),
            codes: BTreeMap::new(),
            sums: BTreeMap::new(),
            n_batch,
            first_input,
        };
        for (&id, input) in self.plan.inputs.iter().zip(inputs) {
            state.tensors.insert(id, Value::from_array(input)?);
        }
        for (id, step) in self.plan.steps.iter() {
            self.step(id, step, &mut state)?;
            for tensor in self.last_reads.get(&id).into_iter().flatten() {
                state.tensors.remove(tensor);
            }
        }
        let missing = |tensor| RunError::MissingTensor {
            step: StepId::from_index(self.plan.steps.len()),
            tensor,
        };
        self.plan
            .outputs
            .iter()
            .map(|&t| Ok(state.tensors.get(&t).ok_or_else(|| missing(t))?.to_array()?))
            .collect()
    }

    fn step(&self, id: StepId, step: &Step, state: &mut State) -> Result<(), RunError> {
        match &step.kind {
            StepKind::Digital { inputs, outputs } => {
                let values = inputs
                    .iter()
                    .map(|&tensor| {
                        let value = state.tensors.get(&tensor).cloned();
                        value.ok_or(RunError::MissingTensor { step: id, tensor })
                    })
                    .collect::<Result<_, _>>()?;
                let results = self.cuts[&id].run(values)?;
                state.tensors.extend(outputs.iter().copied().zip(results));
                Ok(())
            }
            StepKind::Encode { layer } => self.encode(id, *layer, state),
            StepKind::Waves { layer, tiles, positions, planes, .. } => {
                let first_position = positions.start as usize;
                let n_positions = length(positions) as usize;
                for &tile in tiles {
                    let codes =
                        self.waves(id, *layer, tile, first_position, n_positions, planes, state)?;
                    let partial = Partial { first_position, n_positions, codes };
                    state.sums.entry(tile).or_default().push(partial);
                }
                Ok(())
            }
            StepKind::Sum { layer, tiles } => self.sum(id, *layer, tiles, state),
        }
    }

    fn encode(&self, id: StepId, layer: LayerId, state: &mut State) -> Result<(), RunError> {
        let plan_layer = &self.plan.layers[&layer];
        let layout = &self.layouts[&layer];
        let tensor = plan_layer.input;
        let value =
            state.tensors.get(&tensor).ok_or(RunError::MissingTensor { step: id, tensor })?;
        let wrong =
            |reason: String| RunError::LayerInput { layer, name: plan_layer.name.clone(), reason };
        let values = value.as_f32().ok_or_else(|| wrong("it is not f32".to_string()))?;
        let n_values = layout.n_values();
        let n_inputs = values.len() / n_values.max(1);
        if values.len() != n_values * n_inputs || (n_inputs != state.n_batch && n_inputs != 1) {
            return Err(wrong(format!(
                "a tensor of shape {:?}, {n_values} values for each of {} inputs expected",
                value.shape(),
                state.n_batch
            )));
        }
        let values = layout.inputs_apart(values, n_inputs);
        let mut codes = vec![0; layout.n_codes * n_inputs];
        for (input, (values, codes)) in
            values.chunks_exact(n_values).zip(codes.chunks_exact_mut(layout.n_codes)).enumerate()
        {
            layout.encode(values, &plan_layer.coding, codes).map_err(|index| {
                RunError::NotFinite {
                    name: plan_layer.name.clone(),
                    input: state.first_input + input as u64,
                    value: values[index],
                }
            })?;
        }
        state.codes.insert(layer, codes);
        Ok(())
    }

    /// Drives a tile through a run of positions of every input of the batch.
    #[allow(clippy::too_many_arguments, reason = "the parts of one plan step, each used once")]
    fn waves(
        &self,
        id: StepId,
        layer: LayerId,
        tile_id: WeightTileId,
        first: usize,
        n_positions: usize,
        planes: &[Plane],
        state: &State,
    ) -> Result<Vec<i64>, RunError> {
        let layout = &self.layouts[&layer];
        let tile = &self.tiles[tile_id];
        let codes = state.codes.get(&layer).ok_or_else(|| RunError::OutOfOrder {
            step: id,
            what: format!("the encoding of {layer}"),
        })?;
        let n_pairs = tile.kernel.n_pairs();
        let n_inputs = codes.len() / layout.n_codes;
        let mut results = vec![0i64; n_inputs * n_positions * n_pairs];
        let pe = self.plan.tiles[tile_id].place.pe;
        results
            .par_chunks_mut(n_positions * n_pairs)
            .zip(codes.par_chunks(layout.n_codes))
            .enumerate()
            .for_each(|(input, (results, codes))| {
                let number = state.first_input + input as u64;
                let noise = ReadNoise::new(self.seed, number, pe.0, id.0);
                results.par_chunks_mut(POSITIONS_PER_TASK * n_pairs).enumerate().for_each(
                    |(task, results)| {
                        let start = first + task * POSITIONS_PER_TASK;
                        let mut scratch = Scratch::default();
                        let mut driven = vec![0u16; tile.line_codes.len()];
                        for (nth, results) in results.chunks_exact_mut(n_pairs).enumerate() {
                            let position = start + nth;
                            let base = layout.position_codes[position];
                            for (code, &offset) in driven.iter_mut().zip(&tile.line_codes) {
                                *code = codes[(base + offset) as usize];
                            }
                            let noise = Some((&noise, position as u32));
                            tile.kernel.wave(&driven, planes, noise, &mut scratch, results);
                        }
                    },
                );
            });
        Ok(results)
    }

    fn sum(
        &self,
        id: StepId,
        layer: LayerId,
        tiles: &[WeightTileId],
        state: &mut State,
    ) -> Result<(), RunError> {
        let plan_layer = &self.plan.layers[&layer];
        let layout = &self.layouts[&layer];
        let codes = state.codes.remove(&layer).ok_or_else(|| RunError::OutOfOrder {
            step: id,
            what: format!("the encoding of {layer}"),
        })?;
        let n_inputs = codes.len() / layout.n_codes;
        // In levels times code steps; whole numbers on an exact chip, of which
        // f64 holds every one up to 2^53.
        let mut levels = vec![0f64; n_inputs * layout.n_results];
        for &tile_id in tiles {
            let tile = &self.tiles[tile_id];
            let levels_per_code = self.plan.tiles[tile_id].adc.step_us / self.plan.level_us;
            let partials = state.sums.remove(&tile_id).ok_or_else(|| RunError::OutOfOrder {
                step: id,
                what: format!("the waves of {tile_id}"),
            })?;
            for partial in partials {
                let per_input = partial.n_positions * tile.kernel.n_pairs();
                levels
                    .par_chunks_mut(layout.n_results)
                    .zip(partial.codes.par_chunks(per_input))
                    .for_each(|(levels, codes)| {
                        for (nth, codes) in codes.chunks_exact(tile.kernel.n_pairs()).enumerate() {
                            let start = layout.position_results[partial.first_position + nth];
                            for (&code, &place) in codes.iter().zip(&tile.pair_results) {
                                levels[(start + place) as usize] += code as f64 * levels_per_code;
                            }
                        }
                    });
            }
        }
        let mut results = vec![0f32; levels.len()];
        let zero_point = i64::from(plan_layer.coding.zero_point);
        results.par_chunks_mut(layout.n_results).zip(levels.par_chunks(layout.n_results)).for_each(
            |(results, levels)| {
                for &start in &layout.position_results {
                    for (column, &place) in layout.column_results.iter().enumerate() {
                        let at = (start + place) as usize;
                        let correction = (zero_point * plan_layer.level_sums[column]) as f64;
                        let real = (levels[at] - correction) * plan_layer.column_scales[column]
                            + f64::from(plan_layer.bias[column]);
                        results[at] = real as f32;
                    }
                }
            },
        );
        let results = layout.batch_together(&results, n_inputs);
        let value = Value::from_f32(&layout.output_shape(n_inputs), &results)?;
        state.tensors.insert(plan_layer.output, value);
        Ok(())
    }
}

/// Prepares a tile; `None` if the chip lacks its cells.
fn tile(
    plan: &ExecutionPlan,
    chip: &Chip,
    layouts: &BTreeMap<LayerId, Layout>,
    id: WeightTileId,
) -> Option<Tile> {
    if chip.pe != plan.pe {
        return None;
    }
    let plan_tile = &plan.tiles[id];
    let place = &plan_tile.place;
    let kernel = TileKernel::new(chip, place, &plan_tile.adc, plan.subtract)?;
    let layout = layouts.get(&place.layer)?;
    let nest = &plan.layers.get(&place.layer)?.nest;
    let (n_rows, n_columns) = (nest.n_rows() as u32, nest.n_columns() as u32);
    let lines = place
        .groups
        .clone()
        .flat_map(|group| place.rows.clone().map(move |row| group * n_rows + row));
    let pairs = place
        .groups
        .clone()
        .flat_map(|group| place.columns.clone().map(move |column| group * n_columns + column));
    let look_up = |table: &[u32], index: u32| table.get(index as usize).copied();
    Some(Tile {
        kernel,
        line_codes: lines.map(|line| look_up(&layout.line_codes, line)).collect::<Option<_>>()?,
        pair_results: pairs
            .map(|pair| look_up(&layout.column_results, pair))
            .collect::<Option<_>>()?,
    })
}

/// For every step, the tensors that it is the last to read.
fn last_reads(plan: &ExecutionPlan) -> BTreeMap<StepId, Vec<TensorId>> {
    let mut last: BTreeMap<TensorId, StepId> = BTreeMap::new();
    for (id, step) in plan.steps.iter() {
        match &step.kind {
            StepKind::Digital { inputs, .. } => {
                last.extend(inputs.iter().map(|&tensor| (tensor, id)));
            }
            StepKind::Encode { layer } => {
                last.extend(plan.layers.get(layer).map(|layer| (layer.input, id)));
            }
            StepKind::Waves { .. } | StepKind::Sum { .. } => {}
        }
    }
    let mut by_step: BTreeMap<StepId, Vec<TensorId>> = BTreeMap::new();
    for (tensor, step) in last {
        if !plan.outputs.contains(&tensor) {
            by_step.entry(step).or_default().push(tensor);
        }
    }
    by_step
}
