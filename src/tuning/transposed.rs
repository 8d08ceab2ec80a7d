//! Errors carried back by the arrays themselves: transposed reads.
//!
//! For each output position that has an error, the gradients of its results,
//! each times what a level of its column is worth, are brought to the range of
//! codes by their largest, rounded, and driven into the output lines of the
//! layer's tiles plane by plane, as any vector: each plane is converted, or the
//! charge of all of them, as on the way forward. What the input lines give,
//! converted and summed over tiles, is the gradient of the inputs:
//!
//! ```text
//! error[column] x scale[column] / unit --codes--> lines --currents, ADC--> sums x unit --> gradient[row]
//! unit = largest of them / largest code
//! ```
//!
//! The unit is a digital number of each position, which costs a comparison and
//! a multiply; without it small errors would round to nothing.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::cells::weight_scales;
use super::reads::{Reads, Wave};
use crate::chip::{
    Chip, ReadNoise, Scheme, Scratch, TileKernel, transposed_setting, transposed_tile,
};
use crate::entity::{LayerId, PeId};
use crate::mapping::WeightTile;
use crate::quantize::InputCoding;
use crate::schedule::{AdcSetting, ExecutionPlan, Plane};
use crate::target::{Conversion, Target};

/// Vectors that ranges are found from, at most.
const SEEN_MAX: usize = 256;

/// Layers whose arrays carry errors back.
#[derive(Debug)]
pub(super) struct Transposed<'a> {
    plan: &'a ExecutionPlan,
    target: &'a Target,
    bits: u8,
    planes: Vec<Plane>,
    layers: BTreeMap<LayerId, Layer>,
    /// PEs that have cells of them.
    pes: BTreeSet<PeId>,
    seed: u64,
    /// Whether ranges were chosen.
    is_ready: bool,
}

/// A layer, ready to be read the other way round.
#[derive(Debug)]
struct Layer {
    n_rows: usize,
    n_columns: usize,
    /// Real value of a level, `[group][column]`.
    scales: Vec<f64>,
    tiles: Vec<Tile>,
    /// Steps of the plan end before this number, which keys the noise.
    step: u32,
}

#[derive(Debug)]
struct Tile {
    place: WeightTile,
    /// Where it lies in the transposed chip.
    turned: WeightTile,
    adc: AdcSetting,
    kernel: Option<TileKernel>,
    /// Levels of a weight that a code of the ADC is worth.
    levels_per_code: f64,
    /// What a vector takes.
    wave: Wave,
    /// Conductance of the cells on each line that is driven, in uS.
    lines_us: Vec<f64>,
}

/// Working memory of a thread.
#[derive(Debug, Default)]
pub(super) struct Reading {
    codes: Vec<u16>,
    driven: Vec<u16>,
    scratch: Scratch,
    /// How tiles were driven with it.
    pub took: Driven,
}

/// How a layer's arrays were driven for some samples.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Driven {
    /// Vectors into each tile.
    waves: Vec<u64>,
    /// What cells drew, in pJ.
    pub array_pj: f64,
}

impl Driven {
    /// Adds that of other samples.
    pub fn add(&mut self, other: &Self) {
        self.waves.resize(self.waves.len().max(other.waves.len()), 0);
        self.waves.iter_mut().zip(&other.waves).for_each(|(own, other)| *own += other);
        self.array_pj += other.array_pj;
    }
}

impl<'a> Transposed<'a> {
    /// Prepares layers of a plan; ranges of conversions are found by
    /// [`calibrate`](Self::calibrate).
    pub fn new(
        plan: &'a ExecutionPlan,
        target: &'a Target,
        layers: &BTreeSet<LayerId>,
        seed: u64,
    ) -> Self {
        // A sign needs one of them.
        let bits = target.readout.input_bits.max(2);
        let planes = (0..bits).map(|bit| Plane { bit, negative: bit + 1 == bits }).collect();
        let mut of_layers = BTreeMap::new();
        let mut pes = BTreeSet::new();
        for (nth, &id) in layers.iter().enumerate() {
            let Some(layer) = plan.layers.get(&id) else { continue };
            let own = plan.tiles.values().filter(|tile| tile.place.layer == id);
            let tile = |place: &WeightTile| Tile {
                place: place.clone(),
                turned: transposed_tile(place),
                adc: AdcSetting::new(1.0, 0, 0),
                kernel: None,
                levels_per_code: layer.slice_factor(place.slice) as f64,
                wave: Wave::default(),
                lines_us: Vec::new(),
            };
            let tiles: Vec<Tile> = own.map(|own| tile(&own.place)).collect();
            pes.extend(tiles.iter().map(|tile| tile.place.pe));
            let layer = Layer {
                n_rows: layer.nest.n_rows(),
                n_columns: layer.nest.n_columns(),
                scales: weight_scales(layer),
                tiles,
                step: (plan.steps.len() + nth) as u32,
            };
            of_layers.insert(id, layer);
        }
        Self { plan, target, bits, planes, layers: of_layers, pes, seed, is_ready: false }
    }

    /// Chooses ranges for vectors of errors like these, `[vector][group][column]`
    /// of each layer, and tabulates the arrays.
    pub fn calibrate(&mut self, chip: &Chip, seen: &BTreeMap<LayerId, Vec<f32>>, room: f64) {
        let turned = chip.transposed(self.plan, self.target, &self.pes);
        let bits = self.bits;
        let coding = InputCoding { bits, signed: true, scale: 1.0, zero_point: 0 };
        for (id, layer) in &mut self.layers {
            let length = layer.scales.len();
            let mut codes = Vec::new();
            let vectors = seen.get(id).map(Vec::as_slice).unwrap_or_default();
            for errors in vectors.chunks_exact(length.max(1)).take(SEEN_MAX) {
                encode(errors, &layer.scales, bits, &mut codes);
            }
            let n_columns = layer.n_columns;
            layer.tiles.par_iter_mut().for_each(|tile| {
                let lines = lines(&tile.place, n_columns);
                let own = codes.chunks_exact(length.max(1));
                let own: Vec<u16> =
                    own.flat_map(|codes| lines.clone().map(|line| codes[line])).collect();
                let seen = (&own[..], &coding);
                tile.adc = transposed_setting((&turned, &tile.turned), self.target, seen, room);
            });
            for tile in &mut layer.tiles {
                let factor =
                    self.plan.layers.get(id).map_or(1, |l| l.slice_factor(tile.place.slice));
                tile.levels_per_code = tile.adc.step_us / self.plan.level_us * factor as f64;
            }
        }
        self.is_ready = true;
        self.tabulate(chip);
    }

    /// Tabulates the arrays as they are now.
    pub fn tabulate(&mut self, chip: &Chip) {
        if !self.is_ready {
            return;
        }
        let turned = chip.transposed(self.plan, self.target, &self.pes);
        let (target, n_planes) = (self.target, self.planes.len());
        // Errors are not as their planes are: none is left out.
        let conversion = match self.plan.conversion {
            Conversion::Accumulated => Conversion::Accumulated,
            Conversion::EveryPlane | Conversion::Significant(_) => Conversion::EveryPlane,
        };
        let scheme = Scheme { subtract: self.plan.subtract, conversion };
        let tiles: Vec<&mut Tile> =
            self.layers.values_mut().flat_map(|layer| &mut layer.tiles).collect();
        tiles.into_par_iter().for_each(|tile| {
            tile.kernel = TileKernel::new(&turned, &tile.turned, &tile.adc, scheme);
            let n_values = tile.kernel.as_ref().map_or(0, TileKernel::n_values);
            tile.wave = Wave::transposed(target, n_values, n_planes, tile.adc.bits());
            let lines = (tile.turned.input_line..).take(tile.turned.n_inputs() as usize);
            tile.lines_us = lines.map(|line| turned.line_us(&tile.turned, line)).collect();
        });
    }

    /// From the gradients of a position's results, `[group][column]`, to those
    /// of its inputs, `[group][row]`; `number` counts inputs, and keys the noise
    /// with the position.
    pub fn read(
        &self,
        id: LayerId,
        (number, position, replica): (u64, usize, u32),
        errors: &[f32],
        reading: &mut Reading,
        gradient: &mut [f32],
    ) {
        gradient.fill(0.0);
        let Some(layer) = self.layers.get(&id) else { return };
        let Reading { codes, driven, scratch, took } = reading;
        took.waves.resize(layer.tiles.len(), 0);
        codes.clear();
        let unit = encode(errors, &layer.scales, self.bits, codes);
        let of_bits = u16::MAX >> (u16::BITS - u32::from(self.bits));
        let tiles = layer.tiles.iter().zip(&mut took.waves);
        for (tile, waves) in tiles.filter(|(tile, _)| tile.place.replica == replica) {
            let Some(kernel) = &tile.kernel else { continue };
            driven.clear();
            driven.extend(lines(&tile.place, layer.n_columns).map(|line| codes[line]));
            if driven.iter().all(|&code| code == 0) {
                continue;
            }
            let noise = ReadNoise::new(self.seed, number, tile.place.pe.0, layer.step);
            let noise = Some((&noise, position as u32));
            let sums = kernel.sums(driven, &self.planes, noise, scratch);
            *waves += 1;
            let lines = driven.iter().zip(&tile.lines_us);
            let ones_us = lines.map(|(code, us)| f64::from((code & of_bits).count_ones()) * us);
            took.array_pj += ones_us.sum::<f64>() * tile.wave.pj_per_us;
            let n_rows = layer.n_rows;
            let rows = tile.place.groups.clone().flat_map(|group| {
                tile.place.rows.clone().map(move |row| group as usize * n_rows + row as usize)
            });
            for (row, &sum) in rows.zip(sums) {
                gradient[row] += (sum * tile.levels_per_code * unit) as f32;
            }
        }
    }

    /// What that came to: work of all tiles, time of the PE that has most.
    pub fn reads(&self, driven: &BTreeMap<LayerId, Driven>) -> Reads {
        let mut reads = Reads::default();
        let mut cycles: BTreeMap<PeId, u64> = BTreeMap::new();
        for (id, own) in driven {
            let tiles = self.layers.get(id).map_or(&[][..], |layer| &layer.tiles);
            for (tile, &n) in tiles.iter().zip(&own.waves) {
                reads.add_waves(n, &tile.wave);
                *cycles.entry(self.plan.on_chip(tile.place.pe)).or_default() +=
                    n * tile.wave.cycles;
            }
            reads.add_drawn(own);
        }
        let longest = cycles.values().max().copied().unwrap_or(0);
        reads.busy_ns = longest as f64 * self.target.readout.cycle_ns;
        reads
    }
}

/// Places of a tile's columns among a layer's, `[group][column]`.
fn lines(place: &WeightTile, n_columns: usize) -> impl Iterator<Item = usize> + Clone + '_ {
    place.groups.clone().flat_map(move |group| {
        place.columns.clone().map(move |column| group as usize * n_columns + column as usize)
    })
}

/// Appends the codes of errors, each times what a level of its column is worth;
/// gives the value of a code.
fn encode(errors: &[f32], scales: &[f64], bits: u8, codes: &mut Vec<u16>) -> f64 {
    let values = || errors.iter().zip(scales).map(|(&error, scale)| f64::from(error) * scale);
    let largest = values().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    let top = f64::from((1i32 << (bits - 1)) - 1);
    let unit = largest / top;
    // Two's complement: the low bits of the code, whatever its sign.
    let code = |value: f64| (value / unit).round_ties_even().clamp(-top, top) as i32 as u16;
    codes.extend(values().map(|value| if unit > 0.0 { code(value) } else { 0 }));
    unit
}
