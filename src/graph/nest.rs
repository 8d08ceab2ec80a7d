//! How a crossbar layer reads its input tensor and writes its output tensor.
//!
//! Convolutions and products are the same thing to an array: at every output
//! position a vector of inputs is gathered from a tensor, multiplied with a
//! constant matrix, and scattered to another tensor. [`LoopNest`] says where
//! from and where to as affine functions of loop counters, so that no later
//! stage asks whether a layer was a Conv, a Gemm or an EinSum.
//!
//! ```text
//! conv 3x3, padding 1, NCHW:
//!   positions n, y, x    rows c, ky, kx    columns o
//!   input  [n] [c] [y - 1 + ky] [x - 1 + kx]
//!   output [n] [o] [y]          [x]
//! ```

use std::fmt;

/// The extent of a tensor axis or a loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// The same for every batch.
    Fixed(usize),
    /// So many for each input of a batch.
    PerInput(usize),
    /// A formula of the model's symbols that is neither; only digital layers
    /// may have such tensors.
    Other(String),
}

impl Extent {
    /// The extent for a batch of `n_batch` inputs; `None` for a formula.
    pub fn for_batch(&self, n_batch: usize) -> Option<usize> {
        match self {
            Self::Fixed(n) => Some(*n),
            Self::PerInput(n) => n.checked_mul(n_batch),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(n) => write!(f, "{n}"),
            Self::PerInput(1) => f.write_str("N"),
            Self::PerInput(n) => write!(f, "{n}N"),
            Self::Other(formula) => f.write_str(formula),
        }
    }
}

/// A loop of a [`LoopNest`], by kind and place in its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoopRef {
    /// Walks output positions.
    Position(usize),
    /// Walks the independent blocks of a grouped layer.
    Group(usize),
    /// Walks the summed inputs of one block.
    Row(usize),
    /// Walks the outputs of one block.
    Column(usize),
}

/// The index along one tensor axis: `offset + sum of stride x counter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AxisIndex {
    /// Loop and stride; no loop twice.
    pub terms: Vec<(LoopRef, usize)>,
    /// Elements of padding in front: the index is the sum less this, and
    /// where it leaves the tensor the value is zero.
    pub padding: usize,
}

impl AxisIndex {
    /// An axis that one loop walks element by element.
    pub fn walk(loop_ref: LoopRef) -> Self {
        Self { terms: vec![(loop_ref, 1)], padding: 0 }
    }
}

/// The loops of a crossbar layer and its two index maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoopNest {
    /// Extents of the loops over output positions, outermost first. At most
    /// one is per input, and that one is outermost.
    pub positions: Vec<Extent>,
    /// Extents of the loops over groups, outermost first; empty for one group.
    pub groups: Vec<usize>,
    /// Extents of the loops over the summed inputs of one group.
    pub rows: Vec<usize>,
    /// Extents of the loops over the outputs of one group.
    pub columns: Vec<usize>,
    /// One per axis of the input tensor, over positions, groups and rows.
    pub input: Vec<AxisIndex>,
    /// One per axis of the output tensor, over positions, groups and columns;
    /// no padding.
    pub output: Vec<AxisIndex>,
}

impl LoopNest {
    /// Blocks on the diagonal; 1 unless the layer is grouped.
    pub fn n_groups(&self) -> usize {
        self.groups.iter().product()
    }

    /// Inputs of one block of the matrix.
    pub fn n_rows(&self) -> usize {
        self.rows.iter().product()
    }

    /// Outputs of one block of the matrix.
    pub fn n_columns(&self) -> usize {
        self.columns.iter().product()
    }

    /// Output positions of one input.
    pub fn positions_per_input(&self) -> usize {
        self.positions.iter().map(|e| e.for_batch(1).unwrap_or(0)).product()
    }

    /// Output positions of a batch.
    pub fn positions_of_batch(&self, n_batch: usize) -> usize {
        self.positions.iter().map(|e| e.for_batch(n_batch).unwrap_or(0)).product()
    }

    /// Multiply-accumulates for one input, padding included.
    pub fn macs_per_input(&self) -> u64 {
        [self.positions_per_input(), self.n_groups(), self.n_rows(), self.n_columns()]
            .iter()
            .map(|&n| n as u64)
            .fold(1, u64::saturating_mul)
    }

    /// Where in the input tensor of this shape, row-major, the value for these
    /// loop counters lies; `None` where it is padding.
    pub fn input_offset(
        &self,
        shape: &[usize],
        counter: impl Fn(LoopRef) -> usize,
    ) -> Option<usize> {
        offset(&self.input, shape, counter)
    }

    /// Where in the output tensor the result for these loop counters goes.
    pub fn output_offset(
        &self,
        shape: &[usize],
        counter: impl Fn(LoopRef) -> usize,
    ) -> Option<usize> {
        offset(&self.output, shape, counter)
    }

    /// Extent of a loop for a batch of `n_batch` inputs.
    pub fn extent(&self, loop_ref: LoopRef, n_batch: usize) -> Option<usize> {
        match loop_ref {
            LoopRef::Position(i) => self.positions.get(i)?.for_batch(n_batch),
            LoopRef::Group(i) => self.groups.get(i).copied(),
            LoopRef::Row(i) => self.rows.get(i).copied(),
            LoopRef::Column(i) => self.columns.get(i).copied(),
        }
    }
}

fn offset(map: &[AxisIndex], shape: &[usize], counter: impl Fn(LoopRef) -> usize) -> Option<usize> {
    map.iter().zip(shape).try_fold(0, |offset, (axis, &extent)| {
        let sum: usize = axis.terms.iter().map(|&(l, stride)| counter(l) * stride).sum();
        let index = sum.checked_sub(axis.padding).filter(|&index| index < extent)?;
        Some(offset * extent + index)
    })
}

/// Splits a flat counter into the counters of nested loops, outermost first.
pub fn unflatten(mut flat: usize, extents: &[usize]) -> Vec<usize> {
    let mut counters = vec![0; extents.len()];
    for (counter, &extent) in counters.iter_mut().zip(extents).rev() {
        *counter = flat % extent.max(1);
        flat /= extent.max(1);
    }
    counters
}
