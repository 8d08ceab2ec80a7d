//! Products of matrices with a fixed order of sums.
//!
//! Hand-written because the sums must come out alike on every machine and for
//! any number of threads: libraries choose fused multiply-adds and the size
//! of their blocks by processor.

use rayon::prelude::*;

use crate::chip::{Instructions, Simd, Task};

/// Columns of a [`Matrix`] are padded to a multiple of this.
pub(super) const LANES: usize = 8;

/// Rows worked on together.
const ROWS: usize = 4;

/// Terms summed up in f32 before they are added in f64.
const RUN: usize = 256;

/// Rows of the result that one task makes.
const TASK_ROWS: usize = 16;

/// `[row][column]`, rows padded with zeros to [`LANES`].
#[derive(Debug, Clone)]
pub(super) struct Matrix {
    pub n_rows: usize,
    pub n_columns: usize,
    pub stride: usize,
    pub values: Vec<f32>,
}

impl Matrix {
    /// All zeros.
    pub(super) fn zeros(n_rows: usize, n_columns: usize) -> Self {
        let stride = n_columns.next_multiple_of(LANES);
        Self { n_rows, n_columns, stride, values: vec![0.0; n_rows * stride] }
    }

    /// From rows without padding.
    pub(super) fn from_rows(values: impl Iterator<Item = f32>, n_columns: usize) -> Self {
        let values: Vec<f32> = values.collect();
        let mut matrix = Self::zeros(values.len() / n_columns.max(1), n_columns);
        let rows = matrix.values.chunks_exact_mut(matrix.stride.max(1));
        for (row, own) in rows.zip(values.chunks_exact(n_columns.max(1))) {
            row[..n_columns].copy_from_slice(own);
        }
        matrix
    }

    /// The values of one row.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.stride..][..self.n_columns]
    }

    /// The values of one row.
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.stride..][..self.n_columns]
    }
}

/// `left x right`, `[row of left][column of right]` without padding.
pub(super) fn product(left: &Matrix, right: &Matrix) -> Vec<f64> {
    let strides = Strides { sum: 1, row: left.stride };
    multiply(&left.values, strides, left.n_rows, right, |_| 0)
}

/// `left^T x right`, `[column of left][column of right]` without padding.
pub(super) fn transposed_product(left: &Matrix, right: &Matrix) -> Vec<f64> {
    let strides = Strides { sum: left.stride, row: 1 };
    multiply(&left.values, strides, left.n_columns, right, |_| 0)
}

/// `own^T x own`, which is symmetric.
pub(super) fn gram(own: &Matrix) -> Vec<f64> {
    let strides = Strides { sum: own.stride, row: 1 };
    let n = own.n_columns;
    let mut gram = multiply(&own.values, strides, n, own, |row| row);
    for row in 0..n {
        for column in 0..row {
            gram[row * n + column] = gram[column * n + row];
        }
    }
    gram
}

/// Steps through the left matrix: along the sum, and from one row of the
/// result to the next.
#[derive(Clone, Copy)]
struct Strides {
    sum: usize,
    row: usize,
}

/// Sums over the rows of `right`; columns before `first(row)` may be left out.
fn multiply(
    left: &[f32],
    strides: Strides,
    n_rows: usize,
    right: &Matrix,
    first: impl Fn(usize) -> usize + Sync,
) -> Vec<f64> {
    let n_columns = right.n_columns;
    let mut result = vec![0.0; n_rows * n_columns];
    let tasks = result.par_chunks_mut((TASK_ROWS * n_columns).max(1)).enumerate();
    tasks.for_each(|(task, result)| {
        let start = task * TASK_ROWS;
        let rows = Rows { left, strides, start, right, first: first(start), result };
        Instructions::detect().run(rows);
    });
    result
}

/// Some rows of a product. Widest registers, but no fused multiply-adds: sums
/// are those of any machine.
struct Rows<'a> {
    left: &'a [f32],
    strides: Strides,
    /// The first row.
    start: usize,
    right: &'a Matrix,
    /// The first column that is wanted.
    first: usize,
    result: &'a mut [f64],
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { left, strides, start, right, first, result } = self;
        let (n_columns, stride) = (right.n_columns, right.stride);
        let n_own = result.len() / n_columns;
        for run in (0..right.n_rows).step_by(RUN) {
            let n_terms = RUN.min(right.n_rows - run);
            for block in first / LANES..stride / LANES {
                let terms = right.values[run * stride + block * LANES..].chunks(stride);
                for own in (0..n_own).step_by(ROWS) {
                    let n = ROWS.min(n_own - own);
                    // A row that is missing repeats the last; nobody reads its sum.
                    let row = |nth: usize| nth.min(n - 1) * strides.row;
                    let rows = [row(0), row(1), row(2), row(3)];
                    let left = &left[run * strides.sum + (start + own) * strides.row..];
                    let mut sums = [[0f32; LANES]; ROWS];
                    for (term, right) in terms.clone().take(n_terms).enumerate() {
                        let left = &left[term * strides.sum..];
                        let factors = [left[rows[0]], left[rows[1]], left[rows[2]], left[rows[3]]];
                        add_term(&mut sums, factors, right);
                    }
                    for (row, sums) in sums[..n].iter().enumerate() {
                        let result = &mut result[(own + row) * n_columns..][..n_columns];
                        let result = result[block * LANES..].iter_mut();
                        result.zip(sums).for_each(|(sum, &run)| *sum += f64::from(run));
                    }
                }
            }
        }
    }
}

/// Adds every factor times the first values of a row.
#[inline(always)]
fn add_term(sums: &mut [[f32; LANES]; ROWS], factors: [f32; ROWS], right: &[f32]) {
    let right = &right[..LANES];
    for (sums, factor) in sums.iter_mut().zip(factors) {
        for (sum, &value) in sums.iter_mut().zip(right) {
            *sum += factor * value;
        }
    }
}

#[cfg(test)]
mod tests {
    //! Sums are those of the definition, whatever the shape.

    use super::*;
    use proptest::prelude::*;

    fn naive(n: usize, sum: impl Fn(usize, usize, usize) -> f32, sizes: [usize; 2]) -> Vec<f64> {
        let cells = (0..sizes[0]).flat_map(|i| (0..sizes[1]).map(move |j| (i, j)));
        cells.map(|(i, j)| (0..n).map(|k| f64::from(sum(k, i, j))).sum()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn products_are_exact_for_small_integers(
            n in 1usize..600, a in 1usize..40, b in 1usize..20, seed in any::<u32>()
        ) {
            let number = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) ^ seed) % 15;
            let value = |i: usize| number(i) as f32 - 7.0;
            let left = Matrix::from_rows((0..n * a).map(value), a);
            let right = Matrix::from_rows((0..n * b).map(|i| value(i + 99)), b);
            let sum = |k: usize, i: usize, j: usize| left.row(k)[i] * right.row(k)[j];
            prop_assert_eq!(transposed_product(&left, &right), naive(n, sum, [a, b]));
            let square = |k: usize, i: usize, j: usize| left.row(k)[i] * left.row(k)[j];
            prop_assert_eq!(gram(&left), naive(n, square, [a, a]));
            let other = Matrix::from_rows((0..a * b).map(value), b);
            let sum = |k: usize, i: usize, j: usize| left.row(i)[k] * other.row(k)[j];
            prop_assert_eq!(product(&left, &other), naive(a, sum, [n, b]));
        }
    }
}
