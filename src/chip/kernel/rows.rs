//! What each line of a tile adds to each value that is converted.

use super::Group;
use super::pattern::MAX_LINES;
use crate::chip::{Chip, Converter};
use crate::mapping::WeightTile;
use crate::target::Subtract;

/// Contributions of one line to one value, and sums of them.
pub(super) struct Rows {
    n_inputs: usize,
    n_values: usize,
    /// In uS, `[line][value]`.
    currents: Vec<f64>,
    /// Variances of a reading in uS^2, laid out alike; empty without noise.
    variances: Vec<f64>,
    /// Of each value, what its conversion adds to a current in uS and to its
    /// variance in uS^2, whatever is driven; empty if it adds nothing.
    conversions: Vec<(f64, f64)>,
    /// Of each value, the bow of its ADC in codes; empty if there is none.
    bows: Vec<f64>,
}

/// Room for a sum for every pattern of a group.
pub(super) type Sums = [f64; 1 << MAX_LINES];

impl Rows {
    /// Reads the cells of a tile; `None` if the chip has no such PE or the tile
    /// leaves it.
    pub(super) fn new(chip: &Chip, place: &WeightTile, subtract: Subtract) -> Option<Self> {
        let cells = chip.conductances_us.get(&place.pe)?;
        let n_outputs = chip.pe.outputs as usize;
        let (n_inputs, n_pairs) = (place.n_inputs() as usize, place.n_pairs() as usize);
        let noise = chip.read_noise_fraction * chip.read_noise_fraction;
        let n_values = match subtract {
            Subtract::BeforeConversion => n_pairs,
            Subtract::AfterConversion => 2 * n_pairs,
        };
        let mut rows = Self {
            n_inputs,
            n_values,
            currents: Vec::new(),
            variances: Vec::new(),
            conversions: Vec::new(),
            bows: Vec::new(),
        };
        for line in 0..n_inputs {
            let start = (place.input_line as usize + line) * n_outputs + place.output_line as usize;
            let lines = cells.get(start..start + 2 * n_pairs)?;
            let cell = |line: usize| f64::from(lines[line]);
            for value in 0..n_values {
                let (current, squares) = match subtract {
                    Subtract::BeforeConversion => {
                        let (positive, negative) = (cell(2 * value), cell(2 * value + 1));
                        (positive - negative, positive * positive + negative * negative)
                    }
                    Subtract::AfterConversion => (cell(value), cell(value) * cell(value)),
                };
                rows.currents.push(current);
                if noise > 0.0 {
                    rows.variances.push(noise * squares);
                }
            }
        }
        Some(rows)
    }

    /// The same as seen by these ADCs, one a value: what they do to every
    /// current alike is done to the lines that make it up.
    pub(super) fn converted(mut self, converters: &[&Converter], step_us: f64) -> Self {
        for currents in self.currents.chunks_exact_mut(self.n_values.max(1)) {
            currents.iter_mut().zip(converters).for_each(|(current, own)| *current *= own.gain);
        }
        if converters.iter().any(|own| own.noise_codes > 0.0) && self.variances.is_empty() {
            self.variances = vec![0.0; self.currents.len()];
        }
        for variances in self.variances.chunks_exact_mut(self.n_values.max(1)) {
            let own = variances.iter_mut().zip(converters);
            own.for_each(|(variance, own)| *variance *= own.gain * own.gain);
        }
        let us = |codes: f64| codes * step_us;
        let added = |own: &&Converter| {
            let noise_us = us(own.noise_codes);
            (us(own.offset_codes), noise_us * noise_us)
        };
        self.conversions = converters.iter().map(added).collect();
        if self.conversions.iter().all(|&added| added == (0.0, 0.0)) {
            self.conversions.clear();
        }
        if converters.iter().any(|own| own.bow_codes != 0.0) {
            self.bows = converters.iter().map(|own| own.bow_codes).collect();
        }
        self
    }

    /// Contributions of all lines to all values, in uS.
    #[cfg(test)]
    pub(super) fn currents(&self) -> &[f64] {
        &self.currents
    }

    /// Whether a plane without a driven line is sure to be converted to 0.
    pub(super) fn rest_at_zero(&self) -> bool {
        self.conversions.is_empty() && self.bows.is_empty()
    }

    /// Of each value, the bow of its ADC in codes; empty if there is none.
    pub(super) fn bows(&self) -> &[f64] {
        &self.bows
    }

    /// Whether all currents are whole multiples of a step.
    pub(super) fn are_whole(&self, step_us: f64) -> bool {
        let offsets = self.conversions.iter().map(|(offset, _)| offset);
        self.currents.iter().chain(offsets).all(|us| (us / step_us).fract() == 0.0)
    }

    pub(super) fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    pub(super) fn n_values(&self) -> usize {
        self.n_values
    }

    pub(super) fn has_noise(&self) -> bool {
        !self.variances.is_empty()
    }

    /// Current of a value in uS for every pattern of a group.
    pub(super) fn sums<'s>(&self, group: &Group, value: usize, sums: &'s mut Sums) -> &'s [f64] {
        self.tabulate(&self.currents, group, value, self.added(value).0, sums)
    }

    /// Variance of a value in uS^2 for every pattern of a group.
    pub(super) fn variances<'s>(
        &self,
        group: &Group,
        value: usize,
        sums: &'s mut Sums,
    ) -> &'s [f64] {
        self.tabulate(&self.variances, group, value, self.added(value).1, sums)
    }

    /// What its conversion adds to a value and to its variance.
    fn added(&self, value: usize) -> (f64, f64) {
        self.conversions.get(value).copied().unwrap_or_default()
    }

    /// `added` is put in the first group's sums, of which every plane has one.
    fn tabulate<'s>(
        &self,
        table: &[f64],
        group: &Group,
        value: usize,
        added: f64,
        sums: &'s mut Sums,
    ) -> &'s [f64] {
        let sums = &mut sums[..group.n_patterns()];
        sums[0] = if group.first_row == 0 { added } else { 0.0 };
        for (bit, line) in group.lines.iter().enumerate() {
            let own = line.map_or(0.0, |line| table[line as usize * self.n_values + value]);
            // Patterns whose highest bit is this line: the pattern without it
            // is there already.
            let (below, above) = sums.split_at_mut(1 << bit);
            for (sum, below) in above.iter_mut().zip(below) {
                *sum = *below + own;
            }
        }
        sums
    }

    /// The largest current in uS that any pattern gives, of either sign.
    pub(super) fn largest_current_us(&self) -> f64 {
        let (mut positive, mut negative) = (vec![0.0; self.n_values], vec![0.0; self.n_values]);
        for line in self.currents.chunks_exact(self.n_values.max(1)) {
            for ((current, positive), negative) in line.iter().zip(&mut positive).zip(&mut negative)
            {
                *(if *current > 0.0 { positive } else { negative }) += *current;
            }
        }
        let offsets = self.conversions.iter().map(|(offset, _)| offset.abs());
        let largest = positive.iter().chain(&negative).map(|current: &f64| current.abs());
        largest.fold(0.0, f64::max) + offsets.fold(0.0, f64::max)
    }

    /// The largest variance in uS^2 that any pattern gives.
    pub(super) fn largest_variance_us2(&self) -> f64 {
        let mut sums: Vec<f64> = (0..self.n_values).map(|value| self.added(value).1).collect();
        for line in self.variances.chunks_exact(self.n_values.max(1)) {
            for (sum, variance) in sums.iter_mut().zip(line) {
                *sum += variance;
            }
        }
        sums.into_iter().fold(0.0, f64::max)
    }
}
