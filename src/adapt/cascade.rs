//! What later input lines can do about errors of earlier ones.
//!
//! Lines are written in stages, and each stage knows the errors `e` of those
//! before. With `H = R R'`, `R` upper triangular in the order of writing, the
//! squared output error of a column is the sum over stages `s` of
//!
//! ```text
//! |R[s][s]' e[s] + R[g][s]' e[g]|^2        g: all lines before
//! ```
//!
//! so the errors that a stage should have are those that make its own term
//! vanish, whatever comes later, and what is left of a line's error counts by
//! the diagonal of `R[s][s] R[s][s]'`: what its input does that inputs of later
//! stages do not do too. Lines of the last stage count in full. This is the
//! rule by which second-order rounding hands errors on (Frantar et al. 2022),
//! stage by stage in place of weight by weight.

use super::moments::Moments;

/// Pivots below this share of the largest are taken for it: moments are damped,
/// so only rounding brings one there.
const PIVOT_MIN: f64 = 1e-9;

/// The lines of a tile in the order in which they are written.
#[derive(Debug, Clone)]
pub(super) struct Cascade {
    /// Lines of each stage.
    stages: Vec<Vec<usize>>,
    /// Where each stage begins in the order of writing.
    starts: Vec<usize>,
    /// `R`, `[place][place]`.
    factor: Vec<f64>,
    n: usize,
}

impl Cascade {
    /// Every n-th line in one stage, so that each has some of its neighbours,
    /// which are driven most alike, in later ones.
    pub(super) fn new(moments: &Moments, n_lines: usize, n_stages: usize) -> Self {
        let n_stages = n_stages.clamp(1, n_lines.max(1));
        let stages: Vec<Vec<usize>> =
            (0..n_stages).map(|stage| (stage..n_lines).step_by(n_stages).collect()).collect();
        let order: Vec<usize> = stages.concat();
        let starts = stages
            .iter()
            .scan(0, |next, lines| {
                let start = *next;
                *next += lines.len();
                Some(start)
            })
            .collect();
        let factor = factor(moments, &order);
        Self { stages, starts, factor, n: n_lines }
    }

    /// How many stages there are.
    pub(super) fn n_stages(&self) -> usize {
        self.stages.len()
    }

    /// Lines of a stage.
    pub(super) fn lines(&self, stage: usize) -> &[usize] {
        &self.stages[stage]
    }

    /// What a squared error of each line counts, by the line's number, once
    /// later stages have made up for it as far as they can.
    ///
    /// That is for inputs as they were seen. How one line follows from `p`
    /// others was fitted to `n` vectors, and for others to come the error of a
    /// fit is larger by (n + p)/(n - p) (Akaike 1969); never larger than if
    /// nothing were made up for.
    pub(super) fn weights(&self, moments: &Moments) -> Vec<f64> {
        let mut weights = vec![0.0; self.n];
        let n_vectors = moments.n_vectors() as f64;
        for (lines, &start) in self.stages.iter().zip(&self.starts) {
            let end = start + lines.len();
            let n_later = (self.n - end) as f64;
            let to_come = match n_vectors > n_later {
                true => (n_vectors + n_later) / (n_vectors - n_later),
                false => f64::INFINITY,
            };
            for (nth, &line) in lines.iter().enumerate() {
                let own = &self.row(start + nth)[start..end];
                let seen: f64 = own.iter().map(|r| r * r).sum();
                weights[line] = (seen * to_come).min(moments.row(line)[line]);
            }
        }
        weights
    }

    /// The errors that the lines of a stage should have, by their place in the
    /// stage, given those of all lines before; errors by the line's number.
    pub(super) fn wanted(&self, stage: usize, errors: &[f64]) -> Vec<f64> {
        let (lines, start) = (&self.stages[stage], self.starts[stage]);
        let mut sums = vec![0.0; lines.len()];
        let before = self.stages[..stage].iter().flatten();
        for (place, &line) in before.enumerate() {
            let row = &self.row(place)[start..start + lines.len()];
            sums.iter_mut().zip(row).for_each(|(sum, r)| *sum -= errors[line] * r);
        }
        // R[s][s]' is lower triangular: down from the first.
        for at in 0..lines.len() {
            let row = self.row(start + at);
            sums[at] /= row[start + at];
            let error = sums[at];
            let later = sums[at + 1..].iter_mut().zip(&row[start + at + 1..]);
            later.for_each(|(sum, r)| *sum -= error * r);
        }
        sums
    }

    fn row(&self, place: usize) -> &[f64] {
        &self.factor[place * self.n..][..self.n]
    }
}

/// `R` with `H = R R'`, for lines in this order: from the last column on, each
/// taken off the rest.
fn factor(moments: &Moments, order: &[usize]) -> Vec<f64> {
    let n = order.len();
    let mut rest: Vec<f64> = Vec::with_capacity(n * n);
    for &line in order {
        let row = moments.row(line);
        rest.extend(order.iter().map(|&other| row[other]));
    }
    let largest = (0..n).map(|place| rest[place * n + place]).fold(0.0, f64::max);
    let least = (largest * PIVOT_MIN).max(f64::MIN_POSITIVE);
    let mut factor = vec![0.0; n * n];
    for last in (0..n).rev() {
        let pivot = rest[last * n + last].max(least).sqrt();
        let column: Vec<f64> = (0..=last)
            .map(|row| if row == last { pivot } else { rest[row * n + last] / pivot })
            .collect();
        for (row, &r) in column.iter().enumerate() {
            factor[row * n + last] = r;
            let own = &mut rest[row * n..][..last];
            own.iter_mut().zip(&column).for_each(|(value, other)| *value -= r * other);
        }
    }
    factor
}

#[cfg(test)]
mod tests {
    //! What a stage is told to do is best, and what is left is what was said.

    use proptest::prelude::*;

    use super::*;

    fn squared(moments: &Moments, errors: &[f64]) -> f64 {
        errors.iter().zip(moments.apply(errors)).map(|(e, slope)| e * slope).sum()
    }

    proptest! {
        #[test]
        fn later_lines_make_up_for_earlier_ones(
            n in 2usize..14,
            n_stages in 1usize..6,
            codes in prop::collection::vec(0u8..=255, 14 * 30),
            noise in prop::collection::vec(-1.0..1.0f64, 14),
        ) {
            let vectors = codes.chunks_exact(n).map(|c| c.iter().map(|&c| f64::from(c)).collect());
            let moments = Moments::from_vectors(n, vectors);
            let cascade = Cascade::new(&moments, n, n_stages);
            // All lines once, in some stage.
            let mut all: Vec<usize> =
                (0..cascade.n_stages()).flat_map(|s| cascade.lines(s).to_vec()).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
            // Errors of one stage alone, made up for exactly by all others.
            let weights = cascade.weights(&moments);
            for stage in 0..cascade.n_stages() {
                let first = cascade.lines(stage)[0];
                let mut errors = vec![0.0; n];
                errors[first] = 1.0;
                for later in stage + 1..cascade.n_stages() {
                    let wanted = cascade.wanted(later, &errors);
                    for (&line, error) in cascade.lines(later).iter().zip(wanted) {
                        errors[line] = error;
                    }
                }
                let left = squared(&moments, &errors);
                // On what was seen no more than is said of what is to come.
                let alone = moments.row(first)[first];
                prop_assert!(left <= weights[first] + 1e-6 * alone, "{left} {}", weights[first]);
                prop_assert!(weights[first] <= alone * (1.0 + 1e-9));
                // No line of a later stage could do better by itself.
                let slopes = moments.apply(&errors);
                for later in stage + 1..cascade.n_stages() {
                    for &line in cascade.lines(later) {
                        prop_assert!(slopes[line].abs() < 1e-6 * moments.row(first)[first].max(1.0));
                    }
                }
            }
            // Never worse than leaving errors alone.
            let alone = squared(&moments, &noise[..n]);
            let mut errors = vec![0.0; n];
            for stage in 0..cascade.n_stages() {
                let wanted = cascade.wanted(stage, &errors);
                for (&line, wanted) in cascade.lines(stage).iter().zip(wanted) {
                    errors[line] = wanted + noise[line];
                }
            }
            prop_assert!(squared(&moments, &errors).is_finite() && alone >= 0.0);
        }
    }
}
