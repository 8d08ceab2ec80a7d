//! What a digital layer's results need of its inputs, axis by axis: whether
//! work on them can begin before the whole input is there.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{MaxPool, PoolSpec, SumPool};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::nn::{Reduce, RmsNorm, Softmax};
use tract_onnx::tract_core::ops::quant::DequantizeLinearF32;

use crate::graph::{AxisReach, Comparison};

/// One reach for each axis; none where nothing is known of the operator, so
/// that a result may need everything.
pub(super) fn of(node: &TypedNode, facts: &[&TypedFact]) -> Vec<AxisReach> {
    let Some(input) = facts.first() else { return Vec::new() };
    let rank = input.shape.rank();
    let same_rank = facts.iter().all(|fact| fact.shape.rank() == rank)
        && node.outputs.iter().all(|output| output.fact.shape.rank() == rank);
    if !same_rank {
        return Vec::new();
    }
    let by_place = node.op_is::<TypedBinOp>()
        || node.op_is::<ElementWiseOp>()
        || node.op_is::<Iff>()
        || node.op_is::<Cast>()
        || node.op_is::<DequantizeLinearF32>();
    if by_place {
        return vec![AxisReach::Same; rank];
    }
    let over = |axes: &[usize]| {
        let reach = |axis| if axes.contains(&axis) { AxisReach::All } else { AxisReach::Same };
        (0..rank).map(reach).collect()
    };
    if let Some(reduce) = node.op_as::<Reduce>() {
        return over(&reduce.axes);
    }
    if let Some(softmax) = node.op_as::<Softmax>() {
        return over(&softmax.axes);
    }
    if let Some(norm) = node.op_as::<RmsNorm>() {
        return over(&[norm.axis]);
    }
    if let Some(pool) = node.op_as::<MaxPool>() {
        return windows(&pool.pool_spec, input);
    }
    if let Some(pool) = node.op_as::<SumPool>() {
        return windows(&pool.pool_spec, input);
    }
    Vec::new()
}

/// Whether comparisons of currents could do what this operator does.
pub(super) fn comparison(node: &TypedNode, facts: &[&TypedFact]) -> Option<Comparison> {
    if let Some(pool) = node.op_as::<MaxPool>() {
        let whole = pool.pool_spec.dilations().iter().all(|&dilation| dilation == 1);
        return (whole && pool.with_index_outputs.is_none()).then_some(Comparison::MaxPool);
    }
    let is_zero = |fact: &&TypedFact| {
        let constant = fact.konst.as_ref().and_then(|konst| konst.cast_to::<f32>().ok());
        constant.is_some_and(|konst| match konst.to_plain_array_view::<f32>() {
            Ok(values) => values.iter().all(|&value| value == 0.0),
            Err(_) => false,
        })
    };
    let is_max = node.op_as::<TypedBinOp>().is_some_and(|op| op.name() == "Max");
    (is_max && facts.len() == 2 && facts.iter().filter(|fact| is_zero(fact)).count() == 1)
        .then_some(Comparison::Rectifier)
}

/// Windows along the spatial axes; everything where an extent is open.
fn windows(spec: &PoolSpec, input: &TypedFact) -> Vec<AxisReach> {
    let (first, rank) = (spec.data_format.h_axis(), spec.rank());
    let dims = input.shape.dims();
    let fixed = |dim: &TDim| dim.as_i64().and_then(|n| usize::try_from(n).ok());
    let spatial: Option<Vec<usize>> =
        dims.get(first..first + rank).and_then(|dims| dims.iter().map(fixed).collect());
    let Some(spatial) = spatial else { return Vec::new() };
    let (dilations, padding) = (spec.dilations(), spec.computed_padding(&spatial));
    let mut reach = vec![AxisReach::Same; dims.len()];
    for axis in 0..rank {
        reach[first + axis] = AxisReach::Window {
            extent: (spec.kernel_shape[axis].max(1) - 1) * dilations[axis] + 1,
            stride: spec.stride(axis),
            padding: padding[axis].pad_before,
        };
    }
    reach
}
