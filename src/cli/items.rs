//! How a data set is cut into batches for a model.

use std::path::Path;

use ohmc::data::{self, DataError, DataOptions, DataSet, InputSpec};
use ohmc::frontend::Model;
use ohmc::runtime::{self, Inputs};
use ohmc::tensor::Tensor;

use super::files::Disk;

/// The file system, for as long as any data set is open.
static DISK: Disk = Disk;

/// What a model takes at a time.
#[derive(Debug, Clone)]
pub struct Items {
    /// What data must look like.
    pub specs: Vec<InputSpec>,
    /// Whether the model's tensor has the batch in front, by input. Where it
    /// has not, a batch is one item, and the axis that counts items goes.
    has_batch: Vec<bool>,
    n_batch: usize,
}

/// Some consecutive items of a data set.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Tensors as the model takes them.
    pub inputs: Inputs,
    /// How many items they are.
    pub n: usize,
    /// Class numbers; empty where there are none.
    pub labels: Vec<u32>,
}

impl Items {
    /// What the model takes.
    pub fn new(model: &Model) -> Self {
        let specs = model.inputs.iter().map(|input| InputSpec {
            name: input.name.clone(),
            shape: input.shape.clone(),
            element_type: input.element_type,
        });
        let has_batch = model.inputs.iter().map(|input| input.has_batch).collect();
        let n_batch = runtime::batch_size(model);
        Self { specs: specs.collect(), has_batch, n_batch }
    }

    /// Opens data of the file system.
    pub fn open(&self, path: &Path, options: &DataOptions) -> Result<DataSet<'static>, DataError> {
        data::open(&DISK, path, options, &self.specs)
    }

    /// The next batch, `None` at the end.
    pub fn next(&self, data: &mut DataSet<'_>) -> Result<Option<Batch>, DataError> {
        let Some(batch) = data.next_batch(self.n_batch)? else { return Ok(None) };
        Ok(Some(Batch {
            inputs: Inputs { first: batch.first, tensors: self.shaped(batch.inputs) },
            n: batch.n,
            labels: batch.labels.unwrap_or_default(),
        }))
    }

    /// How many items are taken at a time.
    pub fn n_batch(&self) -> usize {
        self.n_batch
    }

    /// Tensors of a data set as the model takes them.
    pub fn shaped(&self, tensors: Vec<Tensor>) -> Vec<Tensor> {
        let shaped = |(mut tensor, has_batch): (Tensor, &bool)| {
            if !has_batch && !tensor.shape.is_empty() {
                tensor.shape.remove(0);
            }
            tensor
        };
        tensors.into_iter().zip(&self.has_batch).map(shaped).collect()
    }
}

/// An output with an axis in front that counts items: that of the batch, or
/// one of extent 1 that the model has for it, else a new one.
pub fn by_item(mut output: Tensor, n: usize) -> Tensor {
    if output.shape.first() != Some(&n) {
        output.shape.insert(0, 1);
    }
    output
}
