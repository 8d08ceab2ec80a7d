//! What each line of a tile adds to each value that is converted.

use super::Group;
use super::pattern::MAX_LINES;
use crate::chip::Chip;
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
}

/// A sum for every pattern of a group.
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
        let mut rows = Self { n_inputs, n_values, currents: Vec::new(), variances: Vec::new() };
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

    pub(super) fn n_inputs(&self) -> usize {
        self.n_inputs
    }

    pub(super) fn n_values(&self) -> usize {
        self.n_values
    }

    pub(super) fn has_noise(&self) -> bool {
        !self.variances.is_empty()
    }

    /// Contributions of all lines to all values, in uS.
    pub(super) fn currents(&self) -> &[f64] {
        &self.currents
    }

    /// Current of a value in uS for every pattern of a group.
    pub(super) fn sums(&self, group: &Group, value: usize) -> Sums {
        self.tabulate(&self.currents, group, value)
    }

    /// Variance of a value in uS^2 for every pattern of a group.
    pub(super) fn variances(&self, group: &Group, value: usize) -> Sums {
        self.tabulate(&self.variances, group, value)
    }

    fn tabulate(&self, table: &[f64], group: &Group, value: usize) -> Sums {
        let mut sums = [0.0; _];
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
        let largest = positive.iter().chain(&negative).map(|current: &f64| current.abs());
        largest.fold(0.0, f64::max)
    }

    /// The largest variance in uS^2 that any pattern gives.
    pub(super) fn largest_variance_us2(&self) -> f64 {
        let mut sums = vec![0.0; self.n_values];
        for line in self.variances.chunks_exact(self.n_values.max(1)) {
            for (sum, variance) in sums.iter_mut().zip(line) {
                *sum += variance;
            }
        }
        sums.into_iter().fold(0.0, f64::max)
    }
}
