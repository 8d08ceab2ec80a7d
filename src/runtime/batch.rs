//! What a batch of inputs must be for a model.

use super::RunError;
use crate::frontend::{Model, ModelInput};
use crate::tensor::Tensor;

/// How many inputs are run as one batch: one where an input of the model has no
/// axis for more.
///
/// A function of the model alone, so that batches are cut alike for any number
/// of threads: the digital side's sums may depend on the batch they are in.
pub fn batch_size(model: &Model) -> usize {
    /// Values of the largest tensor that a batch may hold, so that what flows
    /// between layers stays in the cache.
    const MAX_VALUES: usize = 1 << 17;
    if !model.any_batch || !model.inputs.iter().all(|input| input.has_batch) {
        return 1;
    }
    (MAX_VALUES / largest_tensor(model)).clamp(1, 64)
}

/// Values of the model's largest tensor for one input, at least 1.
pub(crate) fn largest_tensor(model: &Model) -> usize {
    let largest = model
        .graph
        .tensors()
        .values()
        .map(|tensor| {
            tensor.shape.iter().map(|extent| extent.for_batch(1).unwrap_or(1)).product::<usize>()
        })
        .max();
    largest.unwrap_or(1).max(1)
}

/// How many inputs a batch holds: the first axis of those inputs of the model
/// that have a batch axis, 1 if none has.
///
/// Everything after relies on the shapes: two tensors of as many values but
/// other axes would be read as numbers that nobody meant.
///
/// # Errors
///
/// Tensors that are not what the model takes, or batches that differ.
pub(crate) fn n_batch(wanted: &[ModelInput], given: &[Tensor]) -> Result<usize, RunError> {
    if wanted.len() != given.len() {
        return Err(RunError::InputCount { wanted: wanted.len(), given: given.len() });
    }
    let mut n_batch = None;
    for (input, tensor) in wanted.iter().zip(given) {
        let wrong = |reason: String| RunError::Input { name: input.name.clone(), reason };
        let element_type = tensor.values.element_type();
        if element_type != input.element_type {
            let wanted = input.element_type;
            return Err(wrong(format!("it takes {wanted}, {element_type} is given")));
        }
        let mut shape = &tensor.shape[..];
        if let (true, Some((&n, rest))) = (input.has_batch, shape.split_first()) {
            shape = rest;
            let others = *n_batch.get_or_insert(n);
            if n == 0 || n != others {
                return Err(wrong(format!("it is given {n} inputs, others {others}")));
            }
        }
        if shape != input.shape {
            let batch = if input.has_batch { "N, " } else { "" };
            let axes: Vec<String> = input.shape.iter().map(ToString::to_string).collect();
            let wanted = format!("[{batch}{}]", axes.join(", "));
            return Err(wrong(format!("it takes {wanted}, {:?} is given", tensor.shape)));
        }
    }
    Ok(n_batch.unwrap_or(1))
}
