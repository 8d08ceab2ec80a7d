//! Cholesky factors: symmetric matrices as a triangle times its transpose.
//!
//! Hand-written for the order of its sums, as [`super::product`].

use super::product::LANES;

/// One value for each of some columns of a matrix of weights.
pub(super) type Columns = [f64; LANES];

/// Share of the mean diagonal that is added to it, so that inputs which hardly
/// varied in the sample do not let weights wander (Frantar et al. 2022,
/// section 3.3).
const DAMPING: f64 = 0.01;

/// The curvature `H` of a layer's squared error: how errors of its weights act
/// together. Rows are put in order, those of the least diagonal first.
#[derive(Debug)]
pub(super) struct Curvature {
    /// The row of the layer at each place.
    pub order: Vec<usize>,
    /// `H` in that order, damped.
    damped: Vec<f64>,
    /// `L` of `H = L L^T`.
    lower: Vec<f64>,
}

impl Curvature {
    /// Of a symmetric matrix, `[row][row]`, without negative eigenvalues.
    pub(super) fn new(gram: &[f64], n: usize) -> Self {
        let diagonal: Vec<f64> = (0..n).map(|row| gram[row * n + row]).collect();
        let mean = diagonal.iter().sum::<f64>() / n.max(1) as f64;
        // Without any input all errors count alike.
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|&a, &b| diagonal[a].total_cmp(&diagonal[b]).then(b.cmp(&a)));
        let mut damped = Vec::with_capacity(n * n);
        for &row in &order {
            damped.extend(
                order.iter().map(|&column| {
                    gram[row * n + column] + if row == column { damping } else { 0.0 }
                }),
            );
        }
        let lower = cholesky(damped.clone(), n, damping);
        Self { order, damped, lower }
    }

    /// Rows.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// One row of `H`.
    pub(super) fn row(&self, place: usize) -> &[f64] {
        &self.damped[place * self.len()..][..self.len()]
    }

    /// One row of `L`, up to its diagonal.
    pub(super) fn lower(&self, place: usize) -> &[f64] {
        &self.lower[place * self.len()..][..=place]
    }

    /// `H^-1 values`, in place.
    pub(super) fn solve(&self, values: &mut [Columns]) {
        for place in 0..self.len() {
            let row = self.lower(place);
            let (before, rest) = values.split_at_mut(place);
            let value = &mut rest[0];
            for (&factor, known) in row.iter().zip(&*before) {
                subtract(value, factor, known);
            }
            value.iter_mut().for_each(|v| *v /= row[place]);
        }
        for place in (0..self.len()).rev() {
            let row = self.lower(place);
            let (before, rest) = values.split_at_mut(place);
            let value = &mut rest[0];
            value.iter_mut().for_each(|v| *v /= row[place]);
            for (&factor, unknown) in row.iter().zip(before) {
                subtract(unknown, factor, value);
            }
        }
    }
}

fn subtract(from: &mut Columns, factor: f64, values: &Columns) {
    from.iter_mut().zip(values).for_each(|(from, value)| *from -= factor * value);
}

/// The lower triangle, in place, row by row. What rounding has left of a pivot
/// is at least `least`.
fn cholesky(mut matrix: Vec<f64>, n: usize, least: f64) -> Vec<f64> {
    for row in 0..n {
        let (done, own) = matrix.split_at_mut(row * n);
        let own = &mut own[..n];
        for column in 0..row {
            let other = &done[column * n..][..=column];
            own[column] = (own[column] - dot(&own[..column], other)) / other[column];
        }
        own[row] = (own[row] - dot(&own[..row], &own[..row])).max(least * 1e-3).sqrt();
    }
    matrix
}

/// In lanes, so that the compiler may use vectors without changing the order
/// of the sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_lanes.remainder().iter().zip(&b[a.len() - a.len() % LANES..]);
    let rest: f64 = rest.map(|(a, b)| a * b).sum();
    let mut sums = [0.0; LANES];
    for (a, b) in a_lanes.zip(b_lanes) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    //! A factor gives back what it was made from.

    use super::*;

    #[test]
    fn solving_undoes_the_product() {
        let n = 21;
        let wave = |i: usize| ((i * i * 7 + i * 3) % 23) as f64 / 23.0 - 0.5;
        let data: Vec<f64> = (0..3 * n * n).map(wave).collect();
        let gram: Vec<f64> = (0..n * n)
            .map(|at| data.chunks_exact(n).map(|row| row[at / n] * row[at % n]).sum())
            .collect();
        let curvature = Curvature::new(&gram, n);
        let wanted: Vec<Columns> =
            (0..n).map(|i| [wave(i), 1.0, 0.0, i as f64, -1.0, 2.0, 0.5, 3.0]).collect();
        let mut values: Vec<Columns> = (0..n)
            .map(|place| {
                let row = curvature.row(place);
                std::array::from_fn(|c| row.iter().zip(&wanted).map(|(h, w)| h * w[c]).sum())
            })
            .collect();
        curvature.solve(&mut values);
        for (found, wanted) in values.iter().flatten().zip(wanted.iter().flatten()) {
            assert!((found - wanted).abs() < 1e-8, "{found} and {wanted}");
        }
    }
}
