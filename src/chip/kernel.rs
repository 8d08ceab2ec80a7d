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
use super::instructions::Instructions;
use super::noise::ReadNoise;
use crate::mapping::WeightTile;
use crate::schedule::{AdcSetting, Plane};
use crate::target::Subtract;

/// Inputs that share a table.
const FOUR: usize = 4;
/// Their possible bit patterns.
const PATTERNS: usize = 1 << FOUR;
/// Values are padded to whole vector registers of the widest kind.
const LANES: usize = 16;

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
    /// Whether 16 planes of the widest code add up within 32 bits.
    fits_i32: bool,
    subtract: Subtract,
    instructions: Instructions,
}

/// Working memory of a wave, to be reused.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    /// Codes of each four inputs, 16 bits each.
    lanes: Vec<u64>,
    /// Pattern of each four inputs, `[plane][four inputs]`.
    patterns: Vec<u8>,
    /// Of one plane, per value.
    current: Vec<f32>,
    variance: Vec<f32>,
    normals: Vec<f32>,
    /// Shifted and added codes, per value.
    sums_i32: Vec<i32>,
    sums_i64: Vec<i64>,
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
            fits_i32: adc.max_code.max(-adc.min_code) < 1 << 14,
            subtract,
            instructions: Instructions::detect(),
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
        self.instructions.run(self, codes, planes, noise, scratch, results);
    }

    /// [`TileKernel::wave`] in plain code, compiled anew for each instruction
    /// set.
    #[inline(always)]
    pub(super) fn wave_plain(
        &self,
        codes: &[u16],
        planes: &[Plane],
        noise: Option<(&ReadNoise, u32)>,
        scratch: &mut Scratch,
        results: &mut [i64],
    ) {
        self.patterns(codes, planes, &mut scratch.lanes, &mut scratch.patterns);
        for buffer in [&mut scratch.current, &mut scratch.variance, &mut scratch.normals] {
            buffer.resize(self.width, 0.0);
        }
        let noise = noise.filter(|_| !self.variances.is_empty());
        if self.fits_i32 {
            let mut sums = std::mem::take(&mut scratch.sums_i32);
            self.planes(planes, noise, scratch, &mut sums);
            self.pairs(&sums, results);
            scratch.sums_i32 = sums;
        } else {
            let mut sums = std::mem::take(&mut scratch.sums_i64);
            self.planes(planes, noise, scratch, &mut sums);
            self.pairs(&sums, results);
            scratch.sums_i64 = sums;
        }
    }

    /// Plane by plane: add up, convert, shift and add.
    #[inline(always)]
    fn planes<S: ShiftAdd>(
        &self,
        planes: &[Plane],
        noise: Option<(&ReadNoise, u32)>,
        scratch: &mut Scratch,
        sums: &mut Vec<S>,
    ) {
        let Scratch { patterns, current, variance, normals, .. } = scratch;
        sums.clear();
        sums.resize(self.width, S::default());
        let fours = self.n_inputs.div_ceil(FOUR);
        for (number, (plane, patterns)) in
            planes.iter().zip(patterns.chunks_exact(fours)).enumerate()
        {
            // A plane without a 1 has no current, no noise, code 0.
            if patterns.iter().all(|&pattern| pattern == 0) {
                continue;
            }
            self.add_up(&self.sums, patterns, current);
            if let Some((stream, position)) = noise {
                self.add_up(&self.variances, patterns, variance);
                stream.draw(position, number as u32, normals);
                for ((current, variance), normal) in
                    current.iter_mut().zip(variance.iter()).zip(normals.iter())
                {
                    *current += variance.sqrt() * normal;
                }
            }
            for (sum, current) in sums.iter_mut().zip(current.iter()) {
                *sum = sum.add(self.convert(*current), *plane);
            }
        }
    }

    /// One result a pair, from one sum a pair or one a line.
    #[inline(always)]
    fn pairs<S: ShiftAdd>(&self, sums: &[S], results: &mut [i64]) {
        match self.subtract {
            Subtract::BeforeConversion => {
                for (result, &sum) in results.iter_mut().zip(sums) {
                    *result = sum.into();
                }
            }
            Subtract::AfterConversion => {
                for (result, pair) in results.iter_mut().zip(sums.chunks_exact(2)) {
                    *result = pair[0].into() - pair[1].into();
                }
            }
        }
    }

    /// Currents in uS of one plane without noise, one per value converted.
    pub fn currents(&self, codes: &[u16], plane: Plane, scratch: &mut Scratch) -> Vec<f32> {
        self.patterns(codes, &[plane], &mut scratch.lanes, &mut scratch.patterns);
        let mut currents = vec![0.0; self.width];
        self.add_up(&self.sums, &scratch.patterns, &mut currents);
        currents.truncate(self.n_values);
        currents
    }

    /// Bit transposition: the pattern of every four inputs in every plane.
    #[inline(always)]
    fn patterns(
        &self,
        codes: &[u16],
        planes: &[Plane],
        lanes: &mut Vec<u64>,
        patterns: &mut Vec<u8>,
    ) {
        let fours = self.n_inputs.div_ceil(FOUR);
        lanes.clear();
        let (whole, rest) = codes.as_chunks::<FOUR>();
        lanes.extend(whole.iter().map(|codes| {
            let [a, b, c, d] = codes.map(u64::from);
            a | b << 16 | c << 32 | d << 48
        }));
        if !rest.is_empty() {
            let four = |all, (lane, &code): (usize, &u16)| all | u64::from(code) << (16 * lane);
            lanes.push(rest.iter().enumerate().fold(0, four));
        }
        patterns.resize(planes.len() * fours, 0);
        for (plane, patterns) in planes.iter().zip(patterns.chunks_exact_mut(fours)) {
            for (pattern, lanes) in patterns.iter_mut().zip(lanes.iter()) {
                // One bit in each 16-bit lane, brought together in the lowest
                // four bits.
                let bits = (lanes >> plane.bit) & 0x0001_0001_0001_0001;
                *pattern = ((bits | bits >> 15 | bits >> 30 | bits >> 45) & 0xF) as u8;
            }
        }
    }

    /// Adds the table rows of all fours, eight rows at a time while there are
    /// eight: fewer passes over the totals.
    #[inline(always)]
    fn add_up(&self, table: &[f32], patterns: &[u8], totals: &mut [f32]) {
        let row = |four: usize| {
            let start = (four * PATTERNS + usize::from(patterns[four])) * self.width;
            &table[start..start + self.width]
        };
        totals.fill(0.0);
        let mut four = 0;
        while four + 8 <= patterns.len() {
            add_eight(totals, std::array::from_fn(|i| row(four + i)));
            four += 8;
        }
        if four + 4 <= patterns.len() {
            add_four(totals, std::array::from_fn(|i| row(four + i)));
            four += 4;
        }
        while four < patterns.len() {
            for (total, value) in totals.iter_mut().zip(row(four)) {
                *total += value;
            }
            four += 1;
        }
    }

    /// Nearest code, ties to even, clipped.
    #[inline(always)]
    fn convert(&self, current: f32) -> i32 {
        let scaled = current * self.codes_per_us;
        let low = if scaled < self.min_code { self.min_code } else { scaled };
        let clipped = if low > self.max_code { self.max_code } else { low };
        // Adding 1.5 x 2^23 leaves the nearest integer, ties to even, in the
        // low bits, in vector registers of any instruction set. Codes have at
        // most 22 bits with their sign; wider ones are refused by `new`.
        const ROUND: f32 = 12_582_912.0;
        ((clipped + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
    }
}

#[inline(always)]
fn add_eight(totals: &mut [f32], rows: [&[f32]; 8]) {
    let n = totals.len();
    let [a, b, c, d, e, f, g, h] = rows.map(|row| &row[..n]);
    for i in 0..n {
        totals[i] += ((a[i] + b[i]) + (c[i] + d[i])) + ((e[i] + f[i]) + (g[i] + h[i]));
    }
}

#[inline(always)]
fn add_four(totals: &mut [f32], rows: [&[f32]; 4]) {
    let n = totals.len();
    let [a, b, c, d] = rows.map(|row| &row[..n]);
    for i in 0..n {
        totals[i] += (a[i] + b[i]) + (c[i] + d[i]);
    }
}

/// What shifted codes are added up in: 32 bits where they fit, else 64.
trait ShiftAdd: Copy + Default + Into<i64> {
    fn add(self, code: i32, plane: Plane) -> Self;
}

impl ShiftAdd for i32 {
    #[inline(always)]
    fn add(self, code: i32, plane: Plane) -> Self {
        let shifted = code << plane.bit;
        if plane.negative { self - shifted } else { self + shifted }
    }
}

impl ShiftAdd for i64 {
    #[inline(always)]
    fn add(self, code: i32, plane: Plane) -> Self {
        let shifted = Self::from(code) << plane.bit;
        if plane.negative { self - shifted } else { self + shifted }
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
