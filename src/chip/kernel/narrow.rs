//! The kernel in 16 bits: where a current in steps of a fraction of an ADC
//! code fits, which is nearly everywhere.
//!
//! For one position all eight planes are worked on at once, each with its sum
//! in a register of up to 32 values; a group of lines is one pattern read and
//! eight table rows added. Noise, conversion, shift-and-add follow in the same
//! registers. Integers add up in any order without rounding, so every
//! instruction set gives the same codes.

use std::ops::Range;

use super::super::noise::{BLOCK, CENTRE, COEFFICIENTS};
use super::Group;
use super::block::{Block, Simd, Words};
use super::instructions::Instructions;
use super::pattern::{MAX_LINES, OCTET, Pattern};
use super::precision::Fixed;
use super::rows::Rows;
use super::waves::Waves;

/// Lanes of the widest block.
pub(super) const MAX_LANES: usize = 32;

/// Tables of a tile in 16 bits.
#[derive(Debug, Clone)]
pub(super) struct Narrow {
    table: Vec<Line>,
    chunks: Vec<Chunk>,
    fixed: Fixed,
    has_noise: bool,
}

/// Values that are worked on together.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    first_value: usize,
    n_values: usize,
    lanes: usize,
    /// Where its rows begin in the table.
    first_line: usize,
}

/// A cache line of the table; a row is one, a half or a quarter, or twice that
/// with variances, and lies in as few cache lines as it can.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Line([i16; MAX_LANES]);

impl Narrow {
    /// Tabulates: the sums of every group's lines, and their variances beside
    /// them.
    pub(super) fn new(rows: &Rows, groups: &[Group], fixed: Fixed) -> Self {
        let has_noise = rows.has_noise();
        let mut narrow = Self { table: Vec::new(), chunks: Vec::new(), fixed, has_noise };
        let widest = Instructions::detect().lanes();
        let mut first_value = 0;
        while first_value < rows.n_values() {
            let rest = rows.n_values() - first_value;
            let lanes = match rest {
                0..=8 => 8,
                9..=16 => 16,
                _ => MAX_LANES,
            }
            .min(widest);
            let n_values = rest.min(lanes);
            let first_line = narrow.table.len();
            narrow.chunks.push(Chunk { first_value, n_values, lanes, first_line });
            narrow.tabulate(rows, groups, first_value..first_value + n_values, lanes);
            first_value += n_values;
        }
        narrow
    }

    /// Appends the table of one chunk.
    fn tabulate(&mut self, rows: &Rows, groups: &[Group], values: Range<usize>, lanes: usize) {
        let width = lanes * if self.has_noise { 2 } else { 1 };
        let n_rows: usize = groups.iter().map(Group::n_patterns).sum();
        // So many rows more that no pattern, whatever group it is looked up
        // in, leaves the table.
        let n_entries = (n_rows + (1 << MAX_LINES)) * width;
        let mut entries = vec![0i16; n_entries.next_multiple_of(MAX_LANES)];
        let mut row = 0;
        let mut sums = [0.0; _];
        for group in groups {
            let table = &mut entries[row * width..(row + group.n_patterns()) * width];
            for (lane, value) in values.clone().enumerate() {
                let currents = rows.sums(group, value, &mut sums);
                for (row, sum) in table.chunks_exact_mut(width).zip(currents) {
                    row[lane] = (sum / self.fixed.unit_us).round_ties_even() as i16;
                }
                if self.has_noise {
                    let variances = rows.variances(group, value, &mut sums);
                    for (row, sum) in table.chunks_exact_mut(width).zip(variances) {
                        row[lanes + lane] =
                            (sum / self.fixed.variance_unit_us2).round_ties_even() as i16;
                    }
                }
            }
            row += group.n_patterns();
        }
        let (lines, _) = entries.as_chunks();
        self.table.extend(lines.iter().map(|&line| Line(line)));
    }

    /// Appends the currents in uS of one position in one plane, one per value.
    pub(super) fn currents(
        &self,
        groups: &[Group],
        lines: impl Fn(&Group) -> usize,
        currents: &mut Vec<f32>,
    ) {
        for chunk in &self.chunks {
            let width = chunk.lanes * if self.has_noise { 2 } else { 1 };
            let table = self.table[chunk.first_line..].as_ref();
            let entry = |index: usize| table[index / MAX_LANES].0[index % MAX_LANES];
            for lane in 0..chunk.n_values {
                let units: i32 = groups
                    .iter()
                    .map(|group| {
                        i32::from(entry((group.first_row as usize + lines(group)) * width + lane))
                    })
                    .sum();
                currents.push((f64::from(units) * self.fixed.unit_us) as f32);
            }
        }
    }

    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, mut waves: Waves<'_>) {
        for &chunk in &self.chunks {
            match (chunk.lanes, self.has_noise) {
                (8, false) => self.chunk::<S, S::B8, false>(chunk, &mut waves),
                (8, true) => self.chunk::<S, S::B8, true>(chunk, &mut waves),
                (16, false) => self.chunk::<S, S::B16, false>(chunk, &mut waves),
                (16, true) => self.chunk::<S, S::B16, true>(chunk, &mut waves),
                (_, false) => self.chunk::<S, S::B32, false>(chunk, &mut waves),
                (_, true) => self.chunk::<S, S::B32, true>(chunk, &mut waves),
            }
        }
    }

    /// All positions of one chunk, whose table then stays in the cache.
    ///
    /// `NOISE` says that rows have variances beside them.
    #[inline(always)]
    #[allow(clippy::needless_range_loop, reason = "a bound that is known unrolls the loop")]
    fn chunk<S: Simd, B: Block, const NOISE: bool>(&self, chunk: Chunk, waves: &mut Waves<'_>) {
        let weights: [[i16; OCTET]; 2] =
            [0, 1].map(|octet| self.fixed.plane_weights(waves.planes, octet));
        // Where no noise is asked for, its deviation is zero.
        let factor = waves.noise.map_or(0.0, |_| self.fixed.deviation_factor);
        // What eight planes without a current are converted to.
        let zeros = weights.map(|weights| self.fixed.total_of_zeros(&weights));
        let mut words = Words::ZERO;
        for (nth, &start) in waves.driven.starts.iter().enumerate() {
            let mut totals = [0f64; MAX_LANES];
            for (octet, weights) in weights.iter().enumerate().take(waves.n_octets) {
                let first = start as usize + octet * waves.driven.octet_stride;
                if !waves.is_driven(first) {
                    let zero = f64::from(zeros[octet] << (OCTET * octet));
                    totals.iter_mut().for_each(|total| *total += zero);
                    continue;
                }
                if NOISE && let Some(noise) = waves.noise {
                    let place = waves.place(nth, chunk.first_value, OCTET * octet);
                    S::random(noise, place, B::LANES / BLOCK, &mut words);
                }
                // SAFETY: `check` made sure that every group's pattern of this
                // position is among the patterns.
                #[allow(unsafe_code, reason = "addresses that are checked once, not per row")]
                let sums = unsafe {
                    let patterns = waves.driven.patterns.as_ptr().add(first);
                    self.wave::<B, NOISE>(chunk, waves.groups, patterns, (&words, factor), weights)
                };
                for lane in 0..B::LANES {
                    totals[lane] += f64::from(sums[lane] << (OCTET * octet));
                }
            }
            waves.correct(chunk.first_value, &mut totals[..chunk.n_values]);
            if chunk.n_values == B::LANES {
                // A length that the compiler knows: a copy in registers.
                waves.give(nth, chunk.first_value, &totals[..B::LANES]);
            } else {
                waves.give(nth, chunk.first_value, &totals[..chunk.n_values]);
            }
        }
    }

    /// One position, eight planes: sums, noise, conversions, shift-and-add.
    ///
    /// # Safety
    ///
    /// `patterns` can be read at the offset of every group. A row is inside the
    /// table whatever the pattern, because a pattern is below 256 and the table
    /// has 256 rows behind its last group.
    #[inline(always)]
    #[allow(unsafe_code, reason = "addresses that are checked once, not per row")]
    #[allow(clippy::needless_range_loop, reason = "a bound that is known unrolls the loop")]
    unsafe fn wave<B: Block, const NOISE: bool>(
        &self,
        chunk: Chunk,
        groups: &[Group],
        patterns: *const Pattern,
        (words, factor): (&Words, f32),
        weights: &[i16; OCTET],
    ) -> [i32; MAX_LANES] {
        let row_bytes = B::LANES * size_of::<i16>() * if NOISE { 2 } else { 1 };
        let table = self.table[chunk.first_line..].as_ptr().cast::<u8>();
        let mut sums = [B::splat(0); OCTET];
        let mut variances = [B::splat(0); OCTET];
        for group in groups {
            // SAFETY: the caller's.
            let [low, high] = unsafe { Pattern::words(patterns.add(group.offset as usize)) };
            // A group without a driven line adds nothing; the first one has
            // what every plane has.
            if low | high == 0 && group.first_row > 0 {
                continue;
            }
            // SAFETY: rows are inside the table, see above.
            unsafe {
                let rows = table.add(group.first_row as usize * row_bytes);
                for plane in 0..OCTET {
                    let word = if plane < 4 { low } else { high };
                    let sixteenths = (word >> (16 * (plane % 4))) as u16;
                    let row = rows.add(usize::from(sixteenths) * (row_bytes / 16)).cast::<i16>();
                    sums[plane] = sums[plane].add(B::load(row));
                    if NOISE {
                        let beside = row.add(B::LANES);
                        variances[plane] = variances[plane].add(B::load(beside));
                    }
                }
            }
        }
        if NOISE {
            let words = words.0.as_ptr();
            for plane in 0..OCTET {
                // SAFETY: a plane has two halves of `LANES` words, and there
                // is room for eight planes of the widest block.
                let (a, b) = unsafe {
                    let half = words.add(2 * plane * B::LANES);
                    (B::load(half), B::load(half.add(B::LANES)))
                };
                let deviation = variances[plane].deviation(factor);
                sums[plane] = sums[plane].add_saturating(gaussian(a, b).product(deviation));
            }
        }
        let scale = B::splat(self.fixed.codes_per_unit);
        let (min, max) = (B::splat(self.fixed.min_code), B::splat(self.fixed.max_code));
        let mut halves = [B::splat(0); 2];
        for plane in 0..OCTET {
            let code = sums[plane].product(scale).max(min).min(max);
            let weighted = code.times(B::splat(weights[plane]));
            halves[plane / 4] = halves[plane / 4].add(weighted);
        }
        let mut low = [0i16; MAX_LANES];
        let mut high = [0i16; MAX_LANES];
        let mut totals = [0i32; MAX_LANES];
        if self.fixed.halves {
            // SAFETY: room for the widest block.
            unsafe {
                halves[0].store(low.as_mut_ptr());
                halves[1].store(high.as_mut_ptr());
            }
            for lane in 0..B::LANES {
                totals[lane] = i32::from(low[lane]) + (i32::from(high[lane]) << 4);
            }
        } else {
            // SAFETY: as above.
            unsafe { halves[0].add(halves[1]).store(low.as_mut_ptr()) };
            // Sums of codes that are never negative take all 16 bits.
            let mask = if self.fixed.are_unsigned(weights) { 0xFFFF } else { -1 };
            for lane in 0..B::LANES {
                totals[lane] = i32::from(low[lane]) & mask;
            }
        }
        totals
    }
}

/// [`super::super::noise::gaussian`] in blocks.
#[inline(always)]
fn gaussian<B: Block>(a: B, b: B) -> B {
    let x = a.byte_sum().add(b.byte_sum()).add(B::splat(-CENTRE));
    let square = x.product(x);
    let series = B::splat(COEFFICIENTS[3]).product(square).add(B::splat(COEFFICIENTS[2]));
    let series = series.product(square).add(B::splat(COEFFICIENTS[1]));
    let series = series.product(square).add(B::splat(COEFFICIENTS[0]));
    series.product(x)
}
