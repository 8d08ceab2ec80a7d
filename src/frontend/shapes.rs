//! tract's symbolic dimensions as extents.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::SymbolValues;
use tract_onnx::tract_hir::infer::Factoid;
use tract_onnx::tract_hir::internal::ShapeFactoid;

use crate::graph::Extent;

/// The one symbol that may stay open: how many inputs run together.
pub(crate) const BATCH: &str = "N";

/// A dimension as an extent: fixed, so many per input, or a formula.
pub(super) fn extent(dim: &TDim, batch: &Symbol) -> Extent {
    if let Some(n) = dim.as_i64().and_then(|n| usize::try_from(n).ok()) {
        return Extent::Fixed(n);
    }
    let at = |n: i64| dim.eval_to_i64(&SymbolValues::default().with(batch, n)).ok();
    match (at(1), at(2), at(3)) {
        (Some(one), Some(two), Some(three)) if one > 0 && two == 2 * one && three == 3 * one => {
            usize::try_from(one).map_or(Extent::Other(dim.to_string()), Extent::PerInput)
        }
        _ => Extent::Other(dim.to_string()),
    }
}

/// The value of a dimension for one input, 0 if it has none.
pub(super) fn for_one_input(dim: &TDim, batch: &Symbol) -> u64 {
    dim.eval_to_i64(&SymbolValues::default().with(batch, 1))
        .ok()
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0)
}

/// A shape as the model gives it: `[batch, 3, ?, ?]`.
pub(super) fn shape_text(shape: &ShapeFactoid) -> String {
    let mut axes: Vec<String> = shape
        .dims()
        .map(|dim| dim.concretize().map_or("?".to_string(), |dim| dim.to_string()))
        .collect();
    if shape.is_open() {
        axes.push("..".to_string());
    }
    format!("[{}]", axes.join(", "))
}
