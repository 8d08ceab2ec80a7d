//! How a layer's loops over output positions are unrolled on arrays.
//!
//! One wave makes one output position where the matrix is the kernel alone
//! (im2col). Shifted copies of the kernel side by side make several positions
//! from one window of inputs, which neighbouring positions largely share (SDK:
//! Zhang et al., "Efficient and Robust RRAM-based Convolutional Weight Mapping
//! With Shifted and Duplicated Kernel", 2021; variable windows: Rhe et al.,
//! "VW-SDK", DATE 2022):
//!
//! ```text
//! conv 3x3, stride 1, window of 1 x 2 positions     columns: (dx, o)
//!   inputs of the window   3 x 4                      dx = 0   dx = 1
//!                                              x = 0   k00        .
//!   copy dx = 0 reads x = 0, 1, 2              x = 1   k01      k00
//!   copy dx = 1 reads x = 1, 2, 3              x = 2   k02      k01
//!                                              x = 3    .       k02
//! ```
//!
//! The result is a [`LoopNest`] like any other, with fewer positions, more rows
//! and more columns, so that no stage after this asks how a layer is unrolled.
//! Cells off the kernels hold zero, as those off the diagonal of a grouped tile
//! do. Windows that go past the border read padding there, and what they make
//! there goes nowhere.
//!
//! Where neighbouring positions share no inputs (strides as wide as the kernel,
//! 1x1 kernels, products), the copies stand on a diagonal.

mod choose;

pub(super) use choose::aligned;
pub use choose::{Choice, Costed, UnrollCost, UnrollOptions, best, choose, cost, windows};
pub(crate) use choose::{front, is_shared};

use crate::graph::{AxisIndex, Extent, LoopNest, LoopRef, unflatten};

/// A layer of which one wave makes several output positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrolling {
    /// Output positions that one wave makes, by loop over positions.
    pub window: Vec<usize>,
    /// The loops of the layer by itself: one position a wave.
    pub kernel: LoopNest,
    /// The loops of the layer as it is unrolled.
    pub nest: LoopNest,
    /// Loops over positions with a window, in order.
    axes: Vec<Axis>,
}

/// A loop over positions, of which one wave makes a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Axis {
    /// The loop, among those over positions.
    position: usize,
    /// Positions in a run.
    length: usize,
    inputs: Inputs,
}

/// What the positions of a run read along their input axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inputs {
    /// Each its own, `stride` apart: a loop of rows is added.
    Apart { stride: usize },
    /// Some of the same: the loop of rows runs over all of them.
    Shared {
        /// The loop, among those over rows.
        row: usize,
        /// Of the kernel along this loop.
        extent: usize,
        /// Inputs between neighbouring positions.
        stride: usize,
        /// Inputs between neighbours of the kernel.
        dilation: usize,
        /// Inputs between neighbours of the window.
        step: usize,
    },
}

impl Unrolling {
    /// Unrolls loops over positions, as many of each as `window` says; the
    /// error says why that cannot be done.
    pub fn new(kernel: &LoopNest, window: &[usize]) -> Result<Self, String> {
        if window.len() != kernel.positions.len() {
            let (n, given) = (kernel.positions.len(), window.len());
            return Err(format!("it has {n} loops over positions, the window {given}"));
        }
        let wide = window.iter().enumerate().filter(|(_, length)| **length != 1);
        let axes: Vec<Axis> = wide
            .map(|(position, &length)| axis(kernel, position, length))
            .collect::<Result<_, _>>()?;
        let nest = unrolled(kernel, &axes).ok_or("its windows are too large to count")?;
        Ok(Self { window: window.to_vec(), kernel: kernel.clone(), nest, axes })
    }

    /// The window of the innermost loops, from the first that has one or is of
    /// a place: `2x4`.
    pub fn window_text(&self) -> String {
        let outer = self.kernel.positions.iter().zip(&self.window);
        let n_outer = outer.take_while(|(extent, length)| {
            **length == 1 && !matches!(extent, Extent::Fixed(extent) if *extent > 1)
        });
        window_text(&self.window[n_outer.count()..])
    }

    /// Positions that one wave makes.
    pub fn n_positions(&self) -> usize {
        self.axes.iter().map(|axis| axis.length).product()
    }

    /// A matrix of the kernel, `[group][row][column]`, as the unrolled layer has
    /// it: a copy for each position of the window, `zero` elsewhere.
    pub fn matrix<T: Copy>(&self, kernel: &[T], zero: T) -> Vec<T> {
        let (n_rows, n_columns) = (self.kernel.n_rows(), self.kernel.n_columns());
        let mut matrix =
            vec![zero; self.nest.n_groups() * self.nest.n_rows() * self.nest.n_columns()];
        let sources = self.kernel_rows();
        let blocks = matrix.chunks_exact_mut((sources.len() * n_columns).max(1));
        for (block, kernel) in blocks.zip(kernel.chunks_exact((n_rows * n_columns).max(1))) {
            for (own, source) in block.chunks_exact_mut(n_columns).zip(&sources) {
                if let Some(row) = source {
                    own.copy_from_slice(&kernel[row * n_columns..][..n_columns]);
                }
            }
        }
        matrix
    }

    /// What the kernel has for each `[group][column]`, as the unrolled layer has
    /// it.
    pub fn by_column<T: Copy>(&self, kernel: &[T]) -> Vec<T> {
        let n_copies = self.n_positions();
        let groups = kernel.chunks_exact(self.kernel.n_columns().max(1));
        groups.flat_map(|group| std::iter::repeat_n(group, n_copies).flatten().copied()).collect()
    }

    /// The row of the kernel that stands in each row of the unrolled matrix, by
    /// position of the window; `None` off the kernel. `[row][position]`
    fn kernel_rows(&self) -> Vec<Option<usize>> {
        let lengths: Vec<usize> = self.axes.iter().map(|axis| axis.length).collect();
        let positions: Vec<Vec<usize>> =
            (0..self.n_positions()).map(|nth| unflatten(nth, &lengths)).collect();
        let mut found = Vec::with_capacity(self.nest.n_rows() * positions.len());
        for row in (0..self.nest.n_rows()).map(|nth| unflatten(nth, &self.nest.rows)) {
            found.extend(positions.iter().map(|position| self.kernel_row(&row, position)));
        }
        found
    }

    fn kernel_row(&self, row: &[usize], position: &[usize]) -> Option<usize> {
        let (added, row) = row.split_at(self.nest.rows.len() - self.kernel.rows.len());
        let (mut added, mut own) = (added.iter(), row.to_vec());
        for (axis, &at) in self.axes.iter().zip(position) {
            match axis.inputs {
                Inputs::Apart { .. } => {
                    if added.next() != Some(&at) {
                        return None;
                    }
                }
                Inputs::Shared { row, extent, stride, dilation, step } => {
                    let offset = (own[row] * step).checked_sub(at * stride)?;
                    own[row] = offset / dilation;
                    if offset % dilation != 0 || own[row] >= extent {
                        return None;
                    }
                }
            }
        }
        let flat =
            own.iter().zip(&self.kernel.rows).fold(0, |flat, (own, extent)| flat * extent + own);
        Some(flat)
    }

    /// Vectors that drove the kernel, `[sample][group][row]`, as vectors that
    /// drive the window: one of its positions, each in turn, reads the sample,
    /// and what lies beside that is taken as its nearest neighbour, as values of
    /// images nearly are.
    pub fn samples(&self, kernel: &[f32]) -> Vec<f32> {
        let (n_groups, n_rows) = (self.kernel.n_groups(), self.kernel.n_rows());
        let n_positions = self.n_positions();
        let lengths: Vec<usize> = self.axes.iter().map(|axis| axis.length).collect();
        let nearest: Vec<Vec<usize>> = (0..n_positions)
            .map(|nth| {
                let position = unflatten(nth, &lengths);
                let rows = (0..self.nest.n_rows()).map(|row| unflatten(row, &self.nest.rows));
                rows.map(|row| self.nearest_row(&row, &position)).collect()
            })
            .collect();
        let samples = kernel.chunks_exact((n_groups * n_rows).max(1)).enumerate();
        let mut driven = Vec::new();
        for (nth, sample) in samples {
            for group in sample.chunks_exact(n_rows.max(1)) {
                driven.extend(nearest[nth % n_positions].iter().map(|&row| group[row]));
            }
        }
        driven
    }

    /// The row of the kernel nearest to a row of the window.
    fn nearest_row(&self, row: &[usize], position: &[usize]) -> usize {
        let (_, row) = row.split_at(self.nest.rows.len() - self.kernel.rows.len());
        let mut own = row.to_vec();
        for (axis, &at) in self.axes.iter().zip(position) {
            if let Inputs::Shared { row, extent, stride, dilation, step } = axis.inputs {
                let offset = (own[row] * step).saturating_sub(at * stride);
                own[row] = (offset / dilation).min(extent - 1);
            }
        }
        own.iter().zip(&self.kernel.rows).fold(0, |flat, (own, extent)| flat * extent + own)
    }
}

/// `2x4`
pub fn window_text(window: &[usize]) -> String {
    window.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}

/// How a loop over positions is unrolled; the error says why it cannot be.
fn axis(kernel: &LoopNest, position: usize, length: usize) -> Result<Axis, String> {
    let own = LoopRef::Position(position);
    let extent = match kernel.positions.get(position) {
        Some(Extent::Fixed(extent)) => *extent,
        _ => return Err("the batch is not unrolled".to_string()),
    };
    if length == 0 || length > extent {
        return Err(format!("a window of {length} positions, the loop has {extent}"));
    }
    let walks = |axis: &&AxisIndex| axis.terms.iter().any(|(term, _)| *term == own);
    let of = |map: &[AxisIndex]| -> Option<(AxisIndex, usize)> {
        let mut found = map.iter().filter(walks);
        let axis = found.next().filter(|_| found.next().is_none())?.clone();
        let stride = axis.terms.iter().find(|(term, _)| *term == own)?.1;
        Some((axis, stride))
    };
    let (Some((input, stride)), Some(_)) = (of(&kernel.input), of(&kernel.output)) else {
        return Err("a loop over positions walks several axes, or none".to_string());
    };
    let rows: Vec<(usize, usize, usize)> = input
        .terms
        .iter()
        .filter_map(|&(term, dilation)| match term {
            LoopRef::Row(row) => Some((row, dilation, *kernel.rows.get(row)?)),
            _ => None,
        })
        .filter(|(.., extent)| *extent > 1)
        .collect();
    let inputs = match rows[..] {
        [] => Inputs::Apart { stride },
        [(_, dilation, extent)] if stride > (extent - 1).saturating_mul(dilation) => {
            Inputs::Apart { stride }
        }
        [(row, dilation, extent)] if dilation > 0 && stride > 0 => {
            Inputs::Shared { row, extent, stride, dilation, step: gcd(stride, dilation) }
        }
        _ => return Err("several loops of its kernel walk one axis".to_string()),
    };
    Ok(Axis { position, length, inputs })
}

/// The loops with windows; `None` where they cannot be counted.
fn unrolled(kernel: &LoopNest, axes: &[Axis]) -> Option<LoopNest> {
    let mut nest = kernel.clone();
    let apart = |axis: &&Axis| matches!(axis.inputs, Inputs::Apart { .. });
    let n_added = axes.iter().filter(apart).count();
    for axis in nest.input.iter_mut().chain(&mut nest.output) {
        for (term, _) in &mut axis.terms {
            match term {
                LoopRef::Row(row) => *row += n_added,
                LoopRef::Column(column) => *column += axes.len(),
                LoopRef::Position(_) | LoopRef::Group(_) => {}
            }
        }
    }
    nest.rows = axes.iter().filter(apart).map(|axis| axis.length).chain(nest.rows).collect();
    nest.columns = axes.iter().map(|axis| axis.length).chain(nest.columns).collect();
    let mut added = 0;
    for (column, axis) in axes.iter().enumerate() {
        let own = LoopRef::Position(axis.position);
        if let Extent::Fixed(extent) = &mut nest.positions[axis.position] {
            *extent = extent.div_ceil(axis.length);
        }
        let widened = |map: &mut [AxisIndex]| -> Option<(usize, usize)> {
            let at = map.iter().position(|axis| axis.terms.iter().any(|(term, _)| *term == own))?;
            let (_, stride) = map[at].terms.iter_mut().find(|(term, _)| *term == own)?;
            let before = *stride;
            *stride = stride.checked_mul(axis.length)?;
            Some((at, before))
        };
        let (at, stride) = widened(&mut nest.output)?;
        nest.output[at].terms.push((LoopRef::Column(column), stride));
        let (at, _) = widened(&mut nest.input)?;
        match axis.inputs {
            Inputs::Apart { stride } => {
                nest.input[at].terms.push((LoopRef::Row(added), stride));
                added += 1;
            }
            Inputs::Shared { row, extent, stride, dilation, step } => {
                let last = (axis.length - 1).checked_mul(stride)?;
                let last = last.checked_add((extent - 1).checked_mul(dilation)?)?;
                nest.rows[row + n_added] = last / step + 1;
                let own = LoopRef::Row(row + n_added);
                nest.input[at].terms.iter_mut().find(|(term, _)| *term == own)?.1 = step;
            }
        }
    }
    Some(nest)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    //! An unrolled layer multiplies every input with the weight that the layer
    //! by itself multiplies it with, at every output.

    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A convolution, channels before places.
    #[derive(Debug, Clone)]
    pub(super) struct Conv {
        pub size: [usize; 2],
        pub kernel: [usize; 2],
        pub stride: [usize; 2],
        pub dilation: [usize; 2],
        pub padding: [usize; 2],
        pub groups: usize,
        pub channels: [usize; 2],
    }

    impl Conv {
        pub fn n_positions(&self, axis: usize) -> usize {
            let span = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            (self.size[axis] + 2 * self.padding[axis]).saturating_sub(span) / self.stride[axis] + 1
        }

        pub fn nest(&self) -> LoopNest {
            let window = |axis: usize| AxisIndex {
                terms: vec![
                    (LoopRef::Position(1 + axis), self.stride[axis]),
                    (LoopRef::Row(1 + axis), self.dilation[axis]),
                ],
                padding: self.padding[axis],
            };
            let channel =
                |own, n| AxisIndex { terms: vec![(LoopRef::Group(0), n), (own, 1)], padding: 0 };
            let walk = |axis| AxisIndex::walk(LoopRef::Position(axis));
            LoopNest {
                positions: vec![
                    Extent::PerInput(1),
                    Extent::Fixed(self.n_positions(0)),
                    Extent::Fixed(self.n_positions(1)),
                ],
                groups: vec![self.groups],
                rows: vec![self.channels[0], self.kernel[0], self.kernel[1]],
                columns: vec![self.channels[1]],
                input: vec![
                    walk(0),
                    channel(LoopRef::Row(0), self.channels[0]),
                    window(0),
                    window(1),
                ],
                output: vec![
                    walk(0),
                    channel(LoopRef::Column(0), self.channels[1]),
                    walk(1),
                    walk(2),
                ],
            }
        }

        pub fn shapes(&self) -> ([usize; 4], [usize; 4]) {
            let [height, width] = self.size;
            (
                [1, self.groups * self.channels[0], height, width],
                [1, self.groups * self.channels[1], self.n_positions(0), self.n_positions(1)],
            )
        }
    }

    /// For every output and input of a layer, the weight between them.
    fn products(nest: &LoopNest, matrix: &[usize], conv: &Conv) -> BTreeMap<(usize, usize), usize> {
        let (input, output) = conv.shapes();
        let extents: Vec<usize> = nest.positions.iter().filter_map(|e| e.for_batch(1)).collect();
        let (n_rows, n_columns) = (nest.n_rows(), nest.n_columns());
        let mut products = BTreeMap::new();
        for position in 0..nest.positions_per_input() {
            let position = unflatten(position, &extents);
            for (index, &weight) in matrix.iter().enumerate().filter(|(_, weight)| **weight != 0) {
                let group = unflatten(index / (n_rows * n_columns), &nest.groups);
                let row = unflatten(index / n_columns % n_rows, &nest.rows);
                let column = unflatten(index % n_columns, &nest.columns);
                let counter = |l: LoopRef| match l {
                    LoopRef::Position(i) => position[i],
                    LoopRef::Group(i) => group[i],
                    LoopRef::Row(i) => row[i],
                    LoopRef::Column(i) => column[i],
                };
                let (Some(from), Some(to)) =
                    (nest.input_offset(&input, counter), nest.output_offset(&output, counter))
                else {
                    continue;
                };
                assert_eq!(products.insert((to, from), weight), None, "a product made twice");
            }
        }
        products
    }

    fn convs() -> impl Strategy<Value = (Conv, [usize; 2])> {
        let two = |range: std::ops::Range<usize>| prop::array::uniform2(range);
        let sizes = (two(4..8), two(1..4), two(1..4), two(1..3));
        let others = (two(0..2), 1usize..3, two(1..3), two(1..5));
        (sizes, others)
            .prop_map(|(sizes, (padding, groups, channels, window))| {
                let (size, kernel, stride, dilation) = sizes;
                let conv = Conv { size, kernel, stride, dilation, padding, groups, channels };
                let fit = |axis: usize| window[axis].min(conv.n_positions(axis));
                let window = [fit(0), fit(1)];
                (conv, window)
            })
            .prop_filter("the kernel fits", |(conv, _)| {
                (0..2).all(|axis| {
                    let span = (conv.kernel[axis] - 1) * conv.dilation[axis] + 1;
                    span <= conv.size[axis] + 2 * conv.padding[axis]
                })
            })
    }

    proptest! {
        #[test]
        fn every_product_is_made_once_whatever_the_window((conv, [y, x]) in convs()) {
            let kernel = conv.nest();
            let unrolling = Unrolling::new(&kernel, &[1, y, x]).unwrap();
            let n = kernel.n_groups() * kernel.n_rows() * kernel.n_columns();
            let weights: Vec<usize> = (1..=n).collect();
            let matrix = unrolling.matrix(&weights, 0);
            prop_assert_eq!(
                products(&unrolling.nest, &matrix, &conv),
                products(&kernel, &weights, &conv)
            );
            // Each weight sits in as many cells as the window has positions.
            for weight in &weights {
                prop_assert_eq!(matrix.iter().filter(|own| *own == weight).count(), y * x);
            }
        }

        #[test]
        fn samples_drive_one_position_with_what_the_kernel_saw((conv, [y, x]) in convs()) {
            let kernel = conv.nest();
            let unrolling = Unrolling::new(&kernel, &[1, y, x]).unwrap();
            let (n_groups, n_rows) = (kernel.n_groups(), kernel.n_rows());
            let sample: Vec<f32> = (0..n_groups * n_rows).map(|n| n as f32).collect();
            let n = unrolling.n_positions();
            let driven = unrolling.samples(&sample.repeat(n));
            let sources = unrolling.kernel_rows();
            let length = n_groups * unrolling.nest.n_rows();
            prop_assert_eq!(driven.len(), n * length);
            for (nth, driven) in driven.chunks_exact(length).enumerate() {
                for (line, &value) in driven.iter().enumerate() {
                    let (group, row) = (line / unrolling.nest.n_rows(), line % unrolling.nest.n_rows());
                    if let Some(source) = sources[row * n + nth] {
                        prop_assert_eq!(value, sample[group * n_rows + source]);
                    }
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_unrolled_is_refused() {
        let conv = Conv {
            size: [4, 4],
            kernel: [3, 3],
            stride: [1, 1],
            dilation: [1, 1],
            padding: [0, 0],
            groups: 1,
            channels: [1, 1],
        };
        let reason = |window: &[usize]| Unrolling::new(&conv.nest(), window).unwrap_err();
        assert!(reason(&[1, 3, 1]).contains("a window of 3 positions, the loop has 2"));
        assert!(reason(&[2, 1, 1]).contains("batch"));
        assert!(reason(&[1, 1]).contains("3 loops over positions, the window 2"));
    }
}
