//! Arrays read the other way round: codes drive output lines, currents are
//! sensed on input lines, and so an array multiplies with its transposed
//! matrix. This is what carries errors back through a layer.
//!
//! ```text
//! forward     input line i  --code-->  sum over i of G[i][o], converted per output line o
//! transposed  output line o --code-->  sum over o of G[i][o], converted per input line i
//! ```
//!
//! The two lines of a pair take the same code. Where pairs are subtracted
//! before conversion they are driven with opposite voltage, and an input line's
//! current is the difference already; where they are not, first all positive
//! lines are driven, then all negative ones, and the two codes are subtracted.
//! Either way an input line stands where a pair stood: a transposed chip is a
//! chip, whose lines have changed places, and everything else about it, its
//! kernel, noise, ranges and conversions, is that of any chip. Where charges of
//! planes are added up, they are on the way back too, by accumulators of the
//! input lines' own.
//!
//! Wires need no second look. A network of resistors is reciprocal: the current
//! that a volt on one terminal makes on another is that which a volt there
//! makes here, so the transfer matrix of the way back is the transpose of that
//! of the way there. Circuits that runs solve for each vector are read back by the
//! matrix of every line driven.

use std::collections::{BTreeMap, BTreeSet};

use super::accumulators::Accumulator;
use super::adc;
use super::{Chip, Converter};
use crate::entity::PeId;
use crate::mapping::WeightTile;
use crate::quantize::InputCoding;
use crate::schedule::{AdcSetting, ExecutionPlan};
use crate::target::{AdcRange, Conversion, Pe, Target, Wires};

/// Distinguishes converters and accumulators on input lines from those on output
/// lines.
const INPUT_SIDE: u64 = 0x7472_616e_7370;

impl Chip {
    /// Some PEs of the chip, as they are read the other way round. The lines of
    /// the result are pairs that are driven, and for each input line the two
    /// currents that come of positive and negative cells.
    pub fn transposed(&self, plan: &ExecutionPlan, target: &Target, pes: &BTreeSet<PeId>) -> Self {
        let effective = self.effective(plan);
        let Pe { inputs, outputs } = self.pe;
        let (n_inputs, n_pairs) = (inputs as usize, outputs as usize / 2);
        let turned = |cells: &Vec<f32>| {
            let mut turned = vec![0.0; cells.len()];
            for (input, lines) in cells.chunks_exact(2 * n_pairs).enumerate() {
                for (pair, cells) in lines.chunks_exact(2).enumerate() {
                    let at = pair * 2 * n_inputs + 2 * input;
                    turned[at..at + 2].copy_from_slice(cells);
                }
            }
            turned
        };
        let cells = effective.conductances_us.iter().filter(|(pe, _)| pes.contains(pe));
        let converters = match self.converters.is_empty() {
            true => BTreeMap::new(),
            // As many, of the same kind.
            false => Converter::of_chip(plan, target, self.seed ^ INPUT_SIDE),
        };
        let accumulators = match self.accumulators.is_empty() {
            true => BTreeMap::new(),
            false => Accumulator::of_lines(plan, target, self.seed ^ INPUT_SIDE, 2 * inputs),
        };
        Self {
            pe: Pe { inputs: outputs / 2, outputs: 2 * inputs },
            wires: Wires::NONE,
            conductances_us: cells.map(|(&pe, cells)| (pe, turned(cells))).collect(),
            converters,
            curve: None,
            vectors: None,
            cell_error_us: self.cell_error_us,
            read_noise_fraction: self.read_noise_fraction,
            accumulators,
            seed: self.seed,
        }
    }
}

/// Where a tile lies in a transposed chip: its rows are columns there.
pub fn transposed_tile(tile: &WeightTile) -> WeightTile {
    WeightTile {
        rows: tile.columns.clone(),
        columns: tile.rows.clone(),
        input_line: tile.output_line / 2,
        output_line: 2 * tile.input_line,
        ..tile.clone()
    }
}

/// Over which range the ADCs of a transposed tile convert: as the target says,
/// and where it says that data tells, as these codes tell, `[vector][line]`, with
/// so much room beyond.
pub fn transposed_setting(
    (chip, tile): (&Chip, &WeightTile),
    target: &Target,
    (codes, coding): (&[u16], &InputCoding),
    room: f64,
) -> AdcSetting {
    let is_summed = target.readout.conversion == Conversion::Accumulated;
    let sum_of = is_summed.then_some(coding);
    let fixed = adc::fixed_setting(tile, target, target.readout.adc_bits, sum_of);
    if matches!(target.readout.adc_range, AdcRange::FullScale | AdcRange::OneLevel) {
        return fixed;
    }
    let setting = adc::seen_setting((chip, tile), target, (codes, coding), fixed);
    AdcSetting { step_us: setting.step_us * room, ..setting }
}
