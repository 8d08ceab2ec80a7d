//! Transposed convolutions as products.
//!
//! Every value of the input, over all its channels, is multiplied with the
//! whole kernel; what lands on the same place of the output is added up:
//!
//! ```text
//! input [n, i, y x] -- kernel [i][o, ky, kx] on arrays --> [n, o ky kx, y x] -- added up --> output
//! ```
//!
//! tract takes them apart in this way when it generates code; here it happens
//! before the graph is read, so that the product becomes a crossbar layer.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::TypedOp;
use tract_onnx::tract_core::ops::cnn::Deconv;

/// Takes transposed convolutions with constant kernels apart.
pub(super) fn open(typed: TypedModel) -> TractResult<TypedModel> {
    let found: Vec<usize> =
        typed.eval_order()?.into_iter().filter(|&id| opens(&typed, id)).collect();
    if found.is_empty() {
        return Ok(typed);
    }
    let mut typed = typed;
    for id in found {
        let node = typed.node(id);
        let Some(deconv) = node.op_as::<Deconv>() else { continue };
        if let Some(patch) = deconv.codegen(&typed, node)? {
            patch.apply(&mut typed)?;
        }
    }
    // Folds what lays the kernels out, now that they stand in products.
    typed.into_decluttered()
}

/// Whether a node becomes a product: a depthwise one sums nothing.
fn opens(typed: &TypedModel, id: usize) -> bool {
    let node = typed.node(id);
    let Some(deconv) = node.op_as::<Deconv>() else { return false };
    let is_constant =
        |outlet: &OutletId| typed.outlet_fact(*outlet).is_ok_and(|fact| fact.konst.is_some());
    node.inputs.get(1).is_some_and(is_constant) && deconv.group < deconv.pool_spec.input_channels
}
