//! tract's one-piece GRU as a loop.
//!
//! tract runs a GRU whose reset gate comes after the product as one operator.
//! Its matrices are constants all the same: the input matrix is multiplied with
//! the whole sequence, the recurrent one with the state of every step.
//!
//! ```text
//! x [n, t, k] -- W --> xw [n, t, 3h] --step--> [n, 3h] --+
//!                     state [n, 1, h] -- R --> [n, 3h] --+-- gates --> state
//! ```

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::{AxisOp, bail};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::gru_cell::GruEpilogue;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::math::add;
use tract_onnx::tract_core::ops::scan::{InputMapping, OutputMapping, Scan, ScanInfo};

use super::loops;
use crate::graph::Obstacle;

/// The number of steps of a GRU that can be written out.
pub(super) fn steps(op: &GruSeq, facts: &[&TypedFact]) -> Result<usize, Obstacle> {
    let constant = |slot: usize| facts.get(slot).is_some_and(|fact| fact.konst.is_some());
    let recurrent = recurrent_slot(op);
    if !constant(recurrent) || (op.has_bias && !constant(recurrent + 1)) {
        return Err(Obstacle::Computed("recurrent matrix"));
    }
    loops::fixed(&facts[0].shape[1])
}

/// Where the recurrent matrix stands among the inputs.
fn recurrent_slot(op: &GruSeq) -> usize {
    if op.projected { 1 } else { 2 }
}

/// The loop that a GRU is, and what it reads: the product with the input
/// matrix, which stands before it, and the state.
pub(super) fn as_loop(
    model: &mut TypedModel,
    name: &str,
    op: &GruSeq,
    inputs: &[OutletId],
) -> TractResult<(Scan, Vec<OutletId>)> {
    let recurrent = recurrent_slot(op);
    let constant = |slot: usize| -> TractResult<Arc<Tensor>> {
        match &model.outlet_fact(inputs[slot])?.konst {
            Some(constant) => Ok(constant.clone()),
            None => bail!("operand {slot} of a GRU is computed"),
        }
    };
    let matrix = constant(recurrent)?;
    let bias = if op.has_bias { Some(constant(recurrent + 1)?) } else { None };
    let Some(&state) = inputs.last() else { bail!("a GRU has no state") };
    let gates = 3 * op.hidden;
    let mut products = inputs[0];
    if !op.projected {
        products = model.wire_node(format!("{name}.xw"), product("btk,gk->btg")?, &inputs[..2])?[0];
        if let Some(bias) = &bias {
            let half = part(bias, 0, gates, &[1, 1, gates])?;
            let half = model.add_const(format!("{name}.wb"), half)?;
            products = model.wire_node(format!("{name}.xw_b"), add(), &[products, half])?[0];
        }
    }
    let mut body = TypedModel { symbols: model.symbols.clone(), ..TypedModel::default() };
    let mut of_step = model.outlet_fact(products)?.without_value();
    of_step.shape.set(1, 1.into());
    let of_input = body.add_source("Xt_WT", of_step)?;
    let before = body.add_source("Ht_1", model.outlet_fact(state)?.without_value())?;
    let of_input = body.wire_node("xh", AxisOp::Rm(1), &[of_input])?[0];
    let before = body.wire_node("h", AxisOp::Rm(1), &[before])?[0];
    let matrix = body.add_const("R", matrix)?;
    let mut of_state = body.wire_node("Ht_1_RT", product("mk,nk->mn")?, &[before, matrix])?[0];
    if let Some(bias) = &bias {
        let half = body.add_const("rb", part(bias, gates, 2 * gates, &[1, gates])?)?;
        of_state = body.wire_node("rh", add(), &[of_state, half])?[0];
    }
    let cell = GruEpilogue { hidden: op.hidden };
    let after = body.wire_node("gru_cell", cell, &[of_input, of_state, before])?[0];
    let after = body.wire_node("y_h", AxisOp::Add(1), &[after])?[0];
    body.select_output_outlets(&[after])?;
    let info = ScanInfo { axis: 1, chunk: op.chunk };
    let mapping = OutputMapping {
        scan: Some((0, info)),
        full_dim_hint: None,
        last_value_slot: Some(1),
        state: true,
    };
    let reads = vec![InputMapping::Scan(info), InputMapping::State];
    Ok((Scan::new(body, reads, vec![mapping], 0)?, vec![products, state]))
}

fn product(axes: &str) -> TractResult<EinSum> {
    Ok(EinSum { axes: axes.parse()?, operating_dt: f32::datum_type(), q_params: None })
}

/// Values `start..end` of a vector of biases, whatever axes of extent 1 it has.
fn part(bias: &Tensor, start: usize, end: usize, shape: &[usize]) -> TractResult<Tensor> {
    let view = bias.try_as_plain_ram()?;
    let values = view.as_slice::<f32>()?;
    match values.get(start..end) {
        Some(values) => Tensor::from_shape(shape, values),
        None => bail!("the bias of a GRU has {} values", values.len()),
    }
}
