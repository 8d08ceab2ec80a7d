//! Chooses the integers of one group of a layer.

use rayon::prelude::*;

use super::LayerGain;
use super::factor::{Columns, Curvature};
use super::product::{LANES, Matrix, gram, product, transposed_product};
use super::rounding::Problem;
use crate::quantize::{CellErrors, Corrections, InputCoding, nearest};

/// Rows rounded as one problem; more are cut into blocks, each of which makes
/// up for what those before it lost. Bounds a factor to 18 MB.
const BLOCK: usize = 1536;

/// What is known of one group when its weights are rounded.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// `[row][column]`.
    pub weights: &'a Matrix,
    /// `[column]`.
    pub bias: &'a [f32],
    /// Vectors as the arrays are driven with, `[sample][row]`.
    pub inputs: &'a Matrix,
    /// What the model in floating point makes of its own vectors, bias
    /// included, `[sample][column]`.
    pub wanted: &'a Matrix,
    /// Scales of least squared error of the weights, `[column]`.
    pub scales: &'a [f32],
    /// The largest level.
    pub max_level: i16,
    /// Errors of a weight by its cells.
    pub cells: CellErrors,
    /// The codes that drive them.
    pub coding: InputCoding,
    /// What to do beside rounding.
    pub corrections: Corrections,
}

/// The integers of one group.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fitted {
    /// `[row][column]`.
    pub levels: Vec<i16>,
    /// `[column]`.
    pub scales: Vec<f32>,
    /// `[column]`.
    pub bias: Vec<f32>,
}

impl Group<'_> {
    /// Chooses levels, scales and biases, and says what each part gained.
    pub(super) fn fit(&self) -> (Fitted, LayerGain) {
        let n_columns = self.weights.n_columns;
        let Corrections { compensation, scales, bias, .. } = self.corrections;
        let mut gain = LayerGain { power: self.power(), ..LayerGain::default() };
        let start = Fitted {
            levels: self.nearest_levels(),
            scales: self.scales.to_vec(),
            bias: self.bias.to_vec(),
        };
        gain.nearest = self.error(&start, &self.outputs(&start.levels));
        let curvatures = self.curvatures();
        let cells = self.cells();
        let chosen = self.choose_scales(&curvatures, cells);
        let plain = self.round(&curvatures, &chosen, false);
        let mut fitted = Fitted { levels: plain, scales: chosen, bias: self.bias.to_vec() };
        let mut outputs = self.outputs(&fitted.levels);
        gain.rounding = self.error(&fitted, &outputs);
        if compensation {
            fitted.levels = self.round(&curvatures, &fitted.scales, true);
            outputs = self.outputs(&fitted.levels);
        }
        gain.compensation = self.error(&fitted, &outputs);
        if scales {
            fitted.scales = self.fit_scales(&fitted.scales, &outputs, cells);
        }
        gain.scales = self.error(&fitted, &outputs);
        if bias {
            for column in 0..n_columns {
                let scale = f64::from(fitted.scales[column]);
                let wanted = mean(self.wanted_of(column));
                let made = scale * mean(of(&outputs, column, n_columns));
                fitted.bias[column] = (wanted - made) as f32;
            }
        }
        gain.bias = self.error(&fitted, &outputs);
        (fitted, gain)
    }

    /// Of each block of rows: its first row and the curvature of its inputs.
    /// A bias that is corrected takes the mean off every error, so that only
    /// what varies counts.
    fn curvatures(&self) -> Vec<(usize, Curvature)> {
        let n_samples = self.inputs.n_rows.max(1) as f64;
        let blocks = (0..self.inputs.n_columns).step_by(BLOCK);
        let curvature = |first: usize| {
            let block = self.block(first);
            let n = block.n_columns;
            let mut moments = gram(&block);
            if self.corrections.bias {
                let sums = column_sums(&block);
                for row in 0..n {
                    for column in 0..n {
                        moments[row * n + column] -= sums[row] * sums[column] / n_samples;
                    }
                }
            }
            moments.iter_mut().for_each(|moment| *moment /= n_samples);
            (first, Curvature::new(&moments, n))
        };
        blocks.map(curvature).collect()
    }

    /// Columns of the inputs that belong to one block of rows.
    fn block(&self, first: usize) -> Matrix {
        let n = BLOCK.min(self.inputs.n_columns - first);
        let rows = (0..self.inputs.n_rows).flat_map(|s| &self.inputs.row(s)[first..first + n]);
        Matrix::from_rows(rows.copied(), n)
    }

    /// What the cells' errors raise a column's error by, over its scale
    /// squared: each row has its own.
    fn cells(&self) -> f64 {
        if !self.corrections.cells || self.cells.are_none() {
            return 0.0;
        }
        let of = |&x: &f32| self.cells.of_input(&self.coding, self.coding.encode(x));
        let rows = (0..self.inputs.n_rows).flat_map(|sample| self.inputs.row(sample));
        rows.map(of).sum::<f64>() / self.inputs.n_rows.max(1) as f64
    }

    fn choose_scales(&self, curvatures: &[(usize, Curvature)], cells: f64) -> Vec<f32> {
        // Blocks have their scales in common, which no single one may choose.
        let [(_, curvature)] = curvatures else { return self.scales.to_vec() };
        let starts: Vec<usize> = (0..self.weights.n_columns).step_by(LANES).collect();
        let chosen: Vec<Columns> = starts
            .into_par_iter()
            .map(|start| {
                let weights = self.columns(curvature, 0, start);
                let mut largest = [0f64; LANES];
                for weights in &weights {
                    largest.iter_mut().zip(weights).for_each(|(l, w)| *l = l.max(w.abs()));
                }
                let max_level = f64::from(self.max_level);
                let problem = Problem { curvature, weights: &weights, max_level };
                problem.best_scales(&largest, cells)
            })
            .collect();
        let scales = chosen.into_iter().flatten().take(self.weights.n_columns);
        scales.map(|scale| (scale as f32).max(f32::MIN_POSITIVE)).collect()
    }

    /// Weights of some neighbouring columns in the order of a curvature; zeros
    /// beyond the last.
    fn columns(&self, curvature: &Curvature, first: usize, start: usize) -> Vec<Columns> {
        let weights = |&place: &usize| {
            let row = self.weights.row(first + place);
            std::array::from_fn(|c| row.get(start + c).map_or(0.0, |&w| f64::from(w)))
        };
        curvature.order.iter().map(weights).collect()
    }

    /// Rounds block after block. With `compensate` the weights aim at what the
    /// model in floating point makes, and make up for errors of blocks before.
    fn round(
        &self,
        curvatures: &[(usize, Curvature)],
        scales: &[f32],
        compensate: bool,
    ) -> Vec<i16> {
        let n_columns = self.weights.n_columns;
        let mut levels = vec![0i16; self.weights.n_rows * n_columns];
        let mut residual = compensate.then(|| self.residual());
        for (first, curvature) in curvatures {
            let block = residual.is_some().then(|| self.block(*first));
            let moments = residual.as_ref().zip(block.as_ref());
            let moments = moments.map(|(residual, block)| self.moments(block, residual));
            let starts: Vec<usize> = (0..n_columns).step_by(LANES).collect();
            let rounded: Vec<Vec<Columns>> = starts
                .par_iter()
                .map(|&start| {
                    let mut weights = self.columns(curvature, *first, start);
                    if let Some(moments) = &moments {
                        let moment = |&place: &usize| -> Columns {
                            let row = &moments[place * n_columns..][..n_columns];
                            std::array::from_fn(|c| row.get(start + c).copied().unwrap_or(0.0))
                        };
                        let mut change: Vec<Columns> = curvature.order.iter().map(moment).collect();
                        curvature.solve(&mut change);
                        for (weight, change) in
                            weights.iter_mut().flatten().zip(change.iter().flatten())
                        {
                            *weight += change;
                        }
                    }
                    let scales = std::array::from_fn(|c| {
                        scales.get(start + c).map_or(1.0, |&scale| f64::from(scale))
                    });
                    let max_level = f64::from(self.max_level);
                    Problem { curvature, weights: &weights, max_level }.round(&scales).levels
                })
                .collect();
            for (&start, rounded) in starts.iter().zip(&rounded) {
                for (&place, rounded) in curvature.order.iter().zip(rounded) {
                    let row = &mut levels[(first + place) * n_columns..][..n_columns];
                    // Whole numbers within the levels.
                    row[start..].iter_mut().zip(rounded).for_each(|(l, &r)| *l = r as i16);
                }
            }
            if let (Some(residual), Some(block)) = (&mut residual, &block)
                && curvatures.len() > 1
            {
                self.take_off(residual, block, *first, &levels, scales);
            }
        }
        levels
    }

    /// What the exact weights leave of the wanted outputs, because their
    /// inputs are those of arrays: `[sample][column]`.
    fn residual(&self) -> Matrix {
        let made = product(self.inputs, self.weights);
        let mut residual = self.wanted.clone();
        for (sample, made) in made.chunks_exact(self.weights.n_columns.max(1)).enumerate() {
            let own = residual.row_mut(sample).iter_mut();
            for ((own, &made), &bias) in own.zip(made).zip(self.bias) {
                *own = (f64::from(*own) - made - f64::from(bias)) as f32;
            }
        }
        residual
    }

    /// Mean product of inputs and residual, `[row][column]`; of what varies in
    /// them where the bias is corrected.
    fn moments(&self, block: &Matrix, residual: &Matrix) -> Vec<f64> {
        let n_samples = block.n_rows.max(1) as f64;
        let mut moments = transposed_product(block, residual);
        if self.corrections.bias {
            let (inputs, left) = (column_sums(block), column_sums(residual));
            for (moments, input) in moments.chunks_exact_mut(residual.n_columns).zip(&inputs) {
                let left = moments.iter_mut().zip(&left);
                left.for_each(|(moment, left)| *moment -= input * left / n_samples);
            }
        }
        moments.iter_mut().for_each(|moment| *moment /= n_samples);
        moments
    }

    /// Takes the errors of a block's weights off the residual.
    fn take_off(
        &self,
        residual: &mut Matrix,
        block: &Matrix,
        first: usize,
        levels: &[i16],
        scales: &[f32],
    ) {
        let n_columns = self.weights.n_columns;
        let errors = (0..block.n_columns).flat_map(|row| {
            let levels = &levels[(first + row) * n_columns..][..n_columns];
            let weights = self.weights.row(first + row);
            let own = levels.iter().zip(scales).zip(weights);
            own.map(|((&level, scale), weight)| f32::from(level) * scale - weight)
        });
        let made = product(block, &Matrix::from_rows(errors, n_columns));
        for (sample, made) in made.chunks_exact(n_columns).enumerate() {
            let own = residual.row_mut(sample).iter_mut().zip(made);
            own.for_each(|(own, &made)| *own = (f64::from(*own) - made) as f32);
        }
    }

    fn nearest_levels(&self) -> Vec<i16> {
        let level = |(&weight, &scale)| nearest(weight, scale, self.max_level);
        let rows = 0..self.weights.n_rows;
        rows.flat_map(|row| self.weights.row(row).iter().zip(self.scales).map(level)).collect()
    }

    /// Sums of inputs times levels, `[sample][column]`.
    fn outputs(&self, levels: &[i16]) -> Vec<f64> {
        let levels = levels.iter().map(|&level| f32::from(level));
        product(self.inputs, &Matrix::from_rows(levels, self.weights.n_columns))
    }

    /// The scale of least squared error for these levels: that of a regression,
    /// whose regressor also has the errors of cells in it.
    fn fit_scales(&self, scales: &[f32], outputs: &[f64], cells: f64) -> Vec<f32> {
        let n_columns = self.weights.n_columns;
        let n = self.inputs.n_rows.max(1) as f64;
        let fit = |(column, &scale): (usize, &f32)| {
            let made = || of(outputs, column, n_columns);
            let bias = f64::from(self.bias[column]);
            let (mean_made, mean_wanted) = match self.corrections.bias {
                true => (mean(made()), mean(self.wanted_of(column))),
                false => (0.0, bias),
            };
            let (mut product, mut square) = (0.0, cells * n);
            for (made, wanted) in made().zip(self.wanted_of(column)) {
                let made = made - mean_made;
                product += made * (wanted - mean_wanted);
                square += made * made;
            }
            let fitted = (product / square) as f32;
            if fitted.is_finite() && fitted > 0.0 { fitted } else { scale }
        };
        scales.iter().enumerate().map(fit).collect()
    }

    fn wanted_of(&self, column: usize) -> impl Iterator<Item = f64> {
        (0..self.wanted.n_rows).map(move |sample| f64::from(self.wanted.row(sample)[column]))
    }

    /// Sum of squared errors against what is wanted.
    fn error(&self, fitted: &Fitted, outputs: &[f64]) -> f64 {
        let n_columns = self.weights.n_columns;
        let mut error = 0.0;
        for (sample, outputs) in outputs.chunks_exact(n_columns.max(1)).enumerate() {
            let columns = fitted.scales.iter().zip(&fitted.bias).zip(outputs);
            for (((&scale, &bias), made), &wanted) in columns.zip(self.wanted.row(sample)) {
                let left = made * f64::from(scale) + f64::from(bias) - f64::from(wanted);
                error += left * left;
            }
        }
        error
    }

    /// Sum of the squared deviations of what is wanted from its means.
    fn power(&self) -> f64 {
        let columns = 0..self.wanted.n_columns;
        let power = columns.map(|column| {
            let mean = mean(self.wanted_of(column));
            self.wanted_of(column).map(|x| (x - mean) * (x - mean)).sum::<f64>()
        });
        power.sum()
    }
}

/// One column of `[sample][column]`.
fn of(values: &[f64], column: usize, n_columns: usize) -> impl Iterator<Item = f64> {
    values.iter().skip(column).step_by(n_columns.max(1)).copied()
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, n) = values.fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    sum / f64::from(n.max(1))
}

fn column_sums(matrix: &Matrix) -> Vec<f64> {
    let mut sums = vec![0.0; matrix.n_columns];
    for row in 0..matrix.n_rows {
        let values = sums.iter_mut().zip(matrix.row(row));
        values.for_each(|(sum, &value)| *sum += f64::from(value));
    }
    sums
}
