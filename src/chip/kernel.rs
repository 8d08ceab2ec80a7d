//! The product of one tile: bit-planes in, shifted and added codes out.
//!
//! For one tile, the current of a line in one plane is the sum of the
//! conductances whose input bit is 1. Inputs are taken four at a time: the 16
//! possible sums of each line are tabulated once per programmed chip ("four
//! Russians" method), and a plane of 128 inputs is 32 table rows added up, all
//! lines side by side. Conversion and shift-and-add follow in registers.
//!
//! Every target takes this path, the exact one too: its conductances are small
//! integers, of which f32 adds up millions without rounding.

use super::Chip;
use super::noise::{LANES, ReadNoise};
use crate::mapping::WeightTile;
use crate::schedule::{AdcSetting, Plane};
use crate::target::Subtract;

/// Inputs that share a table.
const FOUR: usize = 4;
/// Their possible bit patterns.
const PATTERNS: usize = 1 << FOUR;

/// A programmed tile, ready to be driven.
#[derive(Debug, Clone)]
pub struct TileKernel {
    n_inputs: usize,
    n_pairs: usize,
    /// Values converted: pairs or lines.
    n_values: usize,
    /// `n_values` rounded up to whole blocks of `LANES`.
    width: usize,
    /// Sums of conductances in uS, `[four inputs][pattern][width]`.
    sums: Vec<f32>,
    /// Variances of a reading in uS^2, laid out alike; empty without noise.
    variances: Vec<f32>,
    codes_per_us: f32,
    min_code: f32,
    max_code: f32,
    subtract: Subtract,
}

/// Working memory of a wave, to be reused.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    /// Pattern of each four inputs, `[plane][four inputs]`.
    patterns: Vec<u8>,
    /// Shifted and added codes of all values.
    codes: Vec<i64>,
}

impl TileKernel {
    /// Tabulates a tile of a chip.
    ///
    /// `None` if the chip has no such PE or the tile leaves it.
    pub fn new(
        chip: &Chip,
        place: &WeightTile,
        adc: &AdcSetting,
        subtract: Subtract,
    ) -> Option<Self> {
        let cells = chip.conductances_us.get(&place.pe)?;
        let n_outputs = chip.pe.outputs as usize;
        let (n_inputs, n_pairs) = (place.n_inputs() as usize, place.n_pairs() as usize);
        let n_values = match subtract {
            Subtract::BeforeConversion => n_pairs,
            Subtract::AfterConversion => 2 * n_pairs,
        };
        let width = n_values.next_multiple_of(LANES);
        let mut kernel = Self {
            n_inputs,
            n_pairs,
            n_values,
            width,
            sums: Vec::new(),
            variances: Vec::new(),
            codes_per_us: (1.0 / adc.step_us) as f32,
            min_code: adc.min_code as f32,
            max_code: adc.max_code as f32,
            subtract,
        };
        let noise = chip.read_noise_fraction as f32;
        // One row a line: its own contribution to every value, and to the
        // variance of its reading.
        let mut rows = Vec::with_capacity(n_inputs);
        for line in 0..n_inputs {
            let start = (place.input_line as usize + line) * n_outputs + place.output_line as usize;
            let lines = cells.get(start..start + 2 * n_pairs)?;
            let (mut row, mut variance) = (vec![0.0; width], vec![0.0; width]);
            for value in 0..n_values {
                (row[value], variance[value]) = match subtract {
                    Subtract::BeforeConversion => {
                        let (positive, negative) = (lines[2 * value], lines[2 * value + 1]);
                        let squares = positive * positive + negative * negative;
                        (positive - negative, noise * noise * squares)
                    }
                    Subtract::AfterConversion => {
                        let line = lines[value];
                        (line, noise * noise * line * line)
                    }
                };
            }
            rows.push((row, variance));
        }
        kernel.sums = tabulate(rows.iter().map(|r| r.0.as_slice()), n_inputs, width);
        if noise > 0.0 {
            kernel.variances = tabulate(rows.iter().map(|r| r.1.as_slice()), n_inputs, width);
        }
        Some(kernel)
    }

    /// Input lines of the tile.
    pub fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    /// Pairs of the tile: results of a wave.
    pub fn n_pairs(&self) -> usize {
        self.n_pairs
    }

    /// Values converted in a plane: pairs, or lines.
    pub fn n_values(&self) -> usize {
        self.n_values
    }

    /// Drives one wave: one code per input line in, the sum over the planes of
    /// shifted codes out, one per pair, in codes of the ADC.
    ///
    /// `noise` is the stream of the step and the number of the position in it.
    pub fn wave(
        &self,
        codes: &[u16],
        planes: &[Plane],
        noise: Option<(&ReadNoise, u32)>,
        scratch: &mut Scratch,
        results: &mut [i64],
    ) {
        self.patterns(codes, planes, scratch);
        scratch.codes.resize(self.width, 0);
        let fours = self.n_inputs.div_ceil(FOUR);
        let noise = noise.filter(|_| !self.variances.is_empty());
        for (block, codes) in scratch.codes.chunks_exact_mut(LANES).enumerate() {
            let mut sum = [0i64; LANES];
            for (number, (plane, patterns)) in
                planes.iter().zip(scratch.patterns.chunks_exact(fours)).enumerate()
            {
                // A plane without a 1 has no current, no noise, code 0.
                if patterns.iter().all(|&pattern| pattern == 0) {
                    continue;
                }
                let mut current = self.add_up(&self.sums, patterns, block);
                if let Some((stream, position)) = noise {
                    let variance = self.add_up(&self.variances, patterns, block);
                    let normals = stream.draw(position, number as u32, block as u32);
                    for lane in 0..LANES {
                        current[lane] += variance[lane].sqrt() * normals[lane];
                    }
                }
                let converted = self.convert(&current);
                let weight = if plane.negative { -1i64 } else { 1 } << plane.bit;
                for lane in 0..LANES {
                    sum[lane] += i64::from(converted[lane]) * weight;
                }
            }
            codes.copy_from_slice(&sum);
        }
        match self.subtract {
            Subtract::BeforeConversion => {
                results.copy_from_slice(&scratch.codes[..self.n_pairs]);
            }
            Subtract::AfterConversion => {
                for (result, pair) in results.iter_mut().zip(scratch.codes.chunks_exact(2)) {
                    *result = pair[0] - pair[1];
                }
            }
        }
    }

    /// Currents in uS of one plane without noise, one per value converted.
    pub fn currents(&self, codes: &[u16], plane: Plane, scratch: &mut Scratch) -> Vec<f32> {
        self.patterns(codes, &[plane], scratch);
        let blocks = 0..self.width / LANES;
        let mut currents: Vec<f32> =
            blocks.flat_map(|block| self.add_up(&self.sums, &scratch.patterns, block)).collect();
        currents.truncate(self.n_values);
        currents
    }

    /// Bit transposition: the pattern of every four inputs in every plane.
    fn patterns(&self, codes: &[u16], planes: &[Plane], scratch: &mut Scratch) {
        let fours = self.n_inputs.div_ceil(FOUR);
        scratch.patterns.resize(planes.len() * fours, 0);
        for (four, codes) in codes.chunks(FOUR).enumerate() {
            let mut lanes = 0u64;
            for (lane, &code) in codes.iter().enumerate() {
                lanes |= u64::from(code) << (16 * lane);
            }
            for (number, plane) in planes.iter().enumerate() {
                // One bit in each 16-bit lane, brought together in the lowest
                // four bits.
                let bits = (lanes >> plane.bit) & 0x0001_0001_0001_0001;
                let pattern = bits | bits >> 15 | bits >> 30 | bits >> 45;
                scratch.patterns[number * fours + four] = (pattern & 0xF) as u8;
            }
        }
    }

    /// Adds the table rows of all fours for one block of values.
    #[inline]
    fn add_up(&self, table: &[f32], patterns: &[u8], block: usize) -> [f32; LANES] {
        let mut total = [0.0; LANES];
        let stride = PATTERNS * self.width;
        for (four, &pattern) in patterns.iter().enumerate() {
            let start = four * stride + usize::from(pattern) * self.width + block * LANES;
            let Some(row) = table.get(start..start + LANES) else { break };
            for lane in 0..LANES {
                total[lane] += row[lane];
            }
        }
        total
    }

    /// Nearest code, ties to even, clipped.
    #[inline]
    fn convert(&self, current: &[f32; LANES]) -> [i32; LANES] {
        // Adding and taking off 1.5 x 2^23 rounds to the nearest integer, ties
        // to even, in vector registers of any instruction set; codes have at
        // most 22 bits here, wider ones are rounded already.
        const ROUND: f32 = 12_582_912.0;
        let mut codes = [0; LANES];
        for lane in 0..LANES {
            let scaled = (current[lane] * self.codes_per_us).clamp(self.min_code, self.max_code);
            let rounded =
                if scaled.abs() < 4_194_304.0 { (scaled + ROUND) - ROUND } else { scaled };
            codes[lane] = rounded as i32;
        }
        codes
    }
}

/// All 16 sums of every four rows, `[four][pattern][width]`.
fn tabulate<'a>(rows: impl Iterator<Item = &'a [f32]>, n_rows: usize, width: usize) -> Vec<f32> {
    let mut table = vec![0.0; n_rows.div_ceil(FOUR) * PATTERNS * width];
    for (index, row) in rows.enumerate() {
        let (four, bit) = (index / FOUR, 1 << (index % FOUR));
        // Patterns whose highest bit is this row: the pattern without it is
        // there already, so every sum is added up in the order of rows.
        for pattern in bit..2 * bit {
            for (lane, &value) in row.iter().enumerate() {
                let at = |pattern: usize| (four * PATTERNS + pattern) * width + lane;
                table[at(pattern)] = table[at(pattern - bit)] + value;
            }
        }
    }
    table
}
