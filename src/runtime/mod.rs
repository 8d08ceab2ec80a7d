//! Executes plans: the arrays on a model of the chip, the rest beside them.
//!
//! The executor sees an execution plan, a chip, and the digital pieces of the
//! model; order, tiles, scales, zero points, ranges and waves are read from the
//! plan, never recomputed. Beside it stands the [`Reference`], which starts
//! from the quantised graph and multiplies integers the naive way: on an exact
//! chip both must agree bit for bit.

pub mod digital;
mod error;
mod executor;
mod layout;
mod reference;
mod stream;

pub use error::RunError;
pub use executor::Executor;
pub use reference::Reference;
pub use stream::{Inputs, Model as FloatModel, Runs, for_each_batch};

/// How many inputs are run as one batch.
///
/// A function of the model alone, so that batches are cut alike for any number
/// of threads: the digital side's sums may depend on the batch they are in.
pub fn batch_size(model: &crate::frontend::Model) -> usize {
    /// Values of the largest tensor that a batch may hold, so that what flows
    /// between layers stays in the cache.
    const MAX_VALUES: usize = 1 << 19;
    if !model.any_batch {
        return 1;
    }
    let largest = model
        .graph
        .tensors()
        .values()
        .map(|tensor| {
            tensor.shape.iter().map(|extent| extent.for_batch(1).unwrap_or(1)).product::<usize>()
        })
        .max()
        .unwrap_or(1);
    (MAX_VALUES / largest.max(1)).clamp(1, 64)
}
