//! Products with a constant matrix as crossbar layers.
//!
//! Gemm, MatMul and 1x1 convolutions all reach us as EinSum. Each of its axes
//! is of one kind, seen from where it occurs:
//!
//! | activation | weights | result | loop |
//! |---|---|---|---|
//! | x | x |   | row (summed) |
//! | x |   | x | position |
//! |   | x | x | column |
//! | x | x | x | group |

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::Axis;
use tract_onnx::tract_core::ops::einsum::EinSum;

use super::convolution::{Held, Operands};
use super::shapes::extent;
use crate::graph::{
    AxisIndex, CrossbarLayer, Extent, LoopNest, LoopRef, Obstacle, ProductAxes, Weights, unflatten,
};

/// The crossbar layer that a product is, or why it is none. `data_slot` is the
/// input that is not constant, 0 or 1.
pub(super) fn crossbar(
    einsum: &EinSum,
    data_slot: usize,
    operands: &Operands<'_>,
) -> Result<CrossbarLayer, Obstacle> {
    if einsum.q_params.is_some() || einsum.operating_dt != f32::datum_type() {
        return Err(Obstacle::Integers("product"));
    }
    let weight_shape = operands.weights.shape();
    let mut nest = LoopNest {
        positions: Vec::new(),
        groups: Vec::new(),
        rows: Vec::new(),
        columns: Vec::new(),
        input: vec![AxisIndex { terms: Vec::new(), padding: 0 }; operands.input.len()],
        output: vec![AxisIndex { terms: Vec::new(), padding: 0 }; operands.output.len()],
    };
    // Which loop walks each axis of the weights.
    let mut weight_loops: Vec<Option<LoopRef>> = vec![None; weight_shape.len()];
    for axis in loop_order(einsum, data_slot, operands) {
        let data = one(&axis.inputs[data_slot])?;
        let weight = one(&axis.inputs[1 - data_slot])?;
        let output = one(&axis.outputs[0])?;
        // An axis of extent 1 beside a longer one is broadcast: it does not
        // move with the loop.
        let data = data.filter(|&a| operands.input[a] != 1.into());
        let weight = weight.filter(|&a| weight_shape[a] != 1);
        let output = output.filter(|&a| operands.output[a] != 1.into());
        let data_extent = data.map(|a| extent(&operands.input[a], operands.batch));
        let fixed = |e: Option<Extent>| match e {
            Some(Extent::Fixed(n)) => Ok(n),
            _ => Err(Obstacle::OpenAxis(format!("axis `{}` has an open extent", axis.repr))),
        };
        let loop_ref = match (data, weight, output) {
            (None, None, None) => continue,
            (Some(_), Some(w), None) => {
                if fixed(data_extent)? != weight_shape[w] {
                    let what = format!("axis `{}` is broadcast and summed", axis.repr);
                    return Err(Obstacle::Shape(what));
                }
                nest.rows.push(weight_shape[w]);
                LoopRef::Row(nest.rows.len() - 1)
            }
            (Some(_), None, Some(_)) => {
                nest.positions.extend(data_extent);
                LoopRef::Position(nest.positions.len() - 1)
            }
            (None, Some(w), Some(_)) => {
                nest.columns.push(weight_shape[w]);
                LoopRef::Column(nest.columns.len() - 1)
            }
            (Some(_), Some(w), Some(_)) => {
                fixed(data_extent)?;
                nest.groups.push(weight_shape[w]);
                LoopRef::Group(nest.groups.len() - 1)
            }
            _ => {
                let what = format!("axis `{}` is in one operand only", axis.repr);
                return Err(Obstacle::Shape(what));
            }
        };
        if let Some(axis) = data {
            nest.input[axis].terms.push((loop_ref, 1));
        }
        if let Some(axis) = weight {
            weight_loops[axis] = Some(loop_ref);
        }
        if let Some(axis) = output {
            nest.output[axis].terms.push((loop_ref, 1));
        }
    }
    if nest.rows.is_empty() && nest.columns.is_empty() {
        return Err(Obstacle::NothingSummed);
    }
    let weights = matrix(operands.weights, &weight_loops, &nest)?;
    let bias = vec![0.0; nest.n_groups() * nest.n_columns()];
    Ok(CrossbarLayer {
        description: "product".to_string(),
        nest,
        weights,
        bias,
        codes: None,
        matrix: None,
    })
}

/// The loops of a product of two tensors; `None` where it has other operands,
/// or walks an axis of one of them twice.
pub(super) fn axes(einsum: &EinSum) -> Option<ProductAxes> {
    let once = |axes: &TVec<usize>| match axes[..] {
        [] => Some(None),
        [axis] => Some(Some(axis)),
        _ => None,
    };
    let mut loops = Vec::new();
    for axis in einsum.axes.iter_all_axes() {
        let [first, second] = &axis.inputs[..] else { return None };
        loops.push([once(first)?, once(second)?, once(axis.outputs.first()?)?]);
    }
    (einsum.q_params.is_none()).then_some(ProductAxes { loops })
}

/// Axes in the order in which their loops are numbered: the open batch first,
/// then as they stand in the result, then as they stand in the activation.
fn loop_order<'a>(einsum: &'a EinSum, data_slot: usize, operands: &Operands<'_>) -> Vec<&'a Axis> {
    let mut axes: Vec<&Axis> = einsum.axes.iter_all_axes().collect();
    axes.sort_by_key(|axis| {
        let input = axis.inputs[data_slot].first().copied();
        let open = input.is_some_and(|a| operands.input[a].as_i64().is_none());
        let output = axis.outputs[0].first().copied();
        (!open, output.unwrap_or(usize::MAX), input.unwrap_or(usize::MAX))
    });
    axes
}

/// The only axis of an operand that an EinSum axis names, if any.
fn one(axes: &[usize]) -> Result<Option<usize>, Obstacle> {
    match axes {
        [] => Ok(None),
        [axis] => Ok(Some(*axis)),
        _ => Err(Obstacle::Shape("it takes a diagonal".to_string())),
    }
}

/// `[group][row][column]` from weights whose axes the loops walk.
fn matrix(
    weights: &Arc<Tensor>,
    loops: &[Option<LoopRef>],
    nest: &LoopNest,
) -> Result<Weights, Obstacle> {
    let held = Held::new(weights.clone(), "matrix")?;
    // Elements between neighbours along each axis of the weights.
    let mut strides = vec![1usize; weights.rank()];
    for axis in (1..weights.rank()).rev() {
        strides[axis - 1] = strides[axis] * weights.shape()[axis];
    }
    let offsets = |extents: &[usize], make: fn(usize) -> LoopRef| -> Vec<usize> {
        (0..extents.iter().product())
            .map(|flat| {
                let counters = unflatten(flat, extents);
                loops
                    .iter()
                    .zip(&strides)
                    .map(|(loop_ref, stride)| {
                        let counter = (0..counters.len()).find(|&i| *loop_ref == Some(make(i)));
                        counter.map_or(0, |i| counters[i] * stride)
                    })
                    .sum()
            })
            .collect()
    };
    let groups = offsets(&nest.groups, LoopRef::Group);
    let rows = offsets(&nest.rows, LoopRef::Row);
    let columns = offsets(&nest.columns, LoopRef::Column);
    let in_steps_of = |step: usize, offsets: &[usize]| {
        offsets.iter().enumerate().all(|(nth, &offset)| offset == nth * step)
    };
    if in_steps_of(1, &columns)
        && in_steps_of(columns.len(), &rows)
        && in_steps_of(rows.len() * columns.len(), &groups)
    {
        return Ok(Weights::shared(held));
    }
    let arrange = move |values: &[f32]| {
        let mut matrix = Vec::with_capacity(values.len());
        for group in &groups {
            for row in &rows {
                matrix.extend(columns.iter().map(|column| values[group + row + column]));
            }
        }
        matrix
    };
    Ok(Weights::arranged(held, arrange))
}
