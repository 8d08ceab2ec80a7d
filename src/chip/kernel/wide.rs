//! The kernel in 32 or 64 bits, for currents that 16 bits do not hold
//! precisely enough: ADCs of many bits, cells without errors between codes.
//!
//! Plane by plane, in plain code that the compiler turns into vector code.

use std::ops::Range;

use super::super::converters::bow;
use super::super::noise::BLOCK;
use super::Group;
use super::pattern::OCTET;
use super::rows::Rows;
use super::waves::Waves;
use crate::schedule::AdcSetting;

/// Values that are worked on together.
pub(super) const LANES: usize = 16;

/// An integer that currents are added up in.
pub(super) trait Word: Copy + Default {
    /// Bits that a current may take, sign apart.
    const BITS: u32;
    fn from_f64(value: f64) -> Self;
    fn add(self, other: Self) -> Self;
    fn to_i64(self) -> i64;
    fn to_f64(self) -> f64;
}

impl Word for i32 {
    const BITS: u32 = 30;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn to_i64(self) -> i64 {
        self.into()
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.into()
    }
}

impl Word for i64 {
    const BITS: u32 = 62;

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as Self
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn to_i64(self) -> i64 {
        self
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self as f64
    }
}

/// Tables of a tile in words of this kind.
#[derive(Debug, Clone)]
pub(super) struct Wide<W> {
    n_values: usize,
    /// `[chunk][row][lane]`, rows of all groups one after the other.
    currents: Vec<[W; LANES]>,
    /// Variances in units squared, laid out alike; empty without noise.
    variances: Vec<[f32; LANES]>,
    n_rows: usize,
    /// Bits of a current behind an ADC code.
    fraction_bits: u32,
    unit_us: f64,
    min_code: i64,
    max_code: i64,
    /// Of each value, the bow of its ADC in codes; empty if there is none.
    bows: Vec<f64>,
    adc: AdcSetting,
}

impl<W: Word> Wide<W> {
    /// Tabulates with as many bits behind a code as fit; `None` if not even
    /// one does in the range that is halved most.
    pub(super) fn new(rows: &Rows, groups: &[Group], adc: &AdcSetting) -> Option<Self> {
        let reach_us = rows.largest_current_us() + 8.0 * rows.largest_variance_us2().sqrt();
        let reach_codes = reach_us / adc.step_us + 1.0;
        let fits = |bits: &u32| reach_codes < (1u64 << (W::BITS - bits)) as f64;
        let least = 1 + u32::from(adc.halvings.iter().copied().max().unwrap_or(0));
        let fraction_bits = (least..W::BITS).rev().find(fits)?;
        Some(Self::with_fraction(rows, groups, adc, fraction_bits))
    }

    /// Tabulates with as many bits behind a code as fit, or one: currents that
    /// then are too large for a word are beyond every code anyway.
    pub(super) fn coarsest(rows: &Rows, groups: &[Group], adc: &AdcSetting) -> Self {
        let least = 1 + u32::from(adc.halvings.iter().copied().max().unwrap_or(0));
        Self::new(rows, groups, adc)
            .unwrap_or_else(|| Self::with_fraction(rows, groups, adc, least))
    }

    fn with_fraction(rows: &Rows, groups: &[Group], adc: &AdcSetting, fraction_bits: u32) -> Self {
        let unit_us = adc.step_us / (1u64 << fraction_bits) as f64;
        let n_rows = groups.iter().map(Group::n_patterns).sum();
        let mut wide = Self {
            n_values: rows.n_values(),
            currents: Vec::new(),
            variances: Vec::new(),
            n_rows,
            fraction_bits,
            unit_us,
            min_code: adc.min_code.into(),
            max_code: adc.max_code.into(),
            bows: rows.bows().to_vec(),
            adc: *adc,
        };
        let mut room = [0.0; _];
        for first in (0..rows.n_values()).step_by(LANES) {
            let lanes = first..(first + LANES).min(rows.n_values());
            let start = wide.currents.len();
            wide.currents.resize(start + n_rows, [W::default(); LANES]);
            if rows.has_noise() {
                wide.variances.resize(start + n_rows, [0.0; LANES]);
            }
            for group in groups {
                let own = start + group.first_row as usize..;
                for (lane, value) in lanes.clone().enumerate() {
                    let sums = rows.sums(group, value, &mut room);
                    let table = &mut wide.currents[own.clone()][..group.n_patterns()];
                    for (row, sum) in table.iter_mut().zip(sums) {
                        row[lane] = W::from_f64((sum / unit_us).round_ties_even());
                    }
                    if rows.has_noise() {
                        let sums = rows.variances(group, value, &mut room);
                        let table = &mut wide.variances[own.clone()][..group.n_patterns()];
                        for (row, sum) in table.iter_mut().zip(sums) {
                            row[lane] = (sum / unit_us / unit_us) as f32;
                        }
                    }
                }
            }
        }
        wide
    }

    /// Currents of a chunk of values, in units, with these lines driven.
    #[inline(always)]
    pub(super) fn sums(
        &self,
        chunk: usize,
        groups: &[Group],
        lines: impl Fn(&Group) -> usize,
    ) -> [W; LANES] {
        let table = &self.currents[chunk * self.n_rows..];
        let mut sums = [W::default(); LANES];
        for group in groups {
            let row = &table[group.first_row as usize + lines(group)];
            for (sum, current) in sums.iter_mut().zip(row) {
                *sum = sum.add(*current);
            }
        }
        sums
    }

    /// Their variances in units squared; `None` without noise.
    #[inline(always)]
    pub(super) fn variance_sums(
        &self,
        chunk: usize,
        groups: &[Group],
        lines: impl Fn(&Group) -> usize,
    ) -> Option<[f32; LANES]> {
        let table = self.variances.get(chunk * self.n_rows..).filter(|table| !table.is_empty())?;
        let mut sums = [0f32; LANES];
        for group in groups {
            let row = &table[group.first_row as usize + lines(group)];
            for (sum, variance) in sums.iter_mut().zip(row) {
                *sum += variance;
            }
        }
        Some(sums)
    }

    /// Codes that a unit is.
    pub(super) fn codes_a_unit(&self) -> f64 {
        1.0 / (1u64 << self.fraction_bits) as f64
    }

    /// Appends the currents in uS of one position in one plane, one per value.
    #[inline(always)]
    pub(super) fn currents(
        &self,
        groups: &[Group],
        lines: impl Fn(&Group) -> usize,
        currents: &mut Vec<f32>,
    ) {
        let first = currents.len();
        for table in self.currents.chunks_exact(self.n_rows.max(1)) {
            let mut sums = [W::default(); LANES];
            for group in groups {
                let row = &table[group.first_row as usize + lines(group)];
                for (sum, current) in sums.iter_mut().zip(row) {
                    *sum = sum.add(*current);
                }
            }
            currents.extend(sums.map(|sum| (sum.to_i64() as f64 * self.unit_us) as f32));
        }
        currents.truncate(first + self.n_values);
    }

    #[inline(always)]
    pub(super) fn run(&self, mut waves: Waves<'_>) {
        for nth in 0..waves.driven.starts.len() {
            for (chunk, first_value) in (0..self.n_values).step_by(LANES).enumerate() {
                let rows = chunk * self.n_rows..(chunk + 1) * self.n_rows;
                let mut sums = self.wave(rows, first_value, nth, &waves);
                let n_values = LANES.min(self.n_values - first_value);
                waves.correct(first_value, &mut sums[..n_values]);
                waves.give(nth, first_value, &sums[..n_values]);
            }
        }
    }

    /// One position and chunk: sums over the planes of shifted codes.
    #[inline(always)]
    fn wave(
        &self,
        rows: Range<usize>,
        first_value: usize,
        nth: usize,
        waves: &Waves<'_>,
    ) -> [f64; LANES] {
        let start = waves.driven.starts[nth] as usize;
        let table = &self.currents[rows.clone()];
        let variances = self.variances.get(rows).unwrap_or_default();
        let noise = waves.noise.filter(|_| !variances.is_empty());
        // In parts of a code, as many as the most halved range has.
        let mut totals = [0i64; LANES];
        let most_halved = self.adc.halvings.iter().copied().max().unwrap_or(0);
        let least_bit = waves.least_significant(start);
        for plane in waves.planes.iter().filter(|plane| plane.bit >= least_bit) {
            let bit = usize::from(plane.bit);
            let patterns =
                &waves.driven.patterns[start + bit / OCTET * waves.driven.octet_stride..];
            let lines = |group: &Group| patterns[group.offset as usize].lines(bit % OCTET);
            let row = |group: &Group| group.first_row as usize + lines(group);
            let halvings = self.adc.halvings[bit];
            let shift = |sum: i64| {
                let shifted = self.convert(sum, halvings) << (plane.bit + most_halved - halvings);
                if plane.negative { -shifted } else { shifted }
            };
            if waves.rest_at_zero && waves.groups.iter().all(|group| lines(group) == 0) {
                let zero = shift(0);
                totals.iter_mut().for_each(|total| *total += zero);
                continue;
            }
            let mut sums = [W::default(); LANES];
            for group in waves.groups {
                for (sum, current) in sums.iter_mut().zip(&table[row(group)]) {
                    *sum = sum.add(*current);
                }
            }
            if let Some(noise) = noise {
                let mut variance = [0f32; LANES];
                for group in waves.groups {
                    for (sum, own) in variance.iter_mut().zip(&variances[row(group)]) {
                        *sum += own;
                    }
                }
                for block in 0..LANES / BLOCK {
                    let place = waves.place(nth, first_value + BLOCK * block, bit);
                    let normals = noise.draw(place.position, place.line, place.plane);
                    for (lane, normal) in (BLOCK * block..).zip(normals) {
                        let drawn = (variance[lane].sqrt() * normal).round_ties_even();
                        sums[lane] = sums[lane].add(W::from_f64(drawn.into()));
                    }
                }
            }
            if !self.bows.is_empty() {
                let bows = self.bows[first_value..].iter();
                for ((total, sum), &bow) in totals.iter_mut().zip(sums).zip(bows) {
                    *total += shift(self.bent(sum.to_i64(), bow, halvings));
                }
                continue;
            }
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total += shift(sum.to_i64());
            }
        }
        let parts = f64::from(1u32 << most_halved);
        totals.map(|total| total as f64 / parts)
    }

    /// A current in units as an ADC with a bow has it before it rounds.
    fn bent(&self, units: i64, bow_codes: f64, halvings: u8) -> i64 {
        let units_a_code = (1u64 << self.code_bits(halvings)) as f64;
        let code = units as f64 / units_a_code;
        units + (bow(code, bow_codes, &self.adc) * units_a_code).round_ties_even() as i64
    }

    /// Bits of a current behind a code of a range that is halved so often; at
    /// least one, which [`Self::new`] keeps.
    #[inline(always)]
    fn code_bits(&self, halvings: u8) -> u32 {
        self.fraction_bits.saturating_sub(halvings.into()).max(1)
    }

    /// Nearest code, ties to even, clipped.
    #[inline(always)]
    fn convert(&self, units: i64, halvings: u8) -> i64 {
        let bits = self.code_bits(halvings);
        let half = 1i64 << (bits - 1);
        let odd = (units >> bits) & 1;
        (units.wrapping_add(half - 1 + odd) >> bits).clamp(self.min_code, self.max_code)
    }
}
