//! Sums of products over many lanes at once: what backward rules of products
//! spend their time on.
//!
//! Lanes are results of their own, and what is added to each comes in one order,
//! a multiplication and an addition at a time. So sums are the same on every
//! machine, however wide its registers.

use crate::chip::{Instructions, Simd, Task};

/// Terms that are added before a lane is written back.
const AT_ONCE: usize = 4;

/// Puts into `sums` the sum over factors of factor times its lanes, which lie in
/// `terms` one after the other, `[factor][lane]`.
pub(super) fn weighted_sum(factors: &[f32], terms: &[f32], sums: &mut [f32]) {
    Instructions::detect().run(WeightedSum { factors, terms, sums });
}

struct WeightedSum<'a> {
    factors: &'a [f32],
    terms: &'a [f32],
    sums: &'a mut [f32],
}

impl Task for WeightedSum<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { factors, terms, sums } = self;
        let n = sums.len();
        sums.fill(0.0);
        // Half of all errors are zero behind a ReLU.
        let mut ready: [(f32, &[f32]); AT_ONCE] = [(0.0, &[]); AT_ONCE];
        let mut n_ready = 0;
        for (&factor, terms) in factors.iter().zip(terms.chunks_exact(n.max(1))) {
            if factor == 0.0 {
                continue;
            }
            ready[n_ready] = (factor, terms);
            n_ready += 1;
            if n_ready == AT_ONCE {
                let [(a, x), (b, y), (c, z), (d, w)] = ready;
                let lanes = sums.iter_mut().zip(x).zip(y).zip(z).zip(w);
                lanes.for_each(|((((sum, x), y), z), w)| {
                    *sum = *sum + a * x + b * y + c * z + d * w;
                });
                n_ready = 0;
            }
        }
        for &(factor, terms) in &ready[..n_ready] {
            sums.iter_mut().zip(terms).for_each(|(sum, x)| *sum += factor * x);
        }
    }
}

/// Adds to each row of `sums` its factor times the lanes, of so many terms after
/// one another: `factors` are `[term][row]`, `lanes` `[term][lane]`.
pub(super) fn add_outer(factors: &[f32], lanes: &[f32], n_rows: usize, sums: &mut [f32]) {
    Instructions::detect().run(Outer { factors, lanes, n_rows, sums });
}

struct Outer<'a> {
    factors: &'a [f32],
    lanes: &'a [f32],
    n_rows: usize,
    sums: &'a mut [f32],
}

impl Task for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self) {
        let Self { factors, lanes, n_rows, sums } = self;
        let n = sums.len() / n_rows.max(1);
        let some = factors.chunks(AT_ONCE * n_rows.max(1)).zip(lanes.chunks(AT_ONCE * n.max(1)));
        for (factors, lanes) in some {
            if factors.len() < AT_ONCE * n_rows {
                let terms = factors.chunks_exact(n_rows.max(1)).zip(lanes.chunks_exact(n.max(1)));
                for (factors, lanes) in terms {
                    for (&factor, sums) in factors.iter().zip(sums.chunks_exact_mut(n.max(1))) {
                        if factor != 0.0 {
                            sums.iter_mut().zip(lanes).for_each(|(sum, x)| *sum += factor * x);
                        }
                    }
                }
                continue;
            }
            let (x, rest) = lanes.split_at(n);
            let (y, rest) = rest.split_at(n);
            let (z, w) = rest.split_at(n);
            for (row, sums) in sums.chunks_exact_mut(n.max(1)).enumerate() {
                let [a, b, c, d] = [0, 1, 2, 3].map(|term| factors[term * n_rows + row]);
                if [a, b, c, d] != [0.0; AT_ONCE] {
                    let lanes = sums.iter_mut().zip(x).zip(y).zip(z).zip(w);
                    lanes.for_each(|((((sum, x), y), z), w)| {
                        *sum = *sum + a * x + b * y + c * z + d * w;
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! Against sums made one lane after the other.

    use super::*;
    use crate::chip::normals;

    #[test]
    fn lanes_are_summed_in_order() {
        for (n_factors, n_lanes) in [(0, 5), (1, 1), (3, 16), (4, 33), (11, 144), (64, 577)] {
            let mut factors = normals(1, n_factors);
            factors.iter_mut().skip(2).step_by(3).for_each(|factor| *factor = 0.0);
            let terms = normals(2, n_factors * n_lanes);
            let mut sums = normals(3, n_lanes);
            weighted_sum(&factors, &terms, &mut sums);
            for (lane, sum) in sums.iter().enumerate() {
                let products = (0..n_factors).map(|nth| factors[nth] * terms[nth * n_lanes + lane]);
                assert_eq!(*sum, products.fold(0.0, |sum, own| sum + own), "{n_factors} {lane}");
            }
        }
    }

    #[test]
    fn outer_products_are_added_in_order() {
        for (n_terms, n_rows, n_lanes) in [(1, 3, 2), (4, 1, 1), (11, 27, 64), (8, 5, 33)] {
            let mut factors = normals(1, n_terms * n_rows);
            factors.iter_mut().step_by(3).for_each(|factor| *factor = 0.0);
            let lanes = normals(2, n_terms * n_lanes);
            let before = normals(3, n_rows * n_lanes);
            let mut sums = before.clone();
            add_outer(&factors, &lanes, n_rows, &mut sums);
            for (at, sum) in sums.iter().enumerate() {
                let (row, lane) = (at / n_lanes, at % n_lanes);
                let own = |term| factors[term * n_rows + row] * lanes[term * n_lanes + lane];
                let wanted = (0..n_terms).map(own).fold(before[at], |sum, own| sum + own);
                assert_eq!(*sum, wanted, "{n_terms} {row} {lane}");
            }
        }
    }
}
