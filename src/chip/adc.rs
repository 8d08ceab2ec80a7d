//! Over which range each tile's ADCs convert.
//!
//! Converted line by line, codes are unsigned, `0..=2^b-1`; converted after
//! subtraction they are signed, `+-(2^(b-1)-1)`; zero current is code 0.

use std::borrow::Cow;
use std::collections::BTreeMap;

use rayon::prelude::*;
use thiserror::Error;

use super::kernel::{Scratch, TileKernel};
use super::{Chip, programming};
use crate::diagnostic::{Diagnostic, Explain};
use crate::entity::{Entity, LayerId, PeId, WeightTileId};
use crate::graph::LayerGraph;
use crate::mapping::{Mapping, WeightTile};
use crate::quantize::{Calibration, Histogram, QuantizeError, QuantizedLayers};
use crate::schedule::{AdcSetting, ExecutionPlan, PlanParts, schedule};
use crate::target::{AdcBits, AdcRange, Subtract, Target};

/// Why no ADC range could be found.
#[derive(Debug, Clone, Error)]
pub enum AdcError {
    /// The calibration does not fit the model.
    #[error(transparent)]
    Calibration(#[from] QuantizeError),
}

impl Explain for AdcError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Calibration(error) => error.diagnostics(),
        }
    }
}

/// The ADC setting of every tile, in the order of tiles.
///
/// # Errors
///
/// A calibrated range is wanted and the calibration lacks a layer.
pub fn settings(
    graph: &LayerGraph,
    quantized: &QuantizedLayers,
    mapping: &Mapping,
    calibration: &Calibration,
    target: &Target,
) -> Result<Vec<AdcSetting>, AdcError> {
    let fixed: Vec<AdcSetting> =
        mapping.tiles.values().map(|tile| fixed_setting(tile, target)).collect();
    if target.readout.adc_range != AdcRange::Calibrated {
        return Ok(fixed);
    }
    let vectors = sample_codes(graph, quantized, mapping, calibration)?;
    // The plan with full-scale settings tells which cells a tile has.
    let plan = schedule(PlanParts { graph, quantized, mapping, adc: &fixed }, target);
    let n_currents: u64 = mapping.tiles.keys().map(|id| n_currents(&plan, id)).sum();
    let n_vectors = (MAX_CURRENTS / n_currents.max(1)).max(LEAST_VECTORS) as usize;
    let mut by_pe: BTreeMap<PeId, Vec<WeightTileId>> = BTreeMap::new();
    for (id, place) in mapping.tiles.iter() {
        by_pe.entry(place.pe).or_default().push(id);
    }
    let setting = |chip: &Chip, id: WeightTileId| {
        let fallback = plan.tiles[id].adc;
        match TileKernel::finest(chip, &mapping.tiles[id], &fallback, plan.subtract) {
            Some(kernel) => calibrated(&plan, id, &kernel, (&vectors, n_vectors), fallback),
            None => fallback,
        }
    };
    // One PE at a time a thread, since all cells of a large model take more
    // memory than the model.
    let found: Vec<(WeightTileId, AdcSetting)> = by_pe
        .par_iter()
        .flat_map(|(&pe, ids)| {
            // Cells at their targets exactly, since no chip is there yet.
            let chip = programming::exact(&plan, target, pe).effective(&plan).into_owned();
            ids.par_iter().map(|&id| (id, setting(&chip, id))).collect::<Vec<_>>()
        })
        .collect();
    let mut settings = fixed;
    for (id, setting) in found {
        settings[id.index()] = setting;
    }
    Ok(settings)
}

/// Currents that are looked at for all tiles together, where that leaves each
/// [`LEAST_VECTORS`]: a large model has enough of them with fewer vectors.
const MAX_CURRENTS: u64 = 1 << 27;

/// Sample vectors that every tile is driven with: some thousand currents a
/// plane, where a tile has many lines.
const LEAST_VECTORS: u64 = 32;

/// Currents of a tile that one vector makes.
fn n_currents(plan: &ExecutionPlan, id: WeightTileId) -> u64 {
    let bits = plan.layers.get(&plan.tiles[id].place.layer).map_or(0, |layer| layer.coding.bits);
    u64::from(bits) * u64::from(plan.n_conversions(id))
}

/// Codes of each layer's sample vectors, `[sample][group][row]`.
fn sample_codes(
    graph: &LayerGraph,
    quantized: &QuantizedLayers,
    mapping: &Mapping,
    calibration: &Calibration,
) -> Result<BTreeMap<LayerId, Vec<u16>>, QuantizeError> {
    let mut vectors = BTreeMap::new();
    for (id, layer, crossbar) in graph.crossbar_layers() {
        if graph.matrix_of(id) != id {
            continue; // Its cells are those of another layer.
        }
        let Some(coding) = quantized.get(&id).map(|layer| layer.coding) else { continue };
        let statistics = calibration.layer(layer, crossbar)?;
        // Two's complement: the low bits of the code, whatever its sign.
        let samples: Cow<'_, [f32]> = match mapping.unrolled.get(&id) {
            Some(unrolling) => unrolling.samples(&statistics.samples).into(),
            None => (&statistics.samples).into(),
        };
        let codes = samples.iter().map(|&x| coding.encode(x) as u16).collect();
        vectors.insert(id, codes);
    }
    Ok(vectors)
}

/// Largest codes: smallest, largest.
fn code_limits(bits: u8, subtract: Subtract) -> (i32, i32) {
    match subtract {
        Subtract::BeforeConversion => {
            let top = (1i32 << (bits.clamp(2, 25) - 1)) - 1;
            (-top, top)
        }
        Subtract::AfterConversion => (0, (1i32 << bits.clamp(1, 25)) - 1),
    }
}

/// The setting that needs no data: worst case, or one level a code.
pub(super) fn fixed_setting(tile: &WeightTile, target: &Target) -> AdcSetting {
    let (cell, subtract) = (&target.cell, target.readout.subtract);
    let worst_us = f64::from(tile.n_inputs())
        * match subtract {
            Subtract::BeforeConversion => cell.conductance_max_us - cell.conductance_min_us,
            Subtract::AfterConversion => cell.conductance_max_us,
        };
    let bits = match target.readout.adc_bits {
        AdcBits::Bits(bits) => bits,
        AdcBits::AsNeeded => {
            let worst_code = (worst_us / cell.step_us()).ceil() as u64;
            let magnitude = (u64::BITS - worst_code.leading_zeros()) as u8;
            magnitude + u8::from(subtract == Subtract::BeforeConversion)
        }
    };
    let (min_code, max_code) = code_limits(bits, subtract);
    let step_us = match target.readout.adc_range {
        AdcRange::OneLevel => cell.step_us(),
        AdcRange::FullScale | AdcRange::Calibrated => worst_us / f64::from(max_code),
    };
    AdcSetting { step_us, min_code, max_code }
}

/// The setting for the vectors that drive a tile of the plan.
fn calibrated(
    plan: &ExecutionPlan,
    id: WeightTileId,
    kernel: &TileKernel,
    (vectors, n_vectors): (&BTreeMap<LayerId, Vec<u16>>, usize),
    full_scale: AdcSetting,
) -> AdcSetting {
    let place = &plan.tiles[id].place;
    let Some((layer, codes)) = plan.layers.get(&place.layer).zip(vectors.get(&place.layer)) else {
        return full_scale;
    };
    let n_rows = layer.nest.n_rows();
    let length = layer.nest.n_groups() * n_rows;
    let lines: Vec<usize> = place
        .groups
        .clone()
        .flat_map(|group| place.rows.clone().map(move |row| group as usize * n_rows + row as usize))
        .collect();
    let vectors = codes.chunks_exact(length).take(n_vectors);
    let driven = vectors.map(|vector| lines.iter().map(|&line| vector[line]).collect());
    of_vectors(kernel, driven, layer.coding.bits, full_scale)
}

/// The setting for a tile of a chip that vectors of codes drive,
/// `[vector][line]`.
pub(super) fn seen_setting(
    (chip, place): (&Chip, &WeightTile),
    subtract: Subtract,
    (codes, bits): (&[u16], u8),
    full_scale: AdcSetting,
) -> AdcSetting {
    match TileKernel::finest(chip, place, &full_scale, subtract) {
        Some(kernel) => {
            let vectors = codes.chunks_exact(kernel.n_inputs().max(1)).map(<[u16]>::to_vec);
            of_vectors(&kernel, vectors, bits, full_scale)
        }
        None => full_scale,
    }
}

/// The range of least squared error of what is summed up: an error in plane k
/// weighs 2^k, so its square 4^k.
fn of_vectors(
    kernel: &TileKernel,
    vectors: impl Iterator<Item = Vec<u16>>,
    bits: u8,
    full_scale: AdcSetting,
) -> AdcSetting {
    let mut histograms = vec![Histogram::default(); usize::from(bits)];
    let mut scratch = Scratch::default();
    for driven in vectors {
        kernel.currents(&driven, bits, &mut scratch, |bit, currents| {
            histograms[bit].add(currents);
        });
    }
    let largest = histograms.iter().map(|h| h.max().max(-h.min())).fold(0f32, f32::max);
    if largest == 0.0 {
        return full_scale;
    }
    let distributions: Vec<Distribution> = histograms.iter().map(Distribution::new).collect();
    let with_step = |step_us: f64| AdcSetting { step_us, ..full_scale };
    let full = f64::from(largest) / f64::from(full_scale.max_code);
    let mut best = with_step(full);
    let mut least = f64::INFINITY;
    for percent in 20..=100 {
        let candidate = with_step(full * f64::from(percent) / 100.0);
        let weight = |bit: usize| (1u64 << (2 * bit)) as f64;
        let planes = distributions.iter().enumerate();
        let error: f64 =
            planes.map(|(bit, currents)| weight(bit) * currents.squared_error(&candidate)).sum();
        if error <= least {
            (best, least) = (candidate, error);
        }
    }
    best
}

/// Currents of one plane, ascending, with what they add up to from the lowest
/// on: any range is then judged without looking at them all.
struct Distribution {
    currents: Vec<f64>,
    /// Number, sum and sum of squares of those before each, and of all.
    before: Vec<[f64; 3]>,
}

impl Distribution {
    fn new(histogram: &Histogram) -> Self {
        let mut sums = [0.0; 3];
        let (mut currents, mut before) = (Vec::new(), vec![sums]);
        for (current, count) in histogram.bins() {
            let own = [count, count * current, count * current * current];
            sums.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
            currents.push(current);
            before.push(sums);
        }
        Self { currents, before }
    }

    /// What a conversion loses, added up over all currents: a twelfth of a step
    /// squared inside the range, the distance squared beyond it.
    fn squared_error(&self, adc: &AdcSetting) -> f64 {
        let low = adc.step_us * f64::from(adc.min_code);
        let high = adc.step_us * f64::from(adc.max_code);
        let margin = adc.step_us / 2.0;
        let first = self.currents.partition_point(|&current| current < low - margin);
        let last = self.currents.partition_point(|&current| current <= high + margin).max(first);
        let all = self.before[self.currents.len()];
        let below = self.before[first];
        let above: [f64; 3] = std::array::from_fn(|i| all[i] - self.before[last][i]);
        // sum n (x - limit)^2
        let beyond = |[n, x, square]: [f64; 3], limit: f64| square - limit * (2.0 * x - limit * n);
        let inside = all[0] - below[0] - above[0];
        beyond(below, low) + beyond(above, high) + inside * adc.step_us * adc.step_us / 12.0
    }
}
