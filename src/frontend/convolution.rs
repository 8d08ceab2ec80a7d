//! Convolutions as crossbar layers.
//!
//! Kernel `[o, c, ky, kx]` becomes a matrix of `c * ky * kx` rows and `o`
//! columns; rows run channel by channel, so that a slice of one channel is a
//! run of neighbouring rows.

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::nn::DataFormat;

use super::shapes::extent;
use crate::graph::{AxisIndex, CrossbarLayer, Extent, LoopNest, LoopRef, Obstacle, Weights};

/// What a node reads, as its recogniser needs it.
pub(super) struct Operands<'a> {
    /// Shape of the activation.
    pub input: &'a [TDim],
    /// Shape of the result.
    pub output: &'a [TDim],
    /// The constant matrix or kernel.
    pub weights: &'a Arc<Tensor>,
    /// The model's batch symbol.
    pub batch: &'a Symbol,
}

/// The crossbar layer that a convolution is, or why it is none.
pub(super) fn crossbar(
    conv: &Conv,
    operands: &Operands<'_>,
    bias: Option<&Tensor>,
) -> Result<CrossbarLayer, Obstacle> {
    if conv.q_params.is_some() {
        return Err(Obstacle::Integers("convolution"));
    }
    let spec = &conv.pool_spec;
    let format = spec.data_format;
    let h_axis = format.h_axis();
    let rank = spec.rank();
    let spatial: Vec<usize> = operands.input[h_axis..h_axis + rank]
        .iter()
        .map(|dim| dim.as_i64().and_then(|n| usize::try_from(n).ok()))
        .collect::<Option<_>>()
        .ok_or_else(|| Obstacle::OpenAxis("its spatial extents are open".to_string()))?;
    let padding = spec.computed_padding(&spatial);
    let n_channels = spec.input_channels / conv.group;
    let n_outputs = spec.output_channels / conv.group;

    let mut positions = Vec::new();
    if format.has_n() {
        positions.push(extent(&operands.input[0], operands.batch));
    }
    positions.extend(padding.iter().map(|axis| Extent::Fixed(axis.convoluted)));
    let first_spatial = usize::from(format.has_n());
    let mut rows = vec![n_channels];
    rows.extend(spec.kernel_shape.iter().copied());

    let channel = |loop_ref: LoopRef, extent: usize| AxisIndex {
        terms: if conv.group > 1 {
            vec![(LoopRef::Group(0), extent), (loop_ref, 1)]
        } else {
            vec![(loop_ref, 1)]
        },
        padding: 0,
    };
    let window = |axis: usize| AxisIndex {
        terms: vec![
            (LoopRef::Position(first_spatial + axis), spec.stride(axis)),
            (LoopRef::Row(1 + axis), spec.dilation(axis)),
        ],
        padding: padding[axis].pad_before,
    };
    let walk = |axis: usize| AxisIndex::walk(LoopRef::Position(first_spatial + axis));
    let nest = LoopNest {
        positions,
        groups: if conv.group > 1 { vec![conv.group] } else { Vec::new() },
        rows,
        columns: vec![n_outputs],
        input: in_order(format, channel(LoopRef::Row(0), n_channels), rank, window),
        output: in_order(format, channel(LoopRef::Column(0), n_outputs), rank, walk),
    };
    let weights = kernel_matrix(conv, operands.weights, &nest)?;
    let bias = bias_vector(bias, nest.n_groups() * nest.n_columns())?;
    let before: Vec<usize> = padding.iter().map(|axis| axis.pad_before).collect();
    let after: Vec<usize> = padding.iter().map(|axis| axis.pad_after).collect();
    let description = describe(conv, &before, &after);
    Ok(CrossbarLayer { description, nest, weights, bias, codes: None, matrix: None })
}

/// The axes of a tensor in the order of its format.
fn in_order(
    format: DataFormat,
    channel: AxisIndex,
    rank: usize,
    spatial: impl Fn(usize) -> AxisIndex,
) -> Vec<AxisIndex> {
    let mut axes = Vec::with_capacity(rank + 2);
    if format.has_n() {
        axes.push(AxisIndex::walk(LoopRef::Position(0)));
    }
    if !format.c_is_last() {
        axes.push(channel.clone());
    }
    axes.extend((0..rank).map(spatial));
    if format.c_is_last() {
        axes.push(channel);
    }
    axes
}

/// Constants of tract's, where they lie.
pub(super) struct Held(Arc<Tensor>);

impl Held {
    /// Numbers that a matrix can be made of; `what` says what they are.
    pub(super) fn new(values: Arc<Tensor>, what: &'static str) -> Result<Self, Obstacle> {
        let are_real = values.try_as_plain_ram().is_ok_and(|view| view.as_slice::<f32>().is_ok());
        if are_real { Ok(Self(values)) } else { Err(Obstacle::NotReal(what)) }
    }
}

impl AsRef<[f32]> for Held {
    fn as_ref(&self) -> &[f32] {
        self.0.as_plain_ram().and_then(|view| view.as_slice().ok()).unwrap_or_default()
    }
}

/// `[group][channel, ky, kx][output]` from the kernel in tract's layout.
fn kernel_matrix(conv: &Conv, kernel: &Arc<Tensor>, nest: &LoopNest) -> Result<Weights, Obstacle> {
    let kernel = match conv.kernel_fmt {
        // In memory the same as with groups apart.
        KernelFormat::OIHW => kernel.clone(),
        format => Arc::new(
            format
                .kernel_as_group_o_i_hw(kernel, conv.group)
                .map_err(|e| Obstacle::Shape(format!("its kernel cannot be laid out: {e}")))?,
        ),
    };
    let (n_rows, n_columns) = (nest.n_rows().max(1), nest.n_columns().max(1));
    // The kernel is [group][column][row]; cells are [group][row][column].
    let arrange = move |values: &[f32]| {
        let mut matrix = vec![0.0; values.len()];
        let blocks = matrix.chunks_exact_mut(n_rows * n_columns);
        for (block, kernel) in blocks.zip(values.chunks_exact(n_rows * n_columns)) {
            for (column, rows) in kernel.chunks_exact(n_rows).enumerate() {
                for (row, &value) in rows.iter().enumerate() {
                    block[row * n_columns + column] = value;
                }
            }
        }
        matrix
    };
    Ok(Weights::arranged(Held::new(kernel, "kernel")?, arrange))
}

/// One bias per output, from nothing, a scalar or a vector.
fn bias_vector(bias: Option<&Tensor>, n: usize) -> Result<Vec<f32>, Obstacle> {
    let Some(bias) = bias else { return Ok(vec![0.0; n]) };
    let view = bias.try_as_plain_ram().map_err(|_| Obstacle::NotReal("bias"))?;
    let values = view.as_slice::<f32>().map_err(|_| Obstacle::NotReal("bias"))?;
    match values {
        [one] => Ok(vec![*one; n]),
        many if many.len() == n => Ok(many.to_vec()),
        many => Err(Obstacle::Shape(format!("its bias has {} values for {n} outputs", many.len()))),
    }
}

/// `conv 3x3 stride 2 padding 1 groups 16`
fn describe(conv: &Conv, before: &[usize], after: &[usize]) -> String {
    let spec = &conv.pool_spec;
    let times = |values: &[usize]| {
        let uniform = values.windows(2).all(|pair| pair[0] == pair[1]);
        match values {
            [first, ..] if uniform => first.to_string(),
            _ => values.iter().map(ToString::to_string).collect::<Vec<_>>().join("x"),
        }
    };
    let kernel: Vec<String> = spec.kernel_shape.iter().map(ToString::to_string).collect();
    let mut text = format!("conv {}", kernel.join("x"));
    if spec.strides().iter().any(|&s| s != 1) {
        text += &format!(" stride {}", times(&spec.strides()));
    }
    if spec.dilations().iter().any(|&d| d != 1) {
        text += &format!(" dilation {}", times(&spec.dilations()));
    }
    if before.iter().chain(after).any(|&p| p != 0) {
        text += &format!(" padding {}", times(before));
        if after != before {
            text += &format!("..{}", times(after));
        }
    }
    if conv.group > 1 {
        text += &format!(" groups {}", conv.group);
    }
    text
}
