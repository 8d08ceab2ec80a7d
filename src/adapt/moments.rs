//! What drives the lines of a tile together.

use std::borrow::Cow;

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
    /// Vectors that they are the means of; 0 where none was seen.
    n_vectors: usize,
    /// What noise of a reading counts on each line: each plane that drives it
    /// has its own, and plane k weighs 2^k, so the mean sum of their 4^k.
    noise: Vec<f64>,
    /// The mean code of each line.
    means: Vec<f64>,
}

impl Moments {
    /// Of a tile, from the vectors that the calibration kept of its layer.
    pub(super) fn new(plan: &ExecutionPlan, place: &WeightTile, calibration: &Calibration) -> Self {
        let n = place.n_inputs() as usize;
        let Some(layer) = plan.layers.get(&place.layer) else { return Self::alike(n) };
        let n_rows = layer.nest.n_rows();
        let length = layer.nest.n_groups() * n_rows;
        let kernel = layer.unrolled.as_ref().map_or(&layer.nest, |unrolling| &unrolling.kernel);
        let seen = kernel.n_groups() * kernel.n_rows();
        let statistics = calibration.layers.get(&layer.name);
        let Some(statistics) = statistics.filter(|known| known.sample_length == seen) else {
            return Self::alike(n);
        };
        let samples: Cow<'_, [f32]> = match &layer.unrolled {
            Some(unrolling) => unrolling.samples(&statistics.samples).into(),
            None => (&statistics.samples).into(),
        };
        let lines: Vec<usize> = place
            .groups
            .clone()
            .flat_map(|group| {
                place.rows.clone().map(move |row| group as usize * n_rows + row as usize)
            })
            .collect();
        let samples = samples.chunks_exact(length.max(1));
        let codes = |sample: &[f32]| -> Vec<i32> {
            lines.iter().map(|&line| layer.coding.encode(sample[line])).collect()
        };
        let vectors = samples.clone().map(codes);
        let mut moments =
            Self::from_vectors(n, vectors.map(|codes| codes.into_iter().map(f64::from).collect()));
        if moments.n_vectors > 0 {
            let mut noise = vec![0.0; n];
            for sample in samples {
                let planes = codes(sample).into_iter().map(|code| planes(code, layer.coding.bits));
                noise.iter_mut().zip(planes).for_each(|(sum, planes)| *sum += planes);
            }
            noise.iter_mut().for_each(|sum| *sum /= moments.n_vectors as f64);
            moments.noise = noise;
        }
        moments
    }

    /// Mean products of these vectors.
    pub(super) fn from_vectors(n: usize, vectors: impl Iterator<Item = Vec<f64>>) -> Self {
        let mut values = vec![0.0; n * n];
        let mut sums = vec![0.0; n];
        let mut n_vectors = 0u32;
        for vector in vectors {
            n_vectors += 1;
            sums.iter_mut().zip(&vector).for_each(|(sum, code)| *sum += code);
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
        values.iter_mut().for_each(|value| *value /= f64::from(n_vectors));
        let means: Vec<f64> = sums.iter().map(|sum| sum / f64::from(n_vectors)).collect();
        let damping = DAMPING * trace / f64::from(n_vectors) / n as f64;
        (0..n).for_each(|line| values[line * n + line] += damping);
        let noise = (0..n).map(|line| values[line * n + line]).collect();
        Self { n, values, n_vectors: n_vectors as usize, noise, means }
    }

    /// The same, but for what an error does to outputs of all inputs alike:
    /// that counts this much, from 0 to 1.
    ///
    /// `H = C + m m'`, covariance and means: `e' C e` is how an output varies
    /// by the error, `(m' e)^2` the square by which it is always off.
    pub(super) fn with_offsets_counting(mut self, weight: f64) -> Self {
        let means = &self.means;
        for (row, a) in self.values.chunks_exact_mut(self.n.max(1)).zip(means) {
            row.iter_mut().zip(means).for_each(|(value, b)| *value -= (1.0 - weight) * a * b);
        }
        self
    }

    /// Independent and alike: all that can be said of inputs never seen.
    pub(super) fn alike(n: usize) -> Self {
        let values = (0..n * n).map(|at| f64::from(u8::from(at % (n + 1) == 0))).collect();
        Self { n, values, n_vectors: 0, noise: vec![1.0; n], means: vec![0.0; n] }
    }

    /// Vectors that were seen; 0 for none.
    pub(super) fn n_vectors(&self) -> usize {
        self.n_vectors
    }

    /// What the variance of a reading counts on each line, beside what a
    /// squared error counts.
    pub(super) fn noise(&self) -> &[f64] {
        &self.noise
    }

    /// Mean products of one line's code with all.
    pub(super) fn row(&self, line: usize) -> &[f64] {
        &self.values[line * self.n..][..self.n]
    }

    /// Mean squares of all lines' codes together.
    pub(super) fn trace(&self) -> f64 {
        (0..self.n).map(|line| self.row(line)[line]).sum()
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

/// The sum of 4^k over the planes k that a code drives its line in.
fn planes(code: i32, bits: u8) -> f64 {
    let driven = (code as u32) & u32::MAX.checked_shr(32 - u32::from(bits)).unwrap_or(0);
    (0..bits)
        .filter(|plane| driven >> plane & 1 == 1)
        .map(|plane| f64::from(1u32 << plane))
        .map(|w| w * w)
        .sum()
}
