//! Over which range each tile's ADCs convert.
//!
//! Converted line by line, codes are unsigned, `0..=2^b-1`; converted after
//! subtraction they are signed, `+-(2^(b-1)-1)`, and so are the charges of a
//! line where planes of signed input codes are added up: the top plane's is
//! taken off. Zero current is code 0.

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
use crate::quantize::{
    ByLayer, Calibration, Histogram, InputCoding, QuantizeError, QuantizedLayers,
};
use crate::schedule::{AdcSetting, ExecutionPlan, MAX_PLANES, PlanLayer, PlanParts, schedule};
use crate::target::{AdcBits, AdcRange, Conversion, Subtract, Target};

/// Why no ADC range could be found.
#[derive(Debug, Clone, Error)]
pub enum AdcError {
    /// The calibration does not fit the model.
    #[error(transparent)]
    Calibration(#[from] QuantizeError),
    /// A layer that the model does not have is given a resolution.
    #[error("`--adc-bits` names the layer `{name}`, which the model does not have on arrays")]
    UnknownLayer {
        /// The name.
        name: String,
    },
    /// No ADC has so many bits, or codes need more of them.
    #[error("an ADC cannot have {bits} bits")]
    Bits {
        /// Bits wanted.
        bits: u8,
        /// The least that codes need.
        least: u8,
    },
    /// As many bits as needed, and more needed than can be converted.
    #[error("sums of layer `{layer}` need {bits} bits, {BITS_MAX} are the most")]
    TooManyBits {
        /// The layer.
        layer: String,
        /// Bits without a sign.
        bits: u8,
    },
    /// Codes are one level each, as many as needed.
    #[error("a resolution does not go with `readout.adc_bits: as-needed`")]
    AsNeeded,
}

impl Explain for AdcError {
    fn diagnostics(&self) -> Vec<Diagnostic> {
        match self {
            Self::Calibration(error) => error.diagnostics(),
            Self::UnknownLayer { .. } => vec![
                Diagnostic::error(self.to_string())
                    .help("`ohmc compile MODEL --target T --emit graph` lists the layers"),
            ],
            Self::Bits { least, .. } => vec![
                Diagnostic::error(self.to_string())
                    .help(format!("choose from {least} to {BITS_MAX} bits")),
            ],
            Self::TooManyBits { .. } => vec![
                Diagnostic::error(self.to_string())
                    .note("a sum of all planes is as wide as its codes and weights together")
                    .help("take fewer `--input-bits`, or give `readout.adc_bits` a number"),
            ],
            Self::AsNeeded => vec![
                Diagnostic::error(self.to_string())
                    .help("leave out `--adc-bits`, or give `readout.adc_bits` a number"),
            ],
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
    (target, adc_bits): (&Target, &ByLayer),
) -> Result<Vec<AdcSetting>, AdcError> {
    check_bits(graph, adc_bits, target)?;
    let fixed = |tile: &WeightTile| {
        let bits = match adc_bits.of(&graph.layer(tile.layer).name) {
            Some(bits) => AdcBits::Bits(bits),
            None => target.readout.adc_bits,
        };
        let name = || graph.layer(tile.layer).name.clone();
        let missing = || QuantizeError::Calibration { layer: name(), reason: "no codes".into() };
        let layer = quantized.get(&tile.layer).ok_or_else(missing)?;
        let is_summed = target.readout.conversion == Conversion::Accumulated;
        let setting = fixed_setting(tile, target, bits, is_summed.then_some(&layer.coding));
        match setting.bits() - u8::from(setting.min_code < 0) {
            bits if bits > BITS_MAX => Err(AdcError::TooManyBits { layer: name(), bits }),
            _ => Ok(setting),
        }
    };
    let fixed: Vec<AdcSetting> = mapping.tiles.values().map(fixed).collect::<Result<_, _>>()?;
    match target.readout.adc_range {
        AdcRange::FullScale | AdcRange::OneLevel => return Ok(fixed),
        AdcRange::Calibrated | AdcRange::CalibratedByPlane => {}
    }
    // The plan with full-scale settings tells which cells a tile has.
    let plan = schedule(PlanParts { graph, quantized, mapping, adc: &fixed }, target);
    let n_currents: u64 = mapping.tiles.keys().map(|id| n_currents(&plan, id)).sum();
    let n_vectors = (MAX_CURRENTS / n_currents.max(1)).max(LEAST_VECTORS) as usize;
    let vectors = sample_codes(graph, quantized, mapping, (calibration, n_vectors))?;
    let mut by_pe: BTreeMap<PeId, Vec<WeightTileId>> = BTreeMap::new();
    for (id, place) in mapping.tiles.iter() {
        by_pe.entry(place.pe).or_default().push(id);
    }
    let setting = |chip: &Chip, id: WeightTileId| {
        let fallback = plan.tiles[id].adc;
        match TileKernel::finest(chip, &mapping.tiles[id], &fallback, plan.subtract) {
            Some(kernel) => {
                let seen = see(&plan, id, &kernel, &vectors);
                calibrated(&seen, target.readout.adc_range, fallback)
            }
            None => fallback,
        }
    };
    // One PE at a time a thread, since all cells of a large model take more
    // memory than the model; its tiles in turn, since a thread that waited for
    // others' would begin with the next PE.
    let found: Vec<(WeightTileId, AdcSetting)> = by_pe
        .par_iter()
        .flat_map(|(&pe, ids)| {
            // Cells at their targets exactly, since no chip is there yet.
            let chip = programming::exact(&plan, target, pe).effective(&plan).into_owned();
            ids.iter().map(|&id| (id, setting(&chip, id))).collect::<Vec<_>>()
        })
        .collect();
    let mut settings = fixed;
    for (id, setting) in found {
        settings[id.index()] = setting;
    }
    Ok(settings)
}

/// The widest ADC, as targets limit them.
const BITS_MAX: u8 = 22;

/// Whether resolutions of layers can be.
fn check_bits(graph: &LayerGraph, adc_bits: &ByLayer, target: &Target) -> Result<(), AdcError> {
    let known = |name: &&String| graph.crossbar_layers().any(|(_, layer, _)| layer.name == **name);
    if let Some(name) = adc_bits.named.keys().find(|name| !known(name)) {
        return Err(AdcError::UnknownLayer { name: name.clone() });
    }
    let least = match target.readout.subtract {
        Subtract::BeforeConversion => 2,
        Subtract::AfterConversion => 1,
    };
    let mut given = adc_bits.all.iter().chain(adc_bits.named.values()).peekable();
    if given.peek().is_some() && target.readout.adc_bits == AdcBits::AsNeeded {
        return Err(AdcError::AsNeeded);
    }
    match given.find(|bits| !(least..=BITS_MAX).contains(bits)) {
        Some(&bits) => Err(AdcError::Bits { bits, least }),
        None => Ok(()),
    }
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

/// Codes of each layer's first sample vectors, `[sample][group][row]`.
fn sample_codes(
    graph: &LayerGraph,
    quantized: &QuantizedLayers,
    mapping: &Mapping,
    (calibration, n_vectors): (&Calibration, usize),
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
        let n_samples = statistics.samples.len() / statistics.sample_length.max(1);
        let n_codes = samples.len() / n_samples.max(1) * n_vectors.min(n_samples);
        let codes = samples.iter().take(n_codes).map(|&x| coding.encode(x) as u16).collect();
        vectors.insert(id, codes);
    }
    Ok(vectors)
}

/// Largest codes: smallest, largest.
fn code_limits(bits: u8, signed: bool) -> (i32, i32) {
    if signed {
        let top = (1i32 << (bits.clamp(2, 25) - 1)) - 1;
        return (-top, top);
    }
    (0, (1i32 << bits.clamp(1, 25)) - 1)
}

/// The setting that needs no data: worst case, or one level a code; of single
/// planes, or of the sum of all that a coding has.
pub(super) fn fixed_setting(
    tile: &WeightTile,
    target: &Target,
    bits: AdcBits,
    sum_of: Option<&InputCoding>,
) -> AdcSetting {
    let (cell, subtract) = (&target.cell, target.readout.subtract);
    // A sum of all planes counts each by its weight.
    let weight = sum_of.map_or(1.0, |coding| f64::from((1u32 << coding.bits.min(16)) - 1));
    let signed =
        subtract == Subtract::BeforeConversion || sum_of.is_some_and(|coding| coding.signed);
    let worst_us = weight
        * f64::from(tile.n_inputs())
        * match subtract {
            Subtract::BeforeConversion => cell.conductance_max_us - cell.conductance_min_us,
            Subtract::AfterConversion => cell.conductance_max_us,
        };
    let bits = match bits {
        AdcBits::Bits(bits) => bits,
        AdcBits::AsNeeded => {
            let worst_code = (worst_us / cell.step_us()).ceil() as u64;
            let magnitude = (u64::BITS - worst_code.leading_zeros()) as u8;
            magnitude + u8::from(signed)
        }
    };
    let (min_code, max_code) = code_limits(bits, signed);
    let step_us = match target.readout.adc_range {
        AdcRange::OneLevel => cell.step_us(),
        AdcRange::FullScale | AdcRange::Calibrated | AdcRange::CalibratedByPlane => {
            worst_us / f64::from(max_code)
        }
    };
    AdcSetting::new(step_us, min_code, max_code)
}

/// What a tile's ADCs saw of sample vectors: sums, and what the square of an
/// error in them weighs.
type Seen = Vec<(Histogram, f64)>;

/// Drives a tile with samples; where planes are added up, what is seen is their
/// sum, as far as it is converted.
fn see(
    plan: &ExecutionPlan,
    id: WeightTileId,
    kernel: &TileKernel,
    vectors: &BTreeMap<LayerId, Vec<u16>>,
) -> Seen {
    let place = &plan.tiles[id].place;
    let Some((layer, codes)) = plan.layers.get(&place.layer).zip(vectors.get(&place.layer)) else {
        return Vec::new();
    };
    let n_rows = layer.nest.n_rows();
    let length = layer.nest.n_groups() * n_rows;
    let lines: Vec<usize> = place
        .groups
        .clone()
        .flat_map(|group| place.rows.clone().map(move |row| group as usize * n_rows + row as usize))
        .collect();
    let vectors = codes.chunks_exact(length);
    let driven = vectors.map(|vector| lines.iter().map(|&line| vector[line]).collect());
    match plan.conversion == Conversion::Accumulated {
        true => see_sums(kernel, driven, &layer.coding, &least_converted_us(plan, layer, place)),
        false => see_planes(kernel, driven, layer.coding.bits),
    }
}

/// An error in plane k weighs 2^k, so its square 4^k.
fn see_planes(kernel: &TileKernel, vectors: impl Iterator<Item = Vec<u16>>, bits: u8) -> Seen {
    let mut histograms = vec![Histogram::default(); usize::from(bits)];
    let mut scratch = Scratch::default();
    for driven in vectors {
        kernel.currents(&driven, bits, &mut scratch, |bit, currents| {
            histograms[bit].add(currents);
        });
    }
    let weighted = |(bit, seen)| (seen, (1u64 << (2 * bit)) as f64);
    histograms.into_iter().enumerate().map(weighted).collect()
}

/// Sums of all planes, those above what is converted at least.
fn see_sums(
    kernel: &TileKernel,
    vectors: impl Iterator<Item = Vec<u16>>,
    coding: &InputCoding,
    least_us: &[f64],
) -> Seen {
    let bits = usize::from(coding.bits);
    let mut histogram = Histogram::default();
    let mut scratch = Scratch::default();
    let mut sums = Vec::new();
    for driven in vectors {
        sums.clear();
        kernel.currents(&driven, coding.bits, &mut scratch, |bit, currents| {
            let weight = (1u32 << bit) as f32;
            let weight = if coding.signed && bit + 1 == bits { -weight } else { weight };
            sums.resize(currents.len(), 0f32);
            sums.iter_mut().zip(currents).for_each(|(sum, current)| *sum += weight * current);
        });
        let limits = least_us.iter().copied().chain(std::iter::repeat(f64::NEG_INFINITY));
        let converted = sums.iter().zip(limits).filter(|(sum, least)| f64::from(**sum) > *least);
        let converted: Vec<f32> = converted.map(|(&sum, _)| sum).collect();
        histogram.add(&converted);
    }
    vec![(histogram, 1.0)]
}

/// The setting for a tile of a chip that vectors of codes drive,
/// `[vector][line]`, for planes or, where these are added up, for their sum.
pub(super) fn seen_setting(
    (chip, place): (&Chip, &WeightTile),
    target: &Target,
    (codes, coding): (&[u16], &InputCoding),
    full_scale: AdcSetting,
) -> AdcSetting {
    match TileKernel::finest(chip, place, &full_scale, target.readout.subtract) {
        Some(kernel) => {
            let vectors = codes.chunks_exact(kernel.n_inputs().max(1)).map(<[u16]>::to_vec);
            let seen = match target.readout.conversion == Conversion::Accumulated {
                true => see_sums(&kernel, vectors, coding, &[]),
                false => see_planes(&kernel, vectors, coding.bits),
            };
            calibrated(&seen, target.readout.adc_range, full_scale)
        }
        None => full_scale,
    }
}

/// Of each pair, the sum up to which a rectifier behind it makes zero; none
/// where there is no rectifier.
fn least_converted_us(plan: &ExecutionPlan, layer: &PlanLayer, place: &WeightTile) -> Vec<f64> {
    if !layer.stage.as_ref().is_some_and(|stage| stage.rectifies) {
        return Vec::new();
    }
    let n_columns = layer.nest.n_columns();
    let of_column = |column: usize| {
        let zero = f64::from(layer.coding.zero_point) * layer.level_sums[column] as f64;
        let (scale, bias) = (layer.column_scales[column], f64::from(layer.bias[column]));
        (zero - bias / scale) * plan.level_us
    };
    let columns = |group: u32| {
        let first = group as usize * n_columns;
        place.columns.clone().map(move |column| first + column as usize)
    };
    place.groups.clone().flat_map(columns).map(of_column).collect()
}

/// The range of least squared error of what is summed up; or the widest of the
/// planes', with how often it is halved for each.
fn calibrated(seen: &Seen, range: AdcRange, full_scale: AdcSetting) -> AdcSetting {
    let largest = seen.iter().map(|(h, _)| h.max().max(-h.min())).fold(0f32, f32::max);
    if largest <= 0.0 || !largest.is_finite() {
        return full_scale;
    }
    let planes: Vec<(Distribution, f64)> =
        seen.iter().map(|(histogram, weight)| (Distribution::new(histogram), *weight)).collect();
    let full = f64::from(largest) / f64::from(full_scale.max_code);
    let most = if range == AdcRange::CalibratedByPlane { HALVINGS_MAX } else { 0 };
    let mut best = AdcSetting { step_us: full, ..full_scale };
    let mut least = f64::INFINITY;
    for percent in 20..=100 {
        let step_us = full * f64::from(percent) / 100.0;
        let mut candidate = AdcSetting { step_us, ..full_scale };
        let mut error = 0.0;
        for (plane, (currents, weight)) in planes.iter().enumerate() {
            let with = |halvings: u8| {
                let step_us = step_us / f64::from(1u32 << halvings);
                currents.squared_error(&AdcSetting { step_us, ..full_scale })
            };
            let errors = (0..=most).map(|halvings| (with(halvings), halvings));
            let (own, halvings) =
                errors.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, 0));
            candidate.halvings[plane.min(MAX_PLANES - 1)] = halvings;
            error += weight * own;
        }
        if error <= least {
            (best, least) = (candidate, error);
        }
    }
    best
}

/// The most that a range is halved: a programmable amplifier of seven steps.
const HALVINGS_MAX: u8 = 6;

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
