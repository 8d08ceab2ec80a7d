//! Runs the waves of one crossbar layer and sums them up.
//!
//! ```text
//! for each input: values -> codes -> patterns
//!     for each block of positions:
//!         for each tile, in the order of the plan's sum: waves -> sums of codes
//!         partial sums added, zero point taken off, scaled, bias added -> results
//! ```
//!
//! Order, tiles, scales, zero points, planes and positions are the plan's.
//! Blocks and inputs may run on any thread; nothing depends on which.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::RunError;
use super::activity::Activity;
use super::digital::Value;
use super::encode::{encode, first_not_finite};
use super::layout::Layout;
use super::results::{Block, Columns, TileSums};
use super::stage::{Column, Stage, Sums};
use super::watch::{InputEvents, Watch};
use crate::chip::{
    Chip, Driven, Pattern, PatternMap, ReadNoise, Scheme, TileKernel, lines_per_bundle,
};
use crate::entity::{LayerId, PeId, StepId, TensorId, WeightTileId};
use crate::graph::unflatten;
use crate::mapping::{Positions, WeightTile};
use crate::schedule::{ExecutionPlan, PlanLayer, PlanTile, Plane, StepKind};
use crate::target::Target;

/// A crossbar layer on a chip, ready to be driven.
#[derive(Debug)]
pub(super) struct Crossbar<'a> {
    id: LayerId,
    layer: &'a PlanLayer,
    layout: Layout,
    map: PatternMap,
    n_codes: usize,
    planes: &'a [Plane],
    tiles: Vec<Tile>,
    /// What the zero point adds to each column, in levels times code steps.
    corrections: Vec<f64>,
    /// What each column's sum is multiplied with, and what is added then:
    /// digital registers, which hold what the plan says unless somebody trains
    /// them.
    scales: Vec<f64>,
    /// See `scales`.
    bias: Vec<f32>,
    seed: u64,
    /// Compares sums before they are converted, where that is done.
    stage: Option<Stage>,
    /// Counts driven bits, where somebody wants to know.
    activity: Option<Activity>,
    /// Watches waves without a clock, where somebody wants to know.
    watch: Option<Watch>,
}

/// A tile and the waves that drive it.
#[derive(Debug)]
struct Tile {
    kernel: TileKernel,
    id: WeightTileId,
    pe: PeId,
    /// In levels of a weight times code steps.
    levels_per_code: f64,
    /// Column of each pair, `[group][column]` of the layer; a run of
    /// neighbours.
    columns: Vec<(usize, Range<usize>)>,
    waves: Vec<(StepId, Positions)>,
}

/// Working memory of a thread. Vectors only grow: what they hold is written
/// anew before it is read.
#[derive(Debug, Default)]
struct Scratch {
    octets: Vec<Vec<u8>>,
    patterns: Vec<Pattern>,
    sums: Vec<f64>,
    /// Starts of positions that are no neighbours.
    starts: Vec<u32>,
    block: Block,
    /// Results with those past the border, where there are such.
    made: Vec<f32>,
}

thread_local! {
    /// Taken by who works with it; who finds it taken, because a thread took
    /// up other work while it waited, starts with an empty one.
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl<'a> Crossbar<'a> {
    /// Tabulates the tiles of a layer, which a step sums up in this order.
    ///
    /// # Errors
    ///
    /// The chip lacks cells of a tile, or the layer is too large to address.
    pub(super) fn new(
        plan: &'a ExecutionPlan,
        chip: &Chip,
        layout: Layout,
        id: LayerId,
        tiles: &[WeightTileId],
    ) -> Result<Self, RunError> {
        let layer = &plan.layers[&id];
        let mut planes: &[Plane] = &[];
        let mut waves: Vec<(StepId, &[WeightTileId], Positions)> = Vec::new();
        for (step, kind) in plan.steps.iter().map(|(id, step)| (id, &step.kind)) {
            if let StepKind::Waves { layer, tiles, positions, planes: driven, .. } = kind
                && *layer == id
            {
                planes = driven;
                waves.push((step, tiles, *positions));
            }
        }
        let mut bundler = layout.bundler(&layer.nest);
        let noisy = chip.is_noisy();
        let n_positions = layout.position_patterns.len();
        let mut bundled = Vec::with_capacity(tiles.len());
        for &tile in tiles {
            let place = &plan.tiles[tile].place;
            let n_values = plan.n_conversions(tile) as usize;
            let lines = lines(layer, place);
            let most = lines_per_bundle(lines.len(), n_values, noisy, n_positions);
            let bundles = bundler.bundle(&lines, most).ok_or_else(|| RunError::LayerInput {
                layer: id,
                name: layer.name.clone(),
                reason: "more than 2^32 patterns of codes".to_string(),
            })?;
            bundled.push((tile, bundles));
        }
        let scheme = Scheme { subtract: plan.subtract, conversion: plan.conversion };
        let tiles = bundled
            .into_par_iter()
            .map(|(tile, bundles)| {
                let (place, adc) = (&plan.tiles[tile].place, &plan.tiles[tile].adc);
                let kernel = (chip.pe == plan.pe)
                    .then(|| TileKernel::with_bundles(chip, place, adc, scheme, bundles));
                let kernel = kernel.flatten().ok_or(RunError::WrongChip { tile })?;
                let of_tile = waves.iter().filter(|(_, tiles, _)| tiles.contains(&tile));
                Ok(Tile {
                    kernel,
                    id: tile,
                    pe: place.pe,
                    levels_per_code: adc.step_us / plan.level_us
                        * layer.slice_factor(place.slice) as f64,
                    columns: columns(layer, place),
                    waves: of_tile.map(|(step, _, positions)| (*step, *positions)).collect(),
                })
            })
            .collect::<Result<_, RunError>>()?;
        let map = bundler.finish();
        let stage = layer.stage.as_ref().map(|stage| Stage::new(stage, &layout));
        let zero_point = i64::from(layer.coding.zero_point);
        let correction = |sum: &i64| (zero_point * sum) as f64;
        Ok(Self {
            id,
            layer,
            n_codes: layout.n_codes().max(map.n_codes()),
            layout,
            map,
            planes,
            tiles,
            corrections: layer.level_sums.iter().map(correction).collect(),
            scales: layer.column_scales.clone(),
            bias: layer.bias.clone(),
            seed: chip.seed,
            stage,
            activity: None,
            watch: None,
        })
    }

    /// Tabulates the tiles anew, whose cells have changed; all else stays.
    ///
    /// # Errors
    ///
    /// The chip lacks cells of a tile.
    pub(super) fn retabulate(&mut self, plan: &ExecutionPlan, chip: &Chip) -> Result<(), RunError> {
        let scheme = Scheme { subtract: plan.subtract, conversion: plan.conversion };
        self.tiles.par_iter_mut().try_for_each(|tile| {
            let PlanTile { place, adc } = &plan.tiles[tile.id];
            let kernel = tile.kernel.retabulated(chip, place, adc, scheme);
            tile.kernel = kernel.ok_or(RunError::WrongChip { tile: tile.id })?;
            Ok(())
        })
    }

    /// Puts other values into the registers that columns are multiplied with.
    pub(super) fn set_scales(&mut self, scales: &[f64]) {
        self.scales.iter_mut().zip(scales).for_each(|(own, scale)| *own = *scale);
    }

    /// Puts other values into the registers that are added to columns.
    pub(super) fn set_bias(&mut self, bias: impl Iterator<Item = f32>) {
        self.bias.iter_mut().zip(bias).for_each(|(own, bias)| *own = bias);
    }

    /// The layer.
    pub(super) fn id(&self) -> LayerId {
        self.id
    }

    /// Counts the bits of every input from now on.
    pub(super) fn count_activity(&mut self, plan: &ExecutionPlan) {
        self.activity = Some(Activity::new(plan, self.id, self.layer, &self.layout));
    }

    /// Watches the waves of every input from now on, on this chip.
    pub(super) fn watch(&mut self, plan: &ExecutionPlan, chip: &Chip, target: &Target) {
        self.watch = Watch::new(plan, (chip, target), self.id, self.layer, &self.layout);
    }

    /// What was seen of every input since it was asked last.
    pub(super) fn seen(&self) -> BTreeMap<u64, InputEvents> {
        self.watch.as_ref().map_or(BTreeMap::new(), Watch::take)
    }

    /// The layer, and what was counted of it.
    pub(super) fn activity(&self) -> Option<(LayerId, &Activity)> {
        self.activity.as_ref().map(|activity| (self.id, activity))
    }

    /// The tensor read.
    pub(super) fn input(&self) -> TensorId {
        self.layer.input
    }

    /// The tensor written.
    pub(super) fn output(&self) -> TensorId {
        self.layer.output
    }

    /// Runs a batch whose first input has this number.
    ///
    /// # Errors
    ///
    /// The values are not those of the layer's input, or not finite.
    pub(super) fn run(
        &self,
        value: &Value,
        n_batch: usize,
        first_input: u64,
    ) -> Result<Value, RunError> {
        let name = || self.layer.name.clone();
        let wrong = |reason: String| RunError::LayerInput { layer: self.id, name: name(), reason };
        let values = value.as_f32().ok_or_else(|| wrong("it is not f32".to_string()))?;
        let n_values = self.layout.n_values();
        let n_inputs = values.len() / n_values.max(1);
        if values.len() != n_values * n_inputs || (n_inputs != n_batch && n_inputs != 1) {
            return Err(wrong(format!(
                "a tensor of shape {:?}, {n_values} values for each of {n_batch} inputs expected",
                value.shape(),
            )));
        }
        let values = self.layout.inputs_apart(values, n_inputs);
        if let Some((index, value)) = first_not_finite(&values) {
            let input = first_input + (index / n_values.max(1)) as u64;
            return Err(RunError::NotFinite { name: name(), input, value });
        }
        let fill = |results: &mut [f32]| self.run_inputs(&values, first_input, results);
        let shape = self.layout.output_shape(n_inputs);
        if self.layout.is_batch_outermost(n_inputs) {
            return Ok(Value::f32_filled(&shape, fill)?);
        }
        let mut results = vec![0f32; n_inputs * self.layout.n_results];
        fill(&mut results);
        Ok(Value::from_f32(&shape, &self.layout.batch_together(&results, n_inputs))?)
    }

    /// Inputs one after the other, and so their results.
    fn run_inputs(&self, values: &[f32], first_input: u64, results: &mut [f32]) {
        let n_values = self.layout.n_values().max(1);
        let n_threads = rayon::current_num_threads().div_ceil((values.len() / n_values).max(1));
        results
            .par_chunks_exact_mut(self.layout.n_results.max(1))
            .zip(values.par_chunks_exact(n_values))
            .enumerate()
            .for_each(|(input, (results, values))| {
                let number = first_input + input as u64;
                let mut scratch = SCRATCH.take();
                match &self.layout.overhang {
                    None => self.run_input(values, number, n_threads, &mut scratch, results),
                    Some(overhang) => {
                        let mut made = std::mem::take(&mut scratch.made);
                        grow(&mut made, overhang.n_made);
                        self.run_input(values, number, n_threads, &mut scratch, &mut made);
                        overhang.crop(&made, results);
                        scratch.made = made;
                    }
                }
                SCRATCH.set(scratch);
            });
    }

    fn run_input(
        &self,
        values: &[f32],
        number: u64,
        n_threads: usize,
        scratch: &mut Scratch,
        results: &mut [f32],
    ) {
        let Scratch { octets, patterns, .. } = scratch;
        let n_octets = usize::from(self.layer.coding.bits).div_ceil(8);
        if octets.len() < n_octets {
            octets.resize(n_octets, Vec::new());
        }
        let octets = &mut octets[..n_octets];
        octets.iter_mut().for_each(|codes| grow(codes, self.n_codes));
        encode(&self.layout, &self.layer.coding, values, octets);
        if let Some(activity) = &self.activity {
            activity.count(octets);
        }
        if let Some(watch) = &self.watch {
            watch.see(number, octets);
        }
        let n_patterns = self.map.n_patterns();
        grow(patterns, n_octets * n_patterns);
        for (codes, patterns) in octets.iter().zip(patterns.chunks_exact_mut(n_patterns.max(1))) {
            if n_threads > 1 {
                self.map.fill_by_all(codes, patterns);
            } else {
                self.map.fill(codes, patterns);
            }
        }
        if let Some(stage) = &self.stage {
            return self.run_stage(stage, number, &scratch.patterns, results);
        }
        let n_positions = self.layout.position_results.len();
        let size = self.block_size(n_threads);
        let blocks = |nth: usize| nth * size..n_positions.min((nth + 1) * size);
        let n_blocks = n_positions.div_ceil(size);
        if n_threads > 1 {
            let patterns = &scratch.patterns[..];
            let done: Vec<Block> = (0..n_blocks)
                .into_par_iter()
                .map(|nth| {
                    let (mut sums, mut starts, mut block) = Default::default();
                    let memory = (&mut sums, &mut starts);
                    self.run_block(blocks(nth), number, patterns, memory, &mut block);
                    block
                })
                .collect();
            for (nth, block) in done.iter().enumerate() {
                block.scatter(&self.layout, blocks(nth), results);
            }
        } else {
            let Scratch { patterns, sums, starts, block, .. } = scratch;
            for positions in (0..n_blocks).map(blocks) {
                self.run_block(positions.clone(), number, patterns, (sums, starts), block);
                block.scatter(&self.layout, positions, results);
            }
        }
    }

    /// Works off all positions of a layer whose sums are compared: each of its
    /// tiles has the whole sums of its columns.
    fn run_stage(&self, stage: &Stage, number: u64, patterns: &[Pattern], results: &mut [f32]) {
        let n_positions = self.layout.position_results.len();
        let (mut held, mut reals) = (Vec::new(), vec![0.0; n_positions]);
        let mut n_converted = 0;
        for tile in &self.tiles {
            let Some((step, _)) = tile.waves.first() else { continue };
            let noise = ReadNoise::new(self.seed, number, tile.pe.0, step.0);
            let driven = Driven {
                patterns,
                octet_stride: self.map.n_patterns(),
                starts: &self.layout.position_patterns,
                first_position: 0,
                every: 1,
            };
            held.clear();
            held.resize(n_positions * tile.kernel.n_values(), 0.0);
            tile.kernel.hold(driven, self.planes, Some(&noise), &mut held);
            let seen = tile.kernel.compared(&held, &noise);
            for (first, values) in &tile.columns {
                for (column, value) in (*first..).zip(values.clone()) {
                    let own = Column {
                        levels_per_code: tile.levels_per_code,
                        correction: self.corrections[column],
                        scale: self.scales[column],
                        bias: self.bias[column].into(),
                    };
                    let (kernel, held, seen) = (&tile.kernel, &held[..], &seen[..]);
                    let sums = Sums { kernel, held, seen, noise: &noise };
                    n_converted += stage.results(sums, value, own, &mut reals);
                    let place = self.layout.column_results[column];
                    for (&start, &real) in self.layout.position_results.iter().zip(&reals) {
                        results[(start + place) as usize] = real;
                    }
                }
            }
        }
        if let Some(activity) = &self.activity {
            activity.count_converted(n_converted);
        }
    }

    /// Positions of a block: so many that a tile's table is read for many of
    /// them, so few that their sums stay in the cache.
    fn block_size(&self, n_threads: usize) -> usize {
        const MAX_SUMS: usize = 1 << 12;
        let n_positions = self.layout.position_results.len();
        let size = (MAX_SUMS / self.corrections.len().max(1)).clamp(16, 128);
        // As many for each replica as there would be for one.
        let size = size * self.layer.n_replicas.max(1) as usize;
        // Two blocks a thread, so that none waits long for the others.
        if n_threads > 1 { size.min(n_positions.div_ceil(2 * n_threads)).max(1) } else { size }
    }

    /// Works off the waves of a block of positions, tile by tile.
    fn run_block(
        &self,
        positions: Range<usize>,
        number: u64,
        patterns: &[Pattern],
        (sums, starts): (&mut Vec<f64>, &mut Vec<u32>),
        block: &mut Block,
    ) {
        let n_columns = self.corrections.len();
        block.clear(positions.len(), n_columns);
        for tile in &self.tiles {
            for (step, share) in &tile.waves {
                let mut own = share.within(&positions);
                let n_own = own.len();
                let every = share.every.max(1) as usize;
                let Some(start) = own.next() else { continue };
                let starts = match every {
                    1 => &self.layout.position_patterns[start..start + n_own],
                    _ => {
                        starts.clear();
                        let all = &self.layout.position_patterns[start..positions.end];
                        starts.extend(all.iter().step_by(every));
                        &starts[..n_own]
                    }
                };
                let n_pairs = tile.kernel.n_pairs();
                grow(sums, n_own * n_pairs);
                let sums = &mut sums[..n_own * n_pairs];
                let noise = ReadNoise::new(self.seed, number, tile.pe.0, step.0);
                let driven = Driven {
                    patterns,
                    octet_stride: self.map.n_patterns(),
                    starts,
                    first_position: start as u32,
                    every: share.every,
                };
                tile.kernel.drive(driven, self.planes, Some(&noise), sums);
                let sums = TileSums {
                    sums,
                    n_pairs,
                    levels_per_code: tile.levels_per_code,
                    columns: &tile.columns,
                };
                block.add(sums, (start - positions.start, every), n_columns);
            }
        }
        block.scale(Columns {
            corrections: &self.corrections,
            scales: &self.scales,
            bias: &self.bias,
        });
    }
}

/// Makes a vector at least this long.
fn grow<T: Clone + Default>(values: &mut Vec<T>, length: usize) {
    if values.len() < length {
        values.resize(length, T::default());
    }
}

/// Loop counters of each input line of a tile: those of groups, then of rows.
fn lines(layer: &PlanLayer, place: &WeightTile) -> Vec<Vec<usize>> {
    let line = |group: u32, row: u32| {
        let mut counters = unflatten(group as usize, &layer.nest.groups);
        counters.extend(unflatten(row as usize, &layer.nest.rows));
        counters
    };
    let rows = |group| place.rows.clone().map(move |row| line(group, row));
    place.groups.clone().flat_map(rows).collect()
}

/// The layer's column of each run of a tile's pairs: first column, pairs.
fn columns(layer: &PlanLayer, place: &WeightTile) -> Vec<(usize, Range<usize>)> {
    let n_columns = layer.nest.n_columns();
    let n_own = place.columns.len();
    let first = |group: u32| group as usize * n_columns + place.columns.start as usize;
    let runs = place.groups.clone().map(first).zip(0..);
    runs.map(|(first, nth)| (first, nth * n_own..(nth + 1) * n_own)).collect()
}
