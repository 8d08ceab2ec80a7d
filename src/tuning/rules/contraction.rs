//! Products of two activations, as attention has them: scores of queries and
//! keys, mixtures of values.
//!
//! A product sums, over loops that its result has no axis for, products of a
//! value of either input. Each input's gradient is such a product too, of the
//! other input and the gradient of the result, over the same loops.

use crate::graph::{ProductAxes, unflatten};

/// A product, ready to be walked. Everything is of one sample.
#[derive(Debug, Clone)]
pub(in crate::tuning) struct Contraction {
    /// Where a turn of the inner loop begins, in the first input, the second,
    /// the result.
    starts: Vec<[u32; 3]>,
    /// Turns of the inner loop, and its steps.
    n_inner: usize,
    steps: [usize; 3],
    n_results: usize,
}

impl Contraction {
    /// A product of tensors of these shapes; `None` where loops do not fit
    /// them, or are more than a training could walk.
    pub fn new(axes: &ProductAxes, inputs: [&[usize]; 2], output: &[usize]) -> Option<Self> {
        /// Turns of the outer loops at most.
        const STARTS_MAX: usize = 1 << 24;
        let shapes = [inputs[0], inputs[1], output];
        let strides = shapes.map(crate::runtime::strides);
        let (mut extents, mut steps) = (Vec::new(), Vec::new());
        for axes in &axes.loops {
            let mut extent = 1;
            for (shape, axis) in shapes.iter().zip(axes) {
                extent = axis.map_or(Some(1), |axis| shape.get(axis).copied())?.max(extent);
            }
            let mut step = [0; 3];
            for (nth, axis) in axes.iter().enumerate() {
                let Some(axis) = *axis else { continue };
                match shapes[nth][axis] {
                    // Broadcast: it does not move with the loop.
                    1 => {}
                    own if own == extent => step[nth] = strides[nth][axis],
                    _ => return None,
                }
            }
            extents.push(extent);
            steps.push(step);
        }
        let (n_inner, inner) = (extents.pop()?, steps.pop()?);
        let n_outer = extents.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent))?;
        if n_outer > STARTS_MAX {
            return None;
        }
        let start = |turn: usize| {
            let mut start = [0u32; 3];
            for (counter, step) in unflatten(turn, &extents).into_iter().zip(&steps) {
                start.iter_mut().zip(step).for_each(|(at, step)| *at += (counter * step) as u32);
            }
            start
        };
        let starts = (0..n_outer).map(start).collect();
        Some(Self { starts, n_inner, steps: inner, n_results: output.iter().product() })
    }

    /// The product.
    pub fn results(&self, inputs: [&[f32]; 2]) -> Vec<f32> {
        let mut results = vec![0.0; self.n_results];
        self.walk(|[a, b, c]| results[c] += inputs[0][a] * inputs[1][b]);
        results
    }

    /// Adds the gradients of both inputs.
    pub fn backward(&self, inputs: [&[f32]; 2], gradient: &[f32], own: [&mut [f32]; 2]) {
        let [first, second] = own;
        self.walk(|[a, b, c]| {
            first[a] += gradient[c] * inputs[1][b];
            second[b] += gradient[c] * inputs[0][a];
        });
    }

    fn walk(&self, mut visit: impl FnMut([usize; 3])) {
        for start in &self.starts {
            let mut at = start.map(|at| at as usize);
            for _ in 0..self.n_inner {
                visit(at);
                at.iter_mut().zip(self.steps).for_each(|(at, step)| *at += step);
            }
        }
    }
}
