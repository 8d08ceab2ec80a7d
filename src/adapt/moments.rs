//! What drives the lines of a tile together.

use crate::mapping::WeightTile;
use crate::quantize::Calibration;
use crate::schedule::ExecutionPlan;

/// Share of the mean square that is added to each line's own, so that inputs
/// which hardly varied in the sample do not let weights wander (Frantar et al.
/// 2022, section 3.3).
const DAMPING: f64 = 0.01;

/// Mean products of the codes of a tile's input lines, damped.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moments {
    n: usize,
    /// `[line][line]`.
    values: Vec<f64>,
}

impl Moments {
    /// Of a tile, from the vectors that the calibration kept of its layer.
    pub(super) fn new(plan: &ExecutionPlan, place: &WeightTile, calibration: &Calibration) -> Self {
        let n = place.n_inputs() as usize;
        let Some(layer) = plan.layers.get(&place.layer) else { return Self::alike(n) };
        let n_rows = layer.nest.n_rows();
        let length = layer.nest.n_groups() * n_rows;
        let statistics = calibration.layers.get(&layer.name);
        let Some(statistics) = statistics.filter(|known| known.sample_length == length) else {
            return Self::alike(n);
        };
        let lines: Vec<usize> = place
            .groups
            .clone()
            .flat_map(|group| {
                place.rows.clone().map(move |row| group as usize * n_rows + row as usize)
            })
            .collect();
        let samples = statistics.samples.chunks_exact(length.max(1));
        Self::from_vectors(
            n,
            samples.map(|sample| {
                lines.iter().map(|&line| f64::from(layer.coding.encode(sample[line]))).collect()
            }),
        )
    }

    /// Mean products of these vectors.
    pub(super) fn from_vectors(n: usize, vectors: impl Iterator<Item = Vec<f64>>) -> Self {
        let mut values = vec![0.0; n * n];
        let mut n_vectors = 0.0;
        for vector in vectors {
            n_vectors += 1.0;
            for (row, &factor) in values.chunks_exact_mut(n.max(1)).zip(&vector) {
                if factor != 0.0 {
                    row.iter_mut().zip(&vector).for_each(|(value, code)| *value += factor * code);
                }
            }
        }
        let trace: f64 = (0..n).map(|line| values[line * n + line]).sum();
        if trace == 0.0 {
            return Self::alike(n);
        }
        values.iter_mut().for_each(|value| *value /= n_vectors);
        let damping = DAMPING * trace / n_vectors / n as f64;
        (0..n).for_each(|line| values[line * n + line] += damping);
        Self { n, values }
    }

    /// Independent and alike: all that can be said of inputs never seen.
    pub(super) fn alike(n: usize) -> Self {
        let values = (0..n * n).map(|at| f64::from(u8::from(at % (n + 1) == 0))).collect();
        Self { n, values }
    }

    /// Mean products of one line's code with all.
    pub(super) fn row(&self, line: usize) -> &[f64] {
        &self.values[line * self.n..][..self.n]
    }

    /// `H errors`, and with that their squared error.
    pub(super) fn apply(&self, errors: &[f64]) -> Vec<f64> {
        let mut result = vec![0.0; self.n];
        for (line, &error) in errors.iter().enumerate() {
            // Most are zero before anything is fed back.
            if error != 0.0 {
                result.iter_mut().zip(self.row(line)).for_each(|(sum, h)| *sum += error * h);
            }
        }
        result
    }
}
