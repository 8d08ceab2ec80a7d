//! The codes that a quantised model gives its activations itself.
//!
//! Between integers and a product there stands a cast or a dequantisation, and
//! perhaps operators that only move values. What is found there is the
//! layer's own coding: nobody needs to calibrate it, and arrays driven with it
//! lose nothing.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::MaxPool;
use tract_onnx::tract_core::ops::quant::DequantizeLinearF32;

use crate::graph::OwnCodes;

/// The codes of an activation, if the model says them.
pub(super) fn own(typed: &TypedModel, mut outlet: OutletId) -> Option<OwnCodes> {
    loop {
        let node = typed.node(outlet.node);
        let before = *node.inputs.first()?;
        if let Some(op) = node.op_as::<DequantizeLinearF32>() {
            let (bits, signed) = integer(typed, before)?;
            let DequantizeLinearF32 { scale, zero_point } = *op;
            let usable = scale.is_normal() && scale > 0.0 && zero_fits(bits, signed, zero_point);
            return usable.then_some(OwnCodes { bits, signed, scale, zero_point });
        }
        if node.op_as::<Cast>().is_some_and(|cast| cast.to == f32::datum_type()) {
            let (bits, signed) = integer(typed, before)?;
            return Some(OwnCodes { bits, signed, scale: 1.0, zero_point: 0 });
        }
        if !node.op_is::<AxisOp>() && !node.op_is::<MaxPool>() {
            return None;
        }
        outlet = before;
    }
}

/// Width and sign of integers that inputs of arrays can be.
fn integer(typed: &TypedModel, outlet: OutletId) -> Option<(u8, bool)> {
    match typed.outlet_fact(outlet).ok()?.datum_type {
        DatumType::U8 => Some((8, false)),
        DatumType::I8 => Some((8, true)),
        DatumType::Bool => Some((1, false)),
        _ => None,
    }
}

fn zero_fits(bits: u8, signed: bool, zero: i32) -> bool {
    let (min, max) = match signed {
        true => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
        false => (0, (1 << bits) - 1),
    };
    (min..=max).contains(&zero)
}
